//! The transforms between images and the 16 positions where they are multiplied.
//!
//! Every transform is linear, and its 1-D form is applied to columns, then to rows. Those of a gradient are the transposes of the
//! forward ones: gradients flow back through Y = Aᵀ M A as A dY Aᵀ, and through U = G w Gᵀ as Gᵀ dU G.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::{Add, Mul, Sub};

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::lanes::correlate::Finish;
use crate::parallel::Start;
use crate::simd::{MAX_LANES, Vector};

/// Sides of a tile of the output, of a filter and of the input that a tile sees.
pub(super) const TILE: usize = 2;
pub(super) const FILTER: usize = 3;
pub(super) const SIDE: usize = TILE + FILTER - 1;
/// Where a tile of the input and a filter are multiplied.
pub(super) const POSITIONS: usize = SIDE * SIDE;

/// Planes that lie apart, each padded by zeros: a register for each element.
#[derive(Clone, Copy)]
pub(super) struct Planes<T> {
    pub(super) start: *const T,
    pub(super) count: usize,
    /// Elements from plane to plane and from column to column.
    pub(super) strides: [usize; 2],
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
    /// Bᵀ d B of the 4×4 elements that a tile of the output sees.
    Input,
    /// A dY Aᵀ of the gradient by a tile of the output.
    OutputGradient,
}

/// Takes rows of tiles to one row of their positions.
#[derive(Clone, Copy)]
pub(super) struct ToPositions<T> {
    pub(super) transform: Transform,
    /// The row of the transformed tiles, [`SIDE`] positions.
    pub(super) row: usize,
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
        struct Run<T>(ToPositions<T>);
        impl<T: Element> WithSimd for Run<T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                macro_rules! rows {
                    ($method:ident $($row:literal)*) => {
                        match self.0.row {
                            // SAFETY: promised to `run`, which alone makes a Run.
                            $($row => unsafe { self.0.$method::<S, $row>(simd) },)*
                            _ => unreachable!("a tile has four rows"),
                        }
                    };
                }
                match self.0.transform {
                    Transform::Input => rows!(input 0 1 2 3),
                    Transform::OutputGradient => rows!(output_gradient 0 1 2 3),
                }
            }
        }
        arch.dispatch(Run(self));
    }

    /// # Safety
    /// As [`ToPositions::run`].
    #[inline(always)]
    unsafe fn input<S: Simd, const ROW: usize>(&self, simd: S) {
        let pad = self.from.pad[1];
        let zeros = [T::zero(); MAX_LANES];
        // Bᵀ d = d₀ − d₂, d₁ + d₂, d₂ − d₁, d₁ − d₃.
        let rows = const { [[0, 2], [1, 2], [2, 1], [1, 3]][ROW] };
        for plane in 0..self.from.count {
            for (number, tile_row) in (self.rows[0]..self.rows[1]).enumerate() {
                let rows = self.from.rows(plane, tile_row, rows, &zeros);
                let to = self.to.row(plane, number * self.columns);
                macro_rules! column {
                    ($x:expr, $inside:literal) => {{
                        let x = ($x).wrapping_sub(pad);
                        // SAFETY: the caller's promise.
                        let [a, b] = unsafe { rows.column::<S, $inside>(simd, x) };
                        if const { ROW == 1 } { a + b } else { a - b }
                    }};
                }
                let (mut t0, mut t1) = (column!(0usize, false), column!(1usize, false));
                macro_rules! tiles {
                    ($tiles:expr, $inside:literal) => {
                        for tile in $tiles {
                            let x = TILE * tile;
                            let (t2, t3) = (column!(x + 2, $inside), column!(x + 3, $inside));
                            // SAFETY: the caller's promise.
                            unsafe { to.store(tile, [t0 - t2, t1 + t2, t2 - t1, t1 - t3]) };
                            (t0, t1) = (t2, t3);
                        }
                    };
                }
                // Those whose last two columns exist.
                let inside = ((rows.width + pad).saturating_sub(2) / TILE).min(self.columns);
                tiles!(0..inside, true);
                tiles!(inside..self.columns, false);
            }
        }
    }

    /// # Safety
    /// As [`ToPositions::run`].
    #[inline(always)]
    unsafe fn output_gradient<S: Simd, const ROW: usize>(&self, simd: S) {
        let zeros = [T::zero(); MAX_LANES];
        for plane in 0..self.from.count {
            for (number, tile_row) in (self.rows[0]..self.rows[1]).enumerate() {
                let rows = self.from.rows(plane, tile_row, [0, 1], &zeros);
                let to = self.to.row(plane, number * self.columns);
                macro_rules! column {
                    ($x:expr, $inside:literal) => {{
                        // SAFETY: the caller's promise.
                        let [a, b] = unsafe { rows.column::<S, $inside>(simd, $x) };
                        // A dY = y₀, y₀ + y₁, y₀ − y₁, −y₁.
                        match const { ROW } {
                            0 => a,
                            1 => a + b,
                            2 => a - b,
                            _ => -b,
                        }
                    }};
                }
                macro_rules! tiles {
                    ($tiles:expr, $inside:literal) => {
                        for tile in $tiles {
                            let x = TILE * tile;
                            let (a, b) = (column!(x, $inside), column!(x + 1, $inside));
                            // SAFETY: the caller's promise.
                            unsafe { to.store(tile, [a, a + b, a - b, -b]) };
                        }
                    };
                }
                tiles!(0..rows.width / TILE, true);
                tiles!(rows.width / TILE..self.columns, false);
            }
        }
    }
}

impl<T: Element> Planes<T> {
    /// Two rows of what a row of tiles sees of a plane; `zeros` for one outside.
    #[inline(always)]
    fn rows(&self, plane: usize, tile_row: usize, rows: [usize; 2], zeros: &[T]) -> RowPair<T> {
        let [height, width] = self.size;
        let start = self.start.wrapping_add(plane * self.strides[0]);
        let mut pair = RowPair { rows: [zeros.as_ptr(); 2], strides: [0; 2], width };
        for i in 0..2 {
            let y = (TILE * tile_row + rows[i]).wrapping_sub(self.pad[0]);
            if y < height {
                pair.rows[i] = start.wrapping_add(y * width * self.strides[1]);
                pair.strides[i] = self.strides[1];
            }
        }
        pair
    }
}

/// Two rows of a plane that is 0 around its `width` columns.
#[derive(Clone, Copy)]
struct RowPair<T> {
    rows: [*const T; 2],
    /// Elements from column to column: none in a row of zeros, which is one register.
    strides: [usize; 2],
    width: usize,
}

impl<T: Element> RowPair<T> {
    /// The registers in column x, which is known to exist where `INSIDE`.
    ///
    /// # Safety
    /// - The rows must be valid for reading.
    #[inline(always)]
    unsafe fn column<S: Simd, const INSIDE: bool>(self, simd: S, x: usize) -> [Vector<T, S>; 2] {
        let zero = Vector::zero(simd);
        if !INSIDE && x >= self.width {
            return [zero, zero];
        }
        let Self { rows: [a, b], strides, .. } = self;
        let (a, b) = (a.wrapping_add(x * strides[0]), b.wrapping_add(x * strides[1]));
        // SAFETY: the caller's promise.
        unsafe { [Vector::load_ptr(simd, a), Vector::load_ptr(simd, b)] }
    }
}

/// Four positions of a row of tiles.
#[derive(Clone, Copy)]
struct TileRow<T> {
    to: [*mut T; SIDE],
    stride: usize,
}

impl<T: Element> Tiles<T> {
    /// From `tile` on.
    #[inline(always)]
    fn row(&self, plane: usize, tile: usize) -> TileRow<T> {
        let [position, plane_stride, stride] = self.strides;
        let start = self.start.wrapping_add(plane * plane_stride + tile * stride);
        let mut to = [start; SIDE];
        for j in 0..SIDE {
            to[j] = start.wrapping_add(j * position);
        }
        TileRow { to, stride }
    }
}

impl<T: Element> TileRow<T> {
    /// # Safety
    /// - The tile must be valid for writing.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, tile: usize, row: [Vector<T, S>; SIDE]) {
        for j in 0..SIDE {
            // SAFETY: the caller's promise.
            unsafe { row[j].store_ptr(self.to[j].add(tile * self.stride)) };
        }
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
            let mut m = self.m.wrapping_add((channel - channels[0]) * self.strides[1]);
            for row in rows[0]..rows[1] {
                macro_rules! tiles {
                    ($columns:expr, $exists:expr) => {
                        for column in $columns {
                            // SAFETY: the caller's promise.
                            let tile = unsafe { output::<T, S>(simd, m, self.strides[0]) };
                            m = m.wrapping_add(lanes);
                            for i in 0..TILE {
                                for j in 0..TILE {
                                    let (y, x) = (TILE * row + i, TILE * column + j);
                                    if $exists(y, x) {
                                        let at = plane + (y * width + x) * lanes;
                                        // SAFETY: inside the channel's plane.
                                        unsafe {
                                            let value = finish.apply(simd, tile[i][j], channel, at);
                                            value.store_ptr(to.0.add(at));
                                        }
                                    }
                                }
                            }
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

/// Aᵀ M A: the 2×2 elements of a tile of the output, M its sums at the positions, `stride` elements apart.
///
/// # Safety
/// - A register must be valid for reading at each position.
#[inline(always)]
pub(super) unsafe fn output<T: Element, S: Simd>(
    simd: S,
    m: *const T,
    stride: usize,
) -> [[Vector<T, S>; TILE]; TILE] {
    // Aᵀ M = m₀ + m₁ + m₂, m₁ − m₂ − m₃.
    let mut columns = [[Vector::zero(simd); SIDE]; TILE];
    for j in 0..SIDE {
        let mut m_j = [Vector::zero(simd); SIDE];
        for i in 0..SIDE {
            // SAFETY: the caller's promise.
            m_j[i] = unsafe { Vector::load_ptr(simd, m.add((SIDE * i + j) * stride)) };
        }
        let [m0, m1, m2, m3] = m_j;
        columns[0][j] = m0 + m1 + m2;
        columns[1][j] = m1 - m2 - m3;
    }
    let mut tile = [[Vector::zero(simd); TILE]; TILE];
    for i in 0..TILE {
        let [m0, m1, m2, m3] = columns[i];
        tile[i] = [m0 + m1 + m2, m1 - m2 - m3];
    }
    tile
}

/// G w Gᵀ, w a filter of 3×3: of numbers, or of registers of as many filters. `half` is ½.
#[inline(always)]
pub(super) fn filter<V: Copy + Add<Output = V> + Sub<Output = V> + Mul<Output = V>>(
    half: V,
    w: [[V; FILTER]; FILTER],
) -> [[V; SIDE]; SIDE] {
    // G w = w₀, (w₀ + w₁ + w₂) / 2, (w₀ − w₁ + w₂) / 2, w₂.
    macro_rules! points {
        ($w0:expr, $w1:expr, $w2:expr) => {{
            let (even, odd) = (half * ($w0 + $w2), half * $w1);
            [$w0, even + odd, even - odd, $w2]
        }};
    }
    let mut columns = [[half; FILTER]; SIDE];
    for q in 0..FILTER {
        let column = points!(w[0][q], w[1][q], w[2][q]);
        for i in 0..SIDE {
            columns[i][q] = column[i];
        }
    }
    let mut u = [[half; SIDE]; SIDE];
    for i in 0..SIDE {
        u[i] = points!(columns[i][0], columns[i][1], columns[i][2]);
    }
    u
}

/// Gᵀ dU G: the gradient by a filter, from that by its transform.
#[inline(always)]
pub(super) fn filter_gradient<T: Element>(du: [[T; SIDE]; SIDE]) -> [[T; FILTER]; FILTER] {
    let half = T::of(0.5);
    let taps = |u0: T, u1: T, u2: T, u3: T| {
        let (sum, difference) = (half * (u1 + u2), half * (u1 - u2));
        [u0 + sum, difference, sum + u3]
    };
    let mut rows = [[T::zero(); SIDE]; FILTER];
    for j in 0..SIDE {
        let column = taps(du[0][j], du[1][j], du[2][j], du[3][j]);
        for q in 0..FILTER {
            rows[q][j] = column[q];
        }
    }
    rows.map(|[u0, u1, u2, u3]| taps(u0, u1, u2, u3))
}
