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

    /// Calls `visit` for each window of a result of `len` elements, in order, with where its result lies.
    #[inline(always)]
    fn for_each_window<F: FnMut(usize, Cells)>(&self, len: usize, mut visit: F) {
        let Self { input: [_, height, width], output: [_, out_h, out_w], lanes, .. } = *self;
        let Window { size, stride, pad } = self.window;
        let channels = len / (out_h * out_w * lanes).max(1);
        // From the first cell on the plane to the last, along one axis.
        let on_plane = |axis: usize, out: usize, len: usize| {
            let before = out * stride[axis];
            let first = pad[axis].saturating_sub(before);
            [first, size[axis].min((len + pad[axis]).saturating_sub(before)) - first]
        };
        let mut y = 0;
        for channel in 0..channels {
            for oy in 0..out_h {
                let [row, rows] = on_plane(0, oy, height);
                let top = channel * height + oy * stride[0] + row - pad[0];
                for ox in 0..out_w {
                    let [column, columns] = on_plane(1, ox, width);
                    let left = ox * stride[1] + column - pad[1];
                    visit(
                        y,
                        Cells {
                            count: [rows, columns],
                            first: (top * width + left) * lanes,
                            number: row * size[1] + column,
                        },
                    );
                    y += lanes;
                }
            }
        }
    }

    /// Elements from a row of the input to the next, and cells from a row of a window to the next.
    fn rows(&self) -> [usize; 2] {
        [self.input[2] * self.lanes, self.window.size[1]]
    }

    /// Calls `visit` for each element of the input's planes, `len` of them with all lanes, with where it lies and the windows over
    /// it: as rows of windows, in order.
    #[inline(always)]
    fn for_each_pixel<F: FnMut(usize, Over)>(&self, len: usize, mut visit: F) {
        let Self { input: [_, height, width], output: [_, out_h, out_w], lanes, .. } = *self;
        let Window { size, stride, pad } = self.window;
        let channels = len / (height * width * lanes).max(1);
        let mut x = 0;
        for channel in 0..channels {
            let mut rows = [0, 0];
            for iy in 0..height {
                let from_top = iy + pad[0];
                rows = windows_over(rows, from_top, [size[0], stride[0], out_h]);
                let mut columns = [0, 0];
                for ix in 0..width {
                    let from_left = ix + pad[1];
                    columns = windows_over(columns, from_left, [size[1], stride[1], out_w]);
                    let [row, column] = [rows[0], columns[0]];
                    visit(
                        x,
                        Over {
                            count: [rows[1] - row, columns[1] - column],
                            first: ((channel * out_h + row) * out_w + column) * lanes,
                            cell: [
                                from_top.saturating_sub(row * stride[0]),
                                from_left.saturating_sub(column * stride[1]),
                            ],
                        },
                    );
                    x += lanes;
                }
            }
        }
    }
}

/// The cells of a window that lie on the plane.
struct Cells {
    /// Rows and columns of them.
    count: [usize; 2],
    /// Where the first one lies in the input.
    first: usize,
    /// Its number in the window.
    number: usize,
}

/// The windows over a pixel.
struct Over {
    /// Rows and columns of them.
    count: [usize; 2],
    /// Where the result of the first one lies.
    first: usize,
    /// Row and column of the pixel in it.
    cell: [usize; 2],
}

/// From which to before which of `count` windows lie over the position `at` of an axis with its padding, where those are known for
/// the position before it (none, before the first).
#[inline(always)]
fn windows_over(
    [mut first, mut end]: [usize; 2],
    at: usize,
    [size, stride, count]: [usize; 3],
) -> [usize; 2] {
    while end < count && end * stride <= at {
        end += 1;
    }
    while first < end && first * stride + size <= at {
        first += 1;
    }
    [first, end]
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
        let ([row, cells], one) = (pooling.rows(), cell(1));
        pooling.for_each_window(
            y.len(),
            #[inline(always)]
            |at, window| {
                // The first cell meets itself, and does not beat it.
                let mut winner = [Vector::load(simd, &x[window.first..]), cell(window.number)];
                for line in 0..window.count[0] {
                    let x = &x[window.first + line * row..][..window.count[1] * lanes];
                    let mut number = cell(window.number + line * cells);
                    for x in x.chunks_exact(lanes) {
                        winner = better(winner, [Vector::load(simd, x), number]);
                        number = number + one;
                    }
                }
                if relu {
                    winner = rectified(winner);
                }
                let [best, won] = winner;
                best.store(&mut y[at..]);
                won.store(&mut index[at..]);
            },
        );
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
        let ([row, _], lanes) = (pooling.rows(), Vector::<T, S>::len());
        pooling.for_each_window(
            y.len(),
            #[inline(always)]
            |at, window| {
                let mut best = Vector::load(simd, &x[window.first..]);
                for line in 0..window.count[0] {
                    let x = &x[window.first + line * row..][..window.count[1] * lanes];
                    for x in x.chunks_exact(lanes) {
                        best = larger(best, Vector::load(simd, x));
                    }
                }
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
        let Window { size, stride, .. } = pooling.window;
        let (row, step) = (pooling.output[2] * lanes, cell(stride[1]));
        pooling.for_each_pixel(
            dx.len(),
            #[inline(always)]
            |at, over| {
                let mut sum = zero;
                for line in 0..over.count[0] {
                    let from =
                        over.first + line * row..over.first + line * row + over.count[1] * lanes;
                    let windows = index[from.clone()].chunks_exact(lanes);
                    let [y, x] = [over.cell[0] - line * stride[0], over.cell[1]];
                    let mut number = cell(y * size[1] + x);
                    for (won, dy) in windows.zip(dy[from].chunks_exact(lanes)) {
                        let won = Vector::load(simd, won).eq(number);
                        sum = sum + won.select(Vector::load(simd, dy), zero);
                        number = number - step;
                    }
                }
                sum.store(&mut dx[at..]);
            },
        );
    }
}

/// The sum of a block of rows and columns of registers, the first at `first`, of rows that are `row` elements apart.
#[inline(always)]
fn sum_block<T: Element, S: Simd>(
    simd: S,
    x: &[T],
    first: usize,
    row: usize,
    [rows, columns]: [usize; 2],
) -> Vector<T, S> {
    let lanes = Vector::<T, S>::len();
    let mut sum = Vector::zero(simd);
    for line in 0..rows {
        for x in x[first + line * row..][..columns * lanes].chunks_exact(lanes) {
            sum = sum + Vector::load(simd, x);
        }
    }
    sum
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
        let [row, _] = pooling.rows();
        let area = Vector::splat(simd, T::of(pooling.window.area() as f64));
        pooling.for_each_window(
            y.len(),
            #[inline(always)]
            |at, window| {
                let sum = sum_block(simd, x, window.first, row, window.count);
                (sum / area).store(&mut y[at..]);
            },
        );
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
        let row = pooling.output[2] * pooling.lanes;
        let area = Vector::splat(simd, T::of(pooling.window.area() as f64));
        pooling.for_each_pixel(
            dx.len(),
            #[inline(always)]
            |at, over| {
                let sum = sum_block(simd, dy, over.first, row, over.count);
                (sum / area).store(&mut dx[at..]);
            },
        );
    }
}
