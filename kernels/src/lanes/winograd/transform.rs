//! The transforms between images and the positions where they are multiplied.
//!
//! A tile of the output, the window of the input that it sees and a filter are polynomials in two variables. Each is taken to its
//! values at some points a dimension, columns first, then rows; or back: F(4, 3) takes 0, ∞, ±[`A`] and ±[`B`], F(2, 3) takes 0, ∞
//! and ±1. Points of opposite signs share their even and odd powers, so positions come in pairs of rows. The transforms of a
//! gradient are the transposes of the forward ones: gradients flow back through Y = Aᵀ M A as A dY Aᵀ, and through U = G w Gᵀ as
//! Gᵀ dU G.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::lanes::correlate::Finish;
use crate::parallel::Start;
use crate::simd::{Vector, opaque};
use crate::workspace::with_scratch;

/// Sides of a tile of the output, of a filter (and its cells) and of the input that a tile sees.
pub(super) const TILE: usize = 4;
pub(super) const FILTER: usize = 3;
pub(super) const CELLS: usize = FILTER * FILTER;
pub(super) const SIDE: usize = TILE + FILTER - 1;
/// Where a tile of the input and a filter are multiplied.
pub(super) const POSITIONS: usize = SIDE * SIDE;
/// Pairs of rows of positions, and the positions of a pair.
pub(super) const PAIRS: usize = SIDE / 2;
pub(super) const PAIR_POSITIONS: usize = 2 * SIDE;
/// The same for the gradient by the weights, which takes its rows by F(2, 3): that amplifies rounding less.
pub(super) const WEIGHT_TILE: [usize; 2] = [TILE, 2];
const WEIGHT_SIDE: usize = WEIGHT_TILE[1] + FILTER - 1;
pub(super) const WEIGHT_POSITIONS: usize = SIDE * WEIGHT_SIDE;
pub(super) const WEIGHT_PAIR_POSITIONS: usize = 2 * WEIGHT_SIDE;

/// The points are those that amplify rounding least: docs/engine.md. What is made of them is exact.
const A: f64 = 0.625;
const B: f64 = 1.5;

/// A transform to the points, in one dimension.
trait ToPoints {
    /// The values at the points 0 and ∞ (`PAIR` 0), or two of opposite signs.
    fn pair<T: Element, S: Simd, const PAIR: usize>(d: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2];

    /// The values at all points, of which F(2, 3) has but the first four.
    #[inline(always)]
    fn points<T: Element, S: Simd>(d: [Vector<T, S>; SIDE]) -> [Vector<T, S>; SIDE] {
        let [zero, infinity] = Self::pair::<T, S, 0>(d);
        let [a, minus_a] = Self::pair::<T, S, 1>(d);
        let [b, minus_b] = Self::pair::<T, S, 2>(d);
        [zero, infinity, a, minus_a, b, minus_b]
    }
}

/// A transform of what tiles side by side see or hold.
trait OfTiles: ToPoints {
    /// Elements that it takes, the first of those given to it.
    const SEEN: usize;
    /// Elements from what it takes of one tile to that of the next.
    const STEP: usize;
}

/// even ± root·odd.
#[inline(always)]
fn both<T: Element, S: Simd>(
    even: Vector<T, S>,
    odd: Vector<T, S>,
    root: f64,
) -> [Vector<T, S>; 2] {
    let [plus, minus] = [odd.like(T::of(root)), odd.like(T::of(-root))];
    [odd.mul_add(plus, even), odd.mul_add(minus, even)]
}

/// factor·x + y.
#[inline(always)]
fn add_times<T: Element, S: Simd>(y: Vector<T, S>, factor: f64, x: Vector<T, S>) -> Vector<T, S> {
    x.mul_add(x.like(T::of(factor)), y)
}

/// factor·x.
#[inline(always)]
fn times<T: Element, S: Simd>(factor: f64, x: Vector<T, S>) -> Vector<T, S> {
    x * x.like(T::of(factor))
}

/// Bᵀ d of what a tile of the output sees: p(x) / (x − point) for each point, p = x (x² − A²)(x² − B²).
struct Input;

impl OfTiles for Input {
    const SEEN: usize = SIDE;
    const STEP: usize = TILE;
}

impl ToPoints for Input {
    #[inline(always)]
    fn pair<T: Element, S: Simd, const PAIR: usize>(d: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
        const SUM: f64 = A * A + B * B;
        const PRODUCT: f64 = A * A * B * B;
        let [d0, d1, d2, d3, d4, d5] = d;
        match PAIR {
            0 => [
                add_times(add_times(d4, -SUM, d2), PRODUCT, d0),
                add_times(add_times(d5, -SUM, d3), PRODUCT, d1),
            ],
            1 => both(add_times(d4, -B * B, d2), add_times(d3, -B * B, d1), A),
            _ => both(add_times(d4, -A * A, d2), add_times(d3, -A * A, d1), B),
        }
    }
}

/// A dy of the gradient by a tile of the output.
struct OutputGradient;

impl OfTiles for OutputGradient {
    const SEEN: usize = TILE;
    const STEP: usize = TILE;
}

impl ToPoints for OutputGradient {
    #[inline(always)]
    fn pair<T: Element, S: Simd, const PAIR: usize>(y: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
        let [y0, y1, y2, y3, ..] = y;
        match PAIR {
            0 => [y0, y3],
            1 => both(add_times(y0, A * A, y2), add_times(y1, A * A, y3), A),
            _ => both(add_times(y0, B * B, y2), add_times(y1, B * B, y3), B),
        }
    }
}

/// The same by F(2, 3).
struct Input2;

impl OfTiles for Input2 {
    const SEEN: usize = 4;
    const STEP: usize = 2;
}

impl ToPoints for Input2 {
    #[inline(always)]
    fn pair<T: Element, S: Simd, const PAIR: usize>(d: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
        let [d0, d1, d2, d3, ..] = d;
        if PAIR == 0 { [d0 - d2, d3 - d1] } else { [d2 + d1, d2 - d1] }
    }
}

struct OutputGradient2;

impl OfTiles for OutputGradient2 {
    const SEEN: usize = 2;
    const STEP: usize = 2;
}

impl ToPoints for OutputGradient2 {
    #[inline(always)]
    fn pair<T: Element, S: Simd, const PAIR: usize>(y: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
        let [y0, y1, ..] = y;
        if PAIR == 0 { [y0, y1] } else { [y0 + y1, y0 - y1] }
    }
}

/// G w of a filter: its values, divided by p' of the point.
struct Filter;

/// 1 / p' at 0, ±A and ±B.
const WEIGHTS: [f64; 3] = [
    1.0 / (A * A * B * B),
    1.0 / (2.0 * A * A * (A * A - B * B)),
    1.0 / (2.0 * B * B * (B * B - A * A)),
];

impl ToPoints for Filter {
    #[inline(always)]
    fn pair<T: Element, S: Simd, const PAIR: usize>(w: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
        let [w0, w1, w2, ..] = w;
        let weight = WEIGHTS[PAIR];
        if PAIR == 0 {
            return [times(weight, w0), w2];
        }
        let point = if PAIR == 1 { A } else { B };
        both(times(weight, add_times(w0, point * point, w2)), times(weight, w1), point)
    }
}

/// Aᵀ m: of the four elements of a tile of the output the first and third (`HALF` 0), or the second and fourth (1), from the sums
/// at the points.
#[inline(always)]
fn outputs<T: Element, S: Simd, const HALF: usize>(m: [Vector<T, S>; SIDE]) -> [Vector<T, S>; 2] {
    let [zero, infinity, a, minus_a, b, minus_b] = m;
    if HALF == 0 {
        let (a, b) = (a + minus_a, b + minus_b);
        [zero + a + b, add_times(times(A * A, a), B * B, b)]
    } else {
        let (a, b) = (a - minus_a, b - minus_b);
        let third = add_times(add_times(infinity, A * A * A, a), B * B * B, b);
        [add_times(times(A, a), B, b), third]
    }
}

/// Gᵀ du: the gradient by a filter, from that by its values at the points.
#[inline(always)]
fn filter_gradient<T: Element, S: Simd>(u: [Vector<T, S>; SIDE]) -> [Vector<T, S>; FILTER] {
    let [zero, infinity, a, minus_a, b, minus_b] = u;
    let [weight_0, weight_a, weight_b] = WEIGHTS;
    let even = [times(weight_a, a + minus_a), times(weight_b, b + minus_b)];
    let odd = [times(weight_a, a - minus_a), times(weight_b, b - minus_b)];
    [
        add_times(even[0] + even[1], weight_0, zero),
        add_times(times(A, odd[0]), B, odd[1]),
        add_times(add_times(infinity, A * A, even[0]), B * B, even[1]),
    ]
}

/// The same by F(2, 3), of the first four.
#[inline(always)]
fn filter_gradient_2<T: Element, S: Simd>(u: [Vector<T, S>; SIDE]) -> [Vector<T, S>; FILTER] {
    let [zero, infinity, one, minus_one, ..] = u;
    let (even, odd) = (times(0.5, one + minus_one), times(0.5, one - minus_one));
    [zero + even, odd, infinity + even]
}

/// Planes that lie apart, each padded by zeros: a register for each element, from column to column as [`Transform::column`] says.
#[derive(Clone, Copy)]
pub(super) struct Planes<T> {
    pub(super) start: *const T,
    pub(super) count: usize,
    /// Elements from plane to plane.
    pub(super) stride: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
    pub(super) pad: [usize; 2],
}

/// Where the tiles of planes go, transformed: elements from position to position, from plane to plane and from tile to tile.
#[derive(Clone, Copy)]
pub(super) struct Tiles<T> {
    pub(super) start: *mut T,
    pub(super) strides: [usize; 3],
}

/// Which transform.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Bᵀ d B of the 6×6 elements that a tile of the output sees.
    Input,
    /// The same of the 6×4 elements that a tile sees for the gradient by the weights.
    WeightInput,
    /// A dY Aᵀ of the gradient by such a tile of the output.
    OutputGradient,
}

impl Transform {
    /// Elements from column to column of its planes: those of the input for the gradient by the weights are turned, and take turns.
    #[inline(always)]
    fn column(self, lanes: usize) -> usize {
        match self {
            Self::Input | Self::OutputGradient => lanes,
            Self::WeightInput => lanes * lanes,
        }
    }
}

/// Takes rows of tiles to a pair of rows of their positions.
#[derive(Clone, Copy)]
pub(super) struct ToPositions<T> {
    pub(super) transform: Transform,
    pub(super) pair: usize,
    pub(super) from: Planes<T>,
    pub(super) to: Tiles<T>,
    /// From which to before which row of tiles, of so many columns.
    pub(super) rows: [usize; 2],
    pub(super) columns: usize,
}

impl<T: Element> ToPositions<T> {
    /// # Safety
    /// - The planes must be valid for reading, the places of all tiles for writing registers of `arch`; nobody else may touch these.
    pub(super) unsafe fn run(self, arch: Arch) {
        struct Run<'a, T>(ToPositions<T>, &'a [T]);
        impl<T: Element> WithSimd for Run<'_, T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Self(tiles, zeros) = self;
                macro_rules! pairs {
                    ($columns:ty, $rows:ty, $transform:ident: $($pair:literal)*) => {{
                        // A constant, so that rows are pointers and their columns are offsets in the instructions.
                        let column = Transform::$transform.column(Vector::<T, S>::len());
                        match tiles.pair {
                            $($pair => {
                                // SAFETY: promised to `run`, which alone makes a Run.
                                unsafe { tiles.run_pair::<$columns, $rows, S, $pair>(simd, column, zeros) }
                            })*
                            _ => unreachable!("a tile has three pairs"),
                        }
                    }};
                }
                match tiles.transform {
                    Transform::Input => pairs!(Input, Input, Input: 0 1 2),
                    Transform::WeightInput => pairs!(Input, Input2, WeightInput: 0 1 2),
                    Transform::OutputGradient => {
                        pairs!(OutputGradient, OutputGradient2, OutputGradient: 0 1 2)
                    }
                }
            }
        }
        let Planes { size: [_, width], .. } = self.from;
        with_scratch(width * self.transform.column(arch.lanes::<T>()), |zeros: &mut [T]| {
            zeros.fill(T::zero());
            arch.dispatch(Run(self, zeros));
        });
    }

    /// By the transform X of columns, which are `column` elements apart, and Y of rows; `zeros` is a row of them.
    ///
    /// # Safety
    /// As [`ToPositions::run`].
    #[inline(always)]
    unsafe fn run_pair<X: OfTiles, Y: OfTiles, S: Simd, const PAIR: usize>(
        &self,
        simd: S,
        column: usize,
        zeros: &[T],
    ) {
        let Planes { pad: [_, pad], size: [_, width], .. } = self.from;
        let [position, plane_stride, stride] = self.to.strides;
        // Columns that a tile shares with the next.
        let shared = Y::SEEN - Y::STEP;
        let points_in_row = Y::STEP + FILTER - 1;
        // Tiles whose columns all exist, but for those that the first of them has on the left.
        let inside = ((width + pad).saturating_sub(shared) / Y::STEP).min(self.columns);
        for plane in 0..self.from.count {
            let mut to = self.to.start.wrapping_add(plane * plane_stride);
            for tile_row in self.rows[0]..self.rows[1] {
                let rows = self.from.rows::<X>(plane, tile_row, column, zeros);
                let mut columns = [[Vector::zero(simd); SIDE]; 2];
                macro_rules! column {
                    ($column:ident, $x:expr, $inside:literal) => {
                        let x = ($x).wrapping_sub(pad);
                        // SAFETY: the caller's promise.
                        let seen = unsafe { rows.column::<X, S, $inside>(simd, x) };
                        let [a, b] = X::pair::<T, S, PAIR>(seen);
                        columns[0][$column] = a;
                        columns[1][$column] = b;
                    };
                }
                for column in 0..shared {
                    column!(column, column, false);
                }
                macro_rules! tiles {
                    ($tiles:expr, $inside:literal) => {
                        for tile in $tiles {
                            for column in shared..Y::SEEN {
                                column!(column, Y::STEP * tile + column, $inside);
                            }
                            for row in 0..2 {
                                let points = Y::points(columns[row]);
                                for point in 0..points_in_row {
                                    let to =
                                        to.wrapping_add((row * points_in_row + point) * position);
                                    // SAFETY: the caller's promise.
                                    unsafe { points[point].store_ptr(to) };
                                }
                                for column in 0..shared {
                                    columns[row][column] = columns[row][column + Y::STEP];
                                }
                            }
                            to = to.wrapping_add(stride);
                        }
                    };
                }
                tiles!(0..inside, true);
                tiles!(inside..self.columns, false);
            }
        }
    }
}

impl<T: Element> Planes<T> {
    /// The rows of what a row of tiles sees of a plane, their columns `column` elements apart; `zeros` for those outside.
    #[inline(always)]
    fn rows<X: OfTiles>(
        &self,
        plane: usize,
        tile_row: usize,
        column: usize,
        zeros: &[T],
    ) -> PlaneRows<T> {
        let [height, width] = self.size;
        let start = self.start.wrapping_add(plane * self.stride);
        let mut rows = [zeros.as_ptr(); SIDE];
        for i in 0..X::SEEN {
            let y = (X::STEP * tile_row + i).wrapping_sub(self.pad[0]);
            if y < height {
                rows[i] = start.wrapping_add(y * width * column);
            }
        }
        PlaneRows { rows, column, width }
    }
}

/// Rows of a plane that is 0 around its `width` columns, which are `column` elements apart.
#[derive(Clone, Copy)]
struct PlaneRows<T> {
    rows: [*const T; SIDE],
    column: usize,
    width: usize,
}

impl<T: Element> PlaneRows<T> {
    /// The registers in column x, which is known to exist where `INSIDE`.
    ///
    /// # Safety
    /// - The rows must be valid for reading.
    #[inline(always)]
    unsafe fn column<X: OfTiles, S: Simd, const INSIDE: bool>(
        &self,
        simd: S,
        x: usize,
    ) -> [Vector<T, S>; SIDE] {
        let mut registers = [Vector::zero(simd); SIDE];
        if INSIDE || x < self.width {
            for i in 0..X::SEEN {
                let from = self.rows[i].wrapping_add(x * self.column);
                // SAFETY: the caller's promise.
                registers[i] = unsafe { Vector::load_ptr(simd, from) };
            }
        }
        registers
    }
}

/// Takes the sums of some channels at the positions to rows of tiles of the output.
#[derive(Clone, Copy)]
pub(super) struct FromPositions<'a, T> {
    pub(super) m: *const T,
    /// Elements from position to position and from channel to channel; the tiles are side by side.
    pub(super) strides: [usize; 2],
    /// From which to before which row of tiles, of so many columns.
    pub(super) rows: [usize; 2],
    pub(super) columns: usize,
    /// From which to before which channel.
    pub(super) channels: [usize; 2],
    pub(super) finish: Finish<'a, T>,
    pub(super) y: Start<T>,
    /// Rows and columns of a plane of y.
    pub(super) size: [usize; 2],
}

impl<T: Element> FromPositions<'_, T> {
    /// # Safety
    /// - All sums must be valid for reading registers of `arch`; y, the bias and the mask must hold the channels, and nobody else
    ///   may touch these tiles of y.
    pub(super) unsafe fn run(self, arch: Arch) {
        struct Run<'a, T>(FromPositions<'a, T>);
        impl<T: Element> WithSimd for Run<'_, T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `run`, which alone makes a Run.
                unsafe { self.0.tiles(simd) }
            }
        }
        arch.dispatch(Run(self));
    }

    /// # Safety
    /// As [`FromPositions::run`].
    #[inline(always)]
    unsafe fn tiles<S: Simd>(self, simd: S) {
        let Self { rows, columns, channels, finish, y: to, size: [height, width], .. } = self;
        let lanes = Vector::<T, S>::len();
        for channel in channels[0]..channels[1] {
            let plane = channel * height * width * lanes;
            let zero = Vector::zero(simd);
            let bias = finish.bias.map_or(zero, |bias| Vector::splat(simd, bias[channel]));
            let mut m = self.m.wrapping_add((channel - channels[0]) * self.strides[1]);
            for row in rows[0]..rows[1] {
                macro_rules! half {
                    ($half:literal, $column:expr, $exists:expr) => {{
                        let mut tile = output::<T, S, $half>(simd, m, self.strides[0]);
                        macro_rules! each {
                            (|$value:ident, $at:ident| $body:expr) => {
                                for i in 0..TILE {
                                    for j in 0..2 {
                                        let (y, x) = (TILE * row + i, TILE * $column + 2 * j + $half);
                                        if $exists(y, x) {
                                            let $value = &mut tile[i][j];
                                            let $at = plane + (y * width + x) * lanes;
                                            $body;
                                        }
                                    }
                                }
                            };
                        }
                        // Passes over the tile, so that their branches are one a tile and it stays in registers.
                        if finish.bias.is_some() {
                            each!(|value, _at| *value = *value + bias);
                        }
                        if finish.relu {
                            each!(|value, _at| *value = value.relu());
                        }
                        if let Some(mask) = finish.mask {
                            each!(|value, at| {
                                let y = Vector::load_ptr(simd, mask.as_ptr().add(at));
                                *value = y.le(zero).select(zero, *value);
                            });
                        }
                        each!(|value, at| value.store_ptr(to.0.add(at)));
                    }};
                }
                macro_rules! tiles {
                    ($columns:expr, $exists:expr) => {
                        for column in $columns {
                            // SAFETY: the caller's promise; what is read and stored lies inside the channel's plane.
                            unsafe {
                                half!(0, column, $exists);
                                half!(1, column, $exists);
                            }
                            m = m.wrapping_add(lanes);
                        }
                    };
                }
                let whole = if TILE * (row + 1) <= height { width / TILE } else { 0 };
                tiles!(0..whole, |_, _| true);
                tiles!(whole..columns, |y, x| y < height && x < width);
            }
        }
    }
}

/// Aᵀ M A: columns 0 and 2 (`HALF` 0) or 1 and 3 (1) of a tile of the output, M its sums at the positions, `stride` elements apart.
/// A half needs no more registers than there are.
///
/// # Safety
/// - A register must be valid for reading at each position.
#[inline(always)]
pub(super) unsafe fn output<T: Element, S: Simd, const HALF: usize>(
    simd: S,
    mut m: *const T,
    stride: usize,
) -> [[Vector<T, S>; 2]; TILE] {
    let mut columns = [[Vector::zero(simd); SIDE]; 2];
    for i in 0..SIDE {
        let mut row = [Vector::zero(simd); SIDE];
        for j in 0..SIDE {
            // SAFETY: the caller's promise.
            row[j] = unsafe { Vector::load_ptr(simd, m.wrapping_add(j * stride)) };
        }
        m = opaque(m.wrapping_add(SIDE * stride));
        let row = outputs::<T, S, HALF>(row);
        columns[0][i] = row[0];
        columns[1][i] = row[1];
    }
    let mut tile = [[Vector::zero(simd); 2]; TILE];
    for j in 0..2 {
        let (even, odd) = (outputs::<T, S, 0>(columns[j]), outputs::<T, S, 1>(columns[j]));
        for i in 0..2 {
            tile[2 * i][j] = even[i];
            tile[2 * i + 1][j] = odd[i];
        }
    }
    tile
}

/// G w Gᵀ of registers of filters: (3, 3, registers of `stride` elements a cell) to the positions.
pub(super) struct Filters<'a, T> {
    /// (9, stride): the cells of a filter; the last comes first where `turned`.
    pub(super) w: &'a [T],
    pub(super) stride: usize,
    pub(super) turned: bool,
    pub(super) u: *mut T,
    /// Elements from position to position, and from register to register.
    pub(super) strides: [usize; 2],
}

impl<T: Element> Filters<'_, T> {
    /// # Safety
    /// - u must be valid for writing the registers of `arch` at all positions, and nobody else may touch these.
    pub(super) unsafe fn run(self, arch: Arch) {
        struct Run<'a, T>(Filters<'a, T>);
        impl<T: Element> WithSimd for Run<'_, T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `run`, which alone makes a Run.
                unsafe { self.0.transform(simd) }
            }
        }
        arch.dispatch(Run(self));
    }

    /// # Safety
    /// As [`Filters::run`].
    #[inline(always)]
    unsafe fn transform<S: Simd>(self, simd: S) {
        let Self { w, stride, turned, u, strides: [position, register] } = self;
        for number in 0..stride / Vector::<T, S>::len() {
            let w = &w[number * Vector::<T, S>::len()..];
            let mut columns = [[Vector::zero(simd); SIDE]; SIDE];
            for j in 0..FILTER {
                let mut column = [Vector::zero(simd); SIDE];
                for i in 0..FILTER {
                    let cell = i * FILTER + j;
                    let cell = if turned { CELLS - 1 - cell } else { cell };
                    column[i] = Vector::load(simd, &w[cell * stride..]);
                }
                let points = Filter::points(column);
                for i in 0..SIDE {
                    columns[i][j] = points[i];
                }
            }
            for i in 0..SIDE {
                let points = Filter::points(columns[i]);
                for j in 0..SIDE {
                    let u = u.wrapping_add((i * SIDE + j) * position + number * register);
                    // SAFETY: the caller's promise.
                    unsafe { points[j].store_ptr(u) };
                }
            }
        }
    }
}

/// Gᵀ dU G of registers of filters.
pub(super) struct FilterGradients<'a, T> {
    /// At the positions, so many elements apart.
    pub(super) du: &'a [T],
    pub(super) position: usize,
    /// (9, stride): the cells of the filters, in whole registers.
    pub(super) dw: &'a mut [T],
    pub(super) stride: usize,
}

impl<T: Element> WithSimd for FilterGradients<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { du, position, dw, stride } = self;
        for first in (0..stride).step_by(Vector::<T, S>::len()) {
            let mut rows = [[Vector::zero(simd); SIDE]; FILTER];
            for j in 0..WEIGHT_SIDE {
                let mut column = [Vector::zero(simd); SIDE];
                for i in 0..SIDE {
                    column[i] = Vector::load(simd, &du[(i * WEIGHT_SIDE + j) * position + first..]);
                }
                let column = filter_gradient(column);
                for i in 0..FILTER {
                    rows[i][j] = column[i];
                }
            }
            for i in 0..FILTER {
                let row = filter_gradient_2(rows[i]);
                for j in 0..FILTER {
                    row[j].store(&mut dw[(i * FILTER + j) * stride + first..]);
                }
            }
        }
    }
}
