//! Pooling in lanes: a window's cells are registers.

use pulp::{Simd, WithSimd};

use super::{arch_of, count};
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Error, Result, check_len, checked_size};
use crate::simd::Vector;

/// Pooling of samples of (channels, height, width), planned for the lanes of an instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Pooling {
    input: [usize; 3],
    output: [usize; 3],
    window: Window,
    lanes: usize,
}

/// The planes of a call: how many, and the pooling of one.
#[derive(Clone, Copy)]
struct Planes<'a> {
    pooling: &'a Pooling,
    count: usize,
}

impl Pooling {
    /// The plan, for [`count`] lanes.
    ///
    /// # Errors
    /// [`Error::Shape`] where the window does not fit, or its padding is as large as the window.
    pub fn new<T: Element>(input: [usize; 3], window: Window) -> Result<Self> {
        const OP: &str = "lanes::Pooling";
        let [channels, height, width] = input;
        if window.pad[0] >= window.size[0] || window.pad[1] >= window.size[1] {
            let problem = format!(
                "padding {:?} must be smaller than the window {:?}",
                window.pad, window.size
            );
            return Err(Error::Shape { op: OP, problem });
        }
        let [out_h, out_w] = window.output([height, width])?;
        checked_size(OP, &input)?;
        Ok(Self { input, output: [channels, out_h, out_w], window, lanes: count::<T>()? })
    }

    /// The shape of a sample's output.
    pub fn output(&self) -> [usize; 3] {
        self.output
    }

    fn lens(&self, groups: usize) -> [usize; 2] {
        [self.input, self.output].map(|shape| shape.iter().product::<usize>() * groups * self.lanes)
    }

    /// y = the maximum under each window, and `index` (in the layout of y) the number of its cell in the window, as an element;
    /// the rules are those of [`crate::pool::max_pool_forward`].
    ///
    /// # Errors
    /// [`Error::Length`] where a slice has another size, [`Error::Shape`] where another instruction set is in use than the plan
    /// is for; so in all operations here.
    pub fn max_forward<T: Element>(
        &self,
        groups: usize,
        x: &[T],
        y: &mut [T],
        index: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Pooling::max_forward";
        let [x_len, y_len] = self.lens(groups);
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "y", y, y_len)?;
        check_len(OP, "index", index, y_len)?;
        let planes = Planes { pooling: self, count: groups * self.input[0] };
        arch_of::<T>(OP, self.lanes)?.dispatch(MaxForward { planes, x, y, index });
        Ok(())
    }

    /// dx from dy and the `index` of [`Pooling::max_forward`]; where `mask` (if any, in the layout of y) is 0 or less, dy counts
    /// as 0: the gradient of a ReLU before or after the pooling, whose output y was.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn max_backward<T: Element>(
        &self,
        groups: usize,
        dy: &[T],
        index: &[T],
        mask: Option<&[T]>,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Pooling::max_backward";
        let [x_len, y_len] = self.lens(groups);
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "index", index, y_len)?;
        check_len(OP, "dx", dx, x_len)?;
        if let Some(mask) = mask {
            check_len(OP, "mask", mask, y_len)?;
        }
        let planes = Planes { pooling: self, count: groups * self.input[0] };
        arch_of::<T>(OP, self.lanes)?.dispatch(MaxBackward { planes, dy, index, mask, dx });
        Ok(())
    }

    /// y = the mean of each window over all its cells, those on the padding 0.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn average_forward<T: Element>(&self, groups: usize, x: &[T], y: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Pooling::average_forward";
        let [x_len, y_len] = self.lens(groups);
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "y", y, y_len)?;
        let planes = Planes { pooling: self, count: groups * self.input[0] };
        arch_of::<T>(OP, self.lanes)?.dispatch(AverageForward { planes, x, y });
        Ok(())
    }

    /// dx from dy, the gradient by [`Pooling::average_forward`]'s y.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn average_backward<T: Element>(
        &self,
        groups: usize,
        dy: &[T],
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Pooling::average_backward";
        let [x_len, y_len] = self.lens(groups);
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "dx", dx, x_len)?;
        let planes = Planes { pooling: self, count: groups * self.input[0] };
        arch_of::<T>(OP, self.lanes)?.dispatch(AverageBackward { planes, dy, dx });
        Ok(())
    }
}

impl Planes<'_> {
    /// Calls `visit(y, cells)` for each output register, in order: where it lies, and an iterator of its window's cells on the plane:
    /// (number in the window, where it lies in x).
    #[inline(always)]
    fn for_each_window<F: FnMut(usize, usize, usize)>(&self, mut visit: F) {
        let Pooling { input: [_, height, width], output: [_, out_h, out_w], window, lanes } =
            *self.pooling;
        let Window { size, stride, pad } = window;
        let mut y = 0;
        for plane in 0..self.count {
            for oy in 0..out_h {
                let top = oy * stride[0];
                let rows =
                    pad[0].saturating_sub(top)..size[0].min((height + pad[0]).saturating_sub(top));
                for ox in 0..out_w {
                    let left = ox * stride[1];
                    let columns = pad[1].saturating_sub(left)
                        ..size[1].min((width + pad[1]).saturating_sub(left));
                    for row in rows.clone() {
                        for column in columns.clone() {
                            let (iy, ix) = (top + row - pad[0], left + column - pad[1]);
                            let x = ((plane * height + iy) * width + ix) * lanes;
                            visit(y, row * size[1] + column, x);
                        }
                    }
                    y += lanes;
                }
            }
        }
    }
}

struct MaxForward<'a, T> {
    planes: Planes<'a>,
    x: &'a [T],
    y: &'a mut [T],
    index: &'a mut [T],
}

impl<T: Element> WithSimd for MaxForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { planes, x, y, index } = self;
        let mut current = usize::MAX;
        planes.for_each_window(
            #[inline(always)]
            |at, cell, from| {
                let new = Vector::load(simd, &x[from..]);
                let cell = Vector::splat(simd, T::of(cell as f64));
                if at != current {
                    current = at;
                    new.store(&mut y[at..]);
                    return cell.store(&mut index[at..]);
                }
                let (best, won) = (Vector::load(simd, &y[at..]), Vector::load(simd, &index[at..]));
                // Larger wins, and NaN wins over numbers.
                let choose = |if_new: Vector<T, S>, if_old: Vector<T, S>| {
                    let number = best.lt(new).select(if_new, if_old);
                    let nan = best.eq(best).select(if_new, if_old);
                    new.eq(new).select(number, nan)
                };
                choose(new, best).store(&mut y[at..]);
                choose(cell, won).store(&mut index[at..]);
            },
        );
    }
}

struct MaxBackward<'a, T> {
    planes: Planes<'a>,
    dy: &'a [T],
    index: &'a [T],
    mask: Option<&'a [T]>,
    dx: &'a mut [T],
}

impl<T: Element> WithSimd for MaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { planes, dy, index, mask, dx } = self;
        dx.fill(T::zero());
        let zero = Vector::zero(simd);
        planes.for_each_window(
            #[inline(always)]
            |at, cell, to| {
                let mut gradient = Vector::load(simd, &dy[at..]);
                if let Some(mask) = mask {
                    gradient = Vector::load(simd, &mask[at..]).le(zero).select(zero, gradient);
                }
                let won =
                    Vector::load(simd, &index[at..]).eq(Vector::splat(simd, T::of(cell as f64)));
                let sum = Vector::load(simd, &dx[to..]) + won.select(gradient, zero);
                sum.store(&mut dx[to..]);
            },
        );
    }
}

struct AverageForward<'a, T> {
    planes: Planes<'a>,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> WithSimd for AverageForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { planes, x, y } = self;
        y.fill(T::zero());
        planes.for_each_window(
            #[inline(always)]
            |at, _, from| {
                let sum = Vector::load(simd, &y[at..]) + Vector::load(simd, &x[from..]);
                sum.store(&mut y[at..]);
            },
        );
        let area = Vector::splat(simd, T::of(planes.pooling.window.area() as f64));
        for y in y.chunks_exact_mut(Vector::<T, S>::len()) {
            (Vector::load(simd, y) / area).store(y);
        }
    }
}

struct AverageBackward<'a, T> {
    planes: Planes<'a>,
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> WithSimd for AverageBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { planes, dy, dx } = self;
        let area = Vector::splat(simd, T::of(planes.pooling.window.area() as f64));
        dx.fill(T::zero());
        planes.for_each_window(
            #[inline(always)]
            |at, _, to| {
                let sum = Vector::load(simd, &dx[to..]) + Vector::load(simd, &dy[at..]) / area;
                sum.store(&mut dx[to..]);
            },
        );
    }
}
