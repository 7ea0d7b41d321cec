//! Pooling in lanes: a window's cells are registers.

use pulp::{Simd, WithSimd};

use super::{arch_of, count};
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Error, Result, check_len, checked_size};
use crate::simd::Vector;

/// Pooling of samples of (channels, height, width), planned for the lanes of an instruction set. Its operations take the planes of
/// all channels, or those of some that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Pooling {
    input: [usize; 3],
    output: [usize; 3],
    window: Window,
    lanes: usize,
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

    pub(super) fn input(&self) -> [usize; 3] {
        self.input
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Elements of the planes of input and output, of as many channels as `y` has.
    fn lens<T>(&self, y: &[T]) -> [usize; 2] {
        let [x_plane, y_plane] =
            [self.input, self.output].map(|[_, height, width]| height * width * self.lanes);
        let channels = (y.len() / y_plane.max(1)).min(self.input[0]);
        [channels * x_plane, channels * y_plane]
    }

    /// y = the maximum under each window, and `index` (in the layout of y) the number of its cell in the window, as an element;
    /// the rules are those of [`crate::pool::max_pool_forward`]. Then ReLU if `relu` (before the pooling it would give the same):
    /// where a maximum of 0 or less becomes 0, `index` is the number of cells, that of none.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice has another size, [`Error::Shape`] where another instruction set is in use than the plan
    /// is for; so in all operations here.
    pub fn max_forward<T: Element>(
        &self,
        x: &[T],
        relu: bool,
        y: &mut [T],
        index: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Pooling::max_forward";
        let [x_len, y_len] = self.lens(y);
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "y", y, y_len)?;
        check_len(OP, "index", index, y_len)?;
        arch_of::<T>(OP, self.lanes)?.dispatch(MaxForward { pooling: self, x, relu, y, index });
        Ok(())
    }

    /// y of [`Pooling::max_forward`] alone, where nobody goes back.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn max<T: Element>(&self, x: &[T], y: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Pooling::max";
        let [x_len, y_len] = self.lens(y);
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "y", y, y_len)?;
        arch_of::<T>(OP, self.lanes)?.dispatch(Max { pooling: self, x, y });
        Ok(())
    }

    /// dx from dy and the `index` of [`Pooling::max_forward`], through its ReLU, too, if it had one.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn max_backward<T: Element>(&self, dy: &[T], index: &[T], dx: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Pooling::max_backward";
        let [x_len, y_len] = self.lens(dy);
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "index", index, y_len)?;
        check_len(OP, "dx", dx, x_len)?;
        arch_of::<T>(OP, self.lanes)?.dispatch(MaxBackward { pooling: self, dy, index, dx });
        Ok(())
    }

    /// y = the mean of each window over all its cells, those on the padding 0.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn average_forward<T: Element>(&self, x: &[T], y: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Pooling::average_forward";
        let [x_len, y_len] = self.lens(y);
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "y", y, y_len)?;
        arch_of::<T>(OP, self.lanes)?.dispatch(AverageForward { pooling: self, x, y });
        Ok(())
    }

    /// dx from dy, the gradient by [`Pooling::average_forward`]'s y.
    ///
    /// # Errors
    /// As [`Pooling::max_forward`].
    pub fn average_backward<T: Element>(&self, dy: &[T], dx: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Pooling::average_backward";
        let [x_len, y_len] = self.lens(dy);
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "dx", dx, x_len)?;
        arch_of::<T>(OP, self.lanes)?.dispatch(AverageBackward { pooling: self, dy, dx });
        Ok(())
    }
}

impl Pooling {
    fn halves(&self) -> bool {
        let [_, height, width] = self.input;
        self.window.halves([height, width])
    }

    /// Calls `visit(y, cell, x)` for each cell on the plane of each window of a result of `len` elements, in order: where the
    /// window's result lies, the cell's number in the window, where it lies in x.
    #[inline(always)]
    fn for_each_cell<F: FnMut(usize, usize, usize)>(&self, len: usize, mut visit: F) {
        let Self { input: [_, height, width], output: [_, out_h, out_w], .. } = *self;
        let Window { size, stride, pad } = self.window;
        let channels = len / (out_h * out_w * self.lanes).max(1);
        let mut y = 0;
        for channel in 0..channels {
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
                            let x = ((channel * height + iy) * width + ix) * self.lanes;
                            visit(y, row * size[1] + column, x);
                        }
                    }
                    y += self.lanes;
                }
            }
        }
    }
}

/// The larger, by the rules of max-pooling: of two that are equal the first, and NaN before all numbers.
#[inline(always)]
pub(super) fn larger<T: Element, S: Simd>(a: Vector<T, S>, b: Vector<T, S>) -> Vector<T, S> {
    b.beats(a).select(b, a)
}

struct MaxForward<'a, T> {
    pooling: &'a Pooling,
    x: &'a [T],
    relu: bool,
    y: &'a mut [T],
    index: &'a mut [T],
}

impl<T: Element> WithSimd for MaxForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pooling, x, relu, y, index } = self;
        let lanes = Vector::<T, S>::len();
        let cell = |cell: usize| Vector::splat(simd, T::of(cell as f64));
        let better = |[best, won]: [Vector<T, S>; 2], [new, cell]: [Vector<T, S>; 2]| {
            let wins = new.beats(best);
            [wins.select(new, best), wins.select(cell, won)]
        };
        let (zero, none) = (Vector::zero(simd), cell(pooling.window.area()));
        let rectified = |[best, won]: [Vector<T, S>; 2]| {
            let falls = best.le(zero);
            [falls.select(zero, best), falls.select(none, won)]
        };
        if pooling.halves() {
            let cells = [cell(0), cell(1), cell(2), cell(3)];
            let width = pooling.input[2] * lanes;
            let outputs = y.chunks_exact_mut(width / 2).zip(index.chunks_exact_mut(width / 2));
            for (x, (y, index)) in x.chunks_exact(2 * width).zip(outputs) {
                let (top, bottom) = x.split_at(width);
                let pairs = top.chunks_exact(2 * lanes).zip(bottom.chunks_exact(2 * lanes));
                let outputs = y.chunks_exact_mut(lanes).zip(index.chunks_exact_mut(lanes));
                for ((top, bottom), (y, index)) in pairs.zip(outputs) {
                    let [a, b] = [0, lanes].map(|at| Vector::load(simd, &top[at..]));
                    let [c, d] = [0, lanes].map(|at| Vector::load(simd, &bottom[at..]));
                    let first = better([a, cells[0]], [b, cells[1]]);
                    let second = better([c, cells[2]], [d, cells[3]]);
                    let mut winner = better(first, second);
                    if relu {
                        winner = rectified(winner);
                    }
                    let [best, won] = winner;
                    best.store(y);
                    won.store(index);
                }
            }
            return;
        }
        let mut current = usize::MAX;
        pooling.for_each_cell(
            y.len(),
            #[inline(always)]
            |at, number, from| {
                let new = [Vector::load(simd, &x[from..]), cell(number)];
                let [best, won] = match at == current {
                    true => better(
                        [Vector::load(simd, &y[at..]), Vector::load(simd, &index[at..])],
                        new,
                    ),
                    false => new,
                };
                current = at;
                best.store(&mut y[at..]);
                won.store(&mut index[at..]);
            },
        );
        if relu {
            for (y, index) in y.chunks_exact_mut(lanes).zip(index.chunks_exact_mut(lanes)) {
                let [best, won] = rectified([Vector::load(simd, y), Vector::load(simd, index)]);
                best.store(y);
                won.store(index);
            }
        }
    }
}

struct Max<'a, T> {
    pooling: &'a Pooling,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> WithSimd for Max<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pooling, x, y } = self;
        let mut current = usize::MAX;
        pooling.for_each_cell(
            y.len(),
            #[inline(always)]
            |at, _, from| {
                let mut best = Vector::load(simd, &x[from..]);
                if at == current {
                    best = larger(Vector::load(simd, &y[at..]), best);
                }
                current = at;
                best.store(&mut y[at..]);
            },
        );
    }
}

struct MaxBackward<'a, T> {
    pooling: &'a Pooling,
    dy: &'a [T],
    index: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> WithSimd for MaxBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pooling, dy, index, dx } = self;
        let lanes = Vector::<T, S>::len();
        let zero = Vector::zero(simd);
        let cell = |cell: usize| Vector::splat(simd, T::of(cell as f64));
        if pooling.halves() {
            let cells = [cell(0), cell(1), cell(2), cell(3)];
            let width = pooling.input[2] * lanes;
            for (row, dx) in dx.chunks_exact_mut(2 * width).enumerate() {
                let (top, bottom) = dx.split_at_mut(width);
                let pairs = top.chunks_exact_mut(2 * lanes).zip(bottom.chunks_exact_mut(2 * lanes));
                for (column, (top, bottom)) in pairs.enumerate() {
                    let at = row * width / 2 + column * lanes;
                    let [gradient, won] = [dy, index].map(|from| Vector::load(simd, &from[at..]));
                    let part = |number: usize| won.eq(cells[number]).select(gradient, zero);
                    part(0).store(top);
                    part(1).store(&mut top[lanes..]);
                    part(2).store(bottom);
                    part(3).store(&mut bottom[lanes..]);
                }
            }
            return;
        }
        dx.fill(T::zero());
        pooling.for_each_cell(
            dy.len(),
            #[inline(always)]
            |at, number, to| {
                let won = Vector::load(simd, &index[at..]).eq(cell(number));
                let gradient = won.select(Vector::load(simd, &dy[at..]), zero);
                let sum = Vector::load(simd, &dx[to..]) + gradient;
                sum.store(&mut dx[to..]);
            },
        );
    }
}

struct AverageForward<'a, T> {
    pooling: &'a Pooling,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> WithSimd for AverageForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pooling, x, y } = self;
        y.fill(T::zero());
        pooling.for_each_cell(
            y.len(),
            #[inline(always)]
            |at, _, from| {
                let sum = Vector::load(simd, &y[at..]) + Vector::load(simd, &x[from..]);
                sum.store(&mut y[at..]);
            },
        );
        let area = Vector::splat(simd, T::of(pooling.window.area() as f64));
        for y in y.chunks_exact_mut(Vector::<T, S>::len()) {
            (Vector::load(simd, y) / area).store(y);
        }
    }
}

struct AverageBackward<'a, T> {
    pooling: &'a Pooling,
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> WithSimd for AverageBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pooling, dy, dx } = self;
        let area = Vector::splat(simd, T::of(pooling.window.area() as f64));
        dx.fill(T::zero());
        pooling.for_each_cell(
            dy.len(),
            #[inline(always)]
            |at, _, to| {
                let sum = Vector::load(simd, &dx[to..]) + Vector::load(simd, &dy[at..]) / area;
                sum.store(&mut dx[to..]);
            },
        );
    }
}
