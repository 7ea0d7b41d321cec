//! The filtering of single samples whose channels lie in lanes: broadcast elements of V meet registers of filters.
//!
//! The transforms are those of lane groups, which do not care what their lanes are; their planes are registers of channels. At a
//! position M = V·U for V (tiles, channels) and U (channels, filters). Two registers of filters go through all positions before the
//! next two, so that their sums are near when they are taken back; and a tile's outputs are four windows of the book's pooling.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use super::Winograd;
use super::transform::{
    CELLS, Filters, PAIRS, POSITIONS, Planes, TILE, Tiles, ToPositions, Transform, output,
};
use crate::arch::Arch;
use crate::element::Element;
use crate::lanes::channels::{REGISTERS, Sample, evenly, register_groups};
use crate::lanes::pool::larger;
use crate::lanes::transpose::Turn;
use crate::parallel::Start;
use crate::simd::Vector;
use crate::workspace::{with_scratch, with_scratch_in_parts};

/// Bytes of V of a part, which the products of all filters should find in L2. (100 to 200 KiB at once are 3 % slower than less.)
const BLOCK: usize = 96 << 10;
/// Tiles of a micro-tile at most: times two registers of filters 12 sums, and three registers more are needed.
const TILES: usize = 6;

impl Winograd {
    /// Rows and columns of tiles.
    pub(in crate::lanes) fn tiles(&self) -> [usize; 2] {
        self.tiles
    }

    /// Elements of a transformed filter.
    pub(in crate::lanes) fn depth(&self) -> usize {
        POSITIONS * self.inputs
    }

    /// Rows of tiles whose V stays in cache, one at least.
    pub(in crate::lanes) fn rows_in_cache<T>(&self) -> usize {
        let registers = POSITIONS * self.inputs.div_ceil(self.lanes);
        self.block_rows::<T>(self.tiles, registers, BLOCK)
    }

    /// Transforms the filters w (filters, channels, 3, 3) to u, group by group of registers: (positions, channels, the group's
    /// registers).
    pub(in crate::lanes) fn filters_in_lanes<T: Element>(&self, arch: Arch, w: &[T], u: &mut [T]) {
        let Self { inputs, outputs, lanes, .. } = *self;
        let filter = inputs * CELLS;
        with_scratch(filter * lanes, |turned: &mut [T]| {
            for [first, end] in register_groups(outputs.div_ceil(lanes)) {
                let u =
                    &mut u[self.depth() * first * lanes..][..self.depth() * (end - first) * lanes];
                for register in first..end {
                    let count = lanes.min(outputs - register * lanes);
                    if count < lanes {
                        turned.fill(T::zero()); // what is left has no filter
                    }
                    let from = &w[register * lanes * filter..];
                    let size = [count, filter];
                    arch.dispatch(Turn { from, row: filter, to: turned, step: lanes, size });
                    let width = (end - first) * lanes;
                    for (channel, w) in turned.chunks_exact(CELLS * lanes).enumerate() {
                        let u = u[channel * width + (register - first) * lanes..].as_mut_ptr();
                        let strides = [inputs * width, lanes];
                        // SAFETY: u has the group's registers for each channel at each position.
                        unsafe {
                            Filters { w, stride: lanes, turned: false, u, strides }.run(arch)
                        };
                    }
                }
            }
        });
    }

    /// The rows of tiles from `rows[0]` to before `rows[1]` of x ∗ filters + bias. `HALVED`: the maximum of each tile.
    ///
    /// # Safety
    /// - The plan must be for the lanes of `arch`; x must hold the registers of all channels, filters and bias the lengths of the
    ///   plan; y must have the output, and nobody else may touch these tiles of it.
    pub(in crate::lanes) unsafe fn run_in_lanes<T: Element, const HALVED: bool>(
        &self,
        arch: Arch,
        sample: Sample<'_, T>,
        rows: [usize; 2],
    ) {
        let Self { inputs, input, output, pad, tiles: [_, columns], lanes, .. } = *self;
        let tiles = (rows[1] - rows[0]) * columns;
        let (planes, plane) = (inputs.div_ceil(lanes), tiles * lanes);
        let v_len = POSITIONS * planes * plane;
        let lens = [v_len, POSITIONS * REGISTERS * plane];
        with_scratch_in_parts(lens, |[v, m]: [&mut [T]; 2]| {
            let stride = input[0] * input[1] * lanes;
            let from = Planes { start: sample.x.as_ptr(), count: planes, stride, size: input, pad };
            for (pair, v) in v.chunks_exact_mut(v_len / PAIRS).enumerate() {
                let to = Tiles { start: v.as_mut_ptr(), strides: [planes * plane, plane, lanes] };
                let transform = Transform::Input;
                // SAFETY: x has the planes; v twelve positions of `tiles` registers for each.
                unsafe { ToPositions { transform, pair, from, to, rows, columns }.run(arch) };
            }
            for [first, end] in register_groups(sample.bias.len() / lanes) {
                let group = Group {
                    channels: inputs,
                    tiles,
                    v: v.as_ptr(),
                    v_strides: [planes * plane, plane],
                    u: sample.filters[self.depth() * first * lanes..].as_ptr(),
                    bias: sample.bias[first * lanes..].as_ptr(),
                    m: m.as_mut_ptr(),
                    rows,
                    columns,
                    relu: sample.relu,
                    y: sample.y,
                    register: first,
                    size: output,
                };
                // SAFETY: at each position v has `tiles` registers for each plane, u the group's registers for each channel, m
                // room for as many registers of tiles; the caller's promise.
                unsafe { group.run::<HALVED>(arch, end - first) };
            }
        });
    }
}

/// Some tiles and registers of filters: their products at all positions, and the way back.
#[derive(Clone, Copy)]
struct Group<T> {
    channels: usize,
    tiles: usize,
    v: *const T,
    /// From position to position, and from register to register of channels; those of the tiles are side by side.
    v_strides: [usize; 2],
    /// (positions, channels, registers).
    u: *const T,
    bias: *const T,
    /// (positions, registers, tiles).
    m: *mut T,
    /// From which to before which row of tiles, of so many columns.
    rows: [usize; 2],
    columns: usize,
    relu: bool,
    y: Start<T>,
    /// The first register of filters.
    register: usize,
    /// Rows and columns of the convolution's output.
    size: [usize; 2],
}

impl<T: Element> Group<T> {
    /// # Safety
    /// - V, U, M and the bias must be valid as the fields say, of the lanes of `arch` and so many `registers`; y must hold the
    ///   output, and nobody else may touch these tiles and registers of it.
    unsafe fn run<const HALVED: bool>(self, arch: Arch, registers: usize) {
        struct Run<T, const HALVED: bool>(Group<T>, usize);
        impl<T: Element, const HALVED: bool> WithSimd for Run<T, HALVED> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `run`, which alone makes a Run.
                unsafe {
                    match self.1 {
                        REGISTERS => {
                            self.0.products::<S, REGISTERS>(simd);
                            self.0.outputs::<S, REGISTERS, HALVED>(simd);
                        }
                        _ => {
                            self.0.products::<S, 1>(simd);
                            self.0.outputs::<S, 1, HALVED>(simd);
                        }
                    }
                }
            }
        }
        arch.dispatch(Run::<T, HALVED>(self, registers));
    }

    /// # Safety
    /// As [`Group::run`].
    #[inline(always)]
    unsafe fn products<S: Simd, const R: usize>(&self, simd: S) {
        let lanes = Vector::<T, S>::len();
        for position in 0..POSITIONS {
            let u = self.u.wrapping_add(position * self.channels * R * lanes);
            let v = self.v.wrapping_add(position * self.v_strides[0]);
            let m = self.m.wrapping_add(position * R * self.tiles * lanes);
            for [tile, end] in evenly(self.tiles, TILES) {
                let (v, m) = (v.wrapping_add(tile * lanes), m.wrapping_add(tile * lanes));
                macro_rules! micro_tile {
                    ($($tiles:literal)*) => {
                        match end - tile {
                            // SAFETY: the caller's promise.
                            $($tiles => unsafe { self.tile::<S, $tiles, R>(simd, v, u, m) },)*
                            _ => unreachable!("at most six tiles"),
                        }
                    };
                }
                micro_tile!(1 2 3 4 5 6);
            }
        }
    }

    /// # Safety
    /// As [`Group::run`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize, const R: usize>(
        &self,
        simd: S,
        v: *const T,
        u: *const T,
        m: *mut T,
    ) {
        let lanes = Vector::<T, S>::len();
        let mut sums = [[Vector::zero(simd); R]; N];
        let (mut v, mut u) = (v, u);
        macro_rules! channel {
            ($lane:expr) => {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut u_here = [Vector::zero(simd); R];
                    for j in 0..R {
                        u_here[j] = Vector::load_ptr(simd, u.add(($lane * R + j) * lanes));
                    }
                    for n in 0..N {
                        let v = Vector::splat(simd, *v.add(n * lanes + $lane));
                        for j in 0..R {
                            sums[n][j] = v.mul_add(u_here[j], sums[n][j]);
                        }
                    }
                }
            };
        }
        for _ in 0..self.channels / lanes {
            for lane in 0..lanes {
                channel!(lane);
            }
            v = v.wrapping_add(self.v_strides[1]);
            u = u.wrapping_add(lanes * R * lanes);
        }
        for lane in 0..self.channels % lanes {
            channel!(lane);
        }
        for n in 0..N {
            for j in 0..R {
                // SAFETY: the caller's promise.
                unsafe { sums[n][j].store_ptr(m.add((j * self.tiles + n) * lanes)) };
            }
        }
    }

    /// # Safety
    /// As [`Group::run`].
    #[inline(always)]
    unsafe fn outputs<S: Simd, const R: usize, const HALVED: bool>(&self, simd: S) {
        let lanes = Vector::<T, S>::len();
        let [height, width] = self.size;
        let stride = R * self.tiles * lanes;
        let mut m = self.m.cast_const();
        for register in self.register..self.register + R {
            // SAFETY: the caller's promise.
            let bias = unsafe {
                Vector::load_ptr(simd, self.bias.add((register - self.register) * lanes))
            };
            // Elements from the plane's first to the pixel (y, x), of `size`; `None` for one outside.
            let place = |[y, x]: [usize; 2], [height, width]: [usize; 2]| {
                (y < height && x < width).then(|| ((register * height + y) * width + x) * lanes)
            };
            for row in self.rows[0]..self.rows[1] {
                for column in 0..self.columns {
                    let mut halves = [[[bias; 2]; TILE]; 2];
                    // SAFETY: the caller's promise.
                    unsafe {
                        halves[0] = output::<T, S, 0>(simd, m, stride);
                        halves[1] = output::<T, S, 1>(simd, m, stride);
                    }
                    m = m.wrapping_add(lanes);
                    for half in 0..2 {
                        for i in 0..TILE {
                            for j in 0..2 {
                                let sum = halves[half][i][j] + bias;
                                halves[half][i][j] = if self.relu { sum.relu() } else { sum };
                            }
                        }
                    }
                    for i in 0..TILE {
                        for j in 0..2 {
                            let [a, b] = [halves[0][i][j], halves[1][i][j]];
                            let (y, x) = (TILE * row + i, TILE * column + 2 * j);
                            if HALVED && i % 2 == 0 {
                                let [c, d] = [halves[0][i + 1][j], halves[1][i + 1][j]];
                                if let Some(at) = place([y / 2, x / 2], [height / 2, width / 2]) {
                                    let most = larger(larger(a, b), larger(c, d));
                                    // SAFETY: inside the register's plane.
                                    unsafe { most.store_ptr(self.y.0.add(at)) };
                                }
                            }
                            if !HALVED {
                                for (x, value) in [(x, a), (x + 1, b)] {
                                    if let Some(at) = place([y, x], [height, width]) {
                                        // SAFETY: inside the register's plane.
                                        unsafe { value.store_ptr(self.y.0.add(at)) };
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
