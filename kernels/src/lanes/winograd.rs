//! Convolution by Winograd's minimal filtering F(2×2, 3×3): 16 multiplications for a tile of 2×2 outputs instead of 36.
//!
//! The 4×4 elements that a tile sees, d, and the filter w are taken to 16 *positions*, multiplied there, summed over the channels
//! and taken back: Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ d B)] A. With samples in lanes the transforms are additions of registers, and the
//! sums at a position are a small matrix product. The gradient by the input is the same correlation of dY with the turned filters.
//! The gradient by the weights flows back through Y: dw = Gᵀ [Σ over tiles and samples (A dY Aᵀ) ⊙ (Bᵀ d B)] G.
//!
//! Source: S. Winograd, "Arithmetic Complexity of Computations" (1980); A. Lavin and S. Gray, "Fast Algorithms for Convolutional
//! Neural Networks" (2015). docs/engine.md derives it.

mod channels;
mod product;
mod transform;

use std::env;
use std::sync::OnceLock;

use super::correlate::Finish;
use super::transpose::Turn;
use crate::arch::Arch;
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel::{Pool, Rows, Start};
use crate::workspace::with_scratch_in_parts;
use product::{A, Products, micro_tiles};
use transform::{
    FILTER, FromPositions, POSITIONS, Planes, SIDE, TILE, Tiles, ToPositions, Transform,
};

/// Bytes of a block's operands at the positions, which the products should find in L2: 64 to 384 KiB differ by 3 %.
const CORRELATION_BLOCK: usize = 192 << 10;
/// The same for the gradient by the weights, where at 192 KiB a register's column of B no longer stays in L1 (13 % slower at 28²).
const WEIGHT_BLOCK: usize = 96 << 10;
/// Outputs whose sums exist at the same time, whole micro-tiles: 6 to 64 differ by 3 %.
const GROUP: usize = 24;
/// Channels on either side from which on it is worth the transforms: see docs/engine.md.
const MIN_CHANNELS: usize = 8;

/// Whether Winograd's filtering may be used: `KASOKU_WINOGRAD=off` says no.
fn enabled() -> Result<bool> {
    static ENABLED: OnceLock<Result<bool>> = OnceLock::new();
    let read = || match env::var("KASOKU_WINOGRAD").as_deref() {
        Err(_) | Ok("" | "on") => Ok(true),
        Ok("off") => Ok(false),
        Ok(other) => Err(Error::Argument {
            op: "lanes::Convolution",
            name: "KASOKU_WINOGRAD",
            value: format!("{other:?}"),
            expected: "on or off",
        }),
    };
    ENABLED.get_or_init(read).clone()
}

/// A correlation of planes with filters of 3×3 and stride 1, in tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winograd {
    /// Channels summed, and channels given.
    inputs: usize,
    outputs: usize,
    /// Rows and columns of their planes.
    input: [usize; 2],
    output: [usize; 2],
    pad: [usize; 2],
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    lanes: usize,
}

impl Winograd {
    /// The plans of a convolution and of its gradient by the input; `None` where the direct kernels are faster, or alone possible.
    pub(super) fn new(geometry: &ConvGeometry, lanes: usize) -> Result<Option<[Self; 2]>> {
        let Window { size, stride, pad } = geometry.window();
        let [filters, channels, ..] = geometry.weight();
        let fits = size == [FILTER; 2] && stride == [1; 2] && pad[0] < FILTER && pad[1] < FILTER;
        if !fits || channels.min(filters) < MIN_CHANNELS || !enabled()? {
            return Ok(None);
        }
        let [[_, _, in_h, in_w], [_, _, out_h, out_w]] = [geometry.input(), geometry.output()];
        let plan = |inputs, outputs, input, output: [usize; 2], pad| Self {
            inputs,
            outputs,
            input,
            output,
            pad,
            tiles: output.map(|len| len.div_ceil(TILE)),
            lanes,
        };
        let turned_pad = pad.map(|pad| FILTER - 1 - pad);
        Ok(Some([
            plan(channels, filters, [in_h, in_w], [out_h, out_w], pad),
            plan(filters, channels, [out_h, out_w], [in_h, in_w], turned_pad),
        ]))
    }

    /// Elements of the transformed filters.
    pub(super) fn filters_len(&self) -> usize {
        POSITIONS * self.inputs * self.outputs
    }

    /// Elements of the gradient by the transformed filters.
    pub(super) fn gradient_len(&self) -> usize {
        POSITIONS * self.outputs * self.padded_inputs()
    }

    /// Inputs rounded up to registers, for where they lie in lanes.
    fn padded_inputs(&self) -> usize {
        self.inputs.next_multiple_of(self.lanes)
    }

    /// Rows of tiles of a block that has so many `bytes` of `channels` at `positions` positions.
    fn block_rows<T>(&self, bytes: usize, positions: usize, channels: usize) -> usize {
        let row = positions * channels * self.tiles[1] * self.lanes * size_of::<T>();
        (bytes / row.max(1)).clamp(1, self.tiles[0].max(1))
    }

    /// Transforms the filters, `w(output, input)` each, to u: group by group of outputs, (positions, inputs, the group's outputs
    /// packed).
    pub(super) fn filters<T: Element>(
        &self,
        pool: Pool,
        w: impl Fn(usize, usize) -> [[T; FILTER]; FILTER] + Sync,
        u: &mut [T],
    ) {
        let inputs = self.inputs;
        let column = POSITIONS * inputs;
        pool.for_each_part(&mut u[..self.filters_len()], column * GROUP, |group, u| {
            let position = u.len() / POSITIONS;
            for [first, end] in micro_tiles(position / inputs) {
                for input in 0..inputs {
                    for output in first..end {
                        let w = w(group * GROUP + output, input);
                        let points = transform::filter(T::of(0.5), w);
                        let at = first * inputs + input * (end - first) + output - first;
                        for (p, &point) in points.as_flattened().iter().enumerate() {
                            u[p * position + at] = point;
                        }
                    }
                }
            }
        });
    }

    /// y = x ∗ the filters that [`Winograd::filters`] transformed.
    ///
    /// # Safety
    /// - The plan must be for the lanes of `arch`; x and u must have the lengths of the plan; y, the bias and the mask must
    ///   hold all outputs, and nobody else may touch y.
    pub(super) unsafe fn correlate<T: Element>(
        &self,
        arch: Arch,
        pool: Pool,
        x: &[T],
        u: &[T],
        finish: Finish<'_, T>,
        y: Start<T>,
    ) {
        let group = GROUP.min(self.outputs);
        let rows = self.block_rows::<T>(CORRELATION_BLOCK, POSITIONS, self.inputs + group);
        pool.for_each(self.tiles[0].div_ceil(rows), |block| {
            let rows = [block * rows, ((block + 1) * rows).min(self.tiles[0])];
            // SAFETY: the caller's promise; blocks are disjoint.
            unsafe { self.correlate_rows(arch, x, u, finish, y, rows) };
        });
    }

    /// The outputs of some rows of tiles.
    ///
    /// # Safety
    /// As [`Winograd::correlate`].
    unsafe fn correlate_rows<T: Element>(
        &self,
        arch: Arch,
        x: &[T],
        u: &[T],
        finish: Finish<'_, T>,
        y: Start<T>,
        rows: [usize; 2],
    ) {
        let Self { inputs, outputs, input, output, pad, tiles: [_, columns], lanes } = *self;
        let tiles = (rows[1] - rows[0]) * columns;
        let row = tiles * lanes;
        let group = GROUP.min(outputs);
        let lens = [inputs, group].map(|planes| POSITIONS * planes * row);
        with_scratch_in_parts(lens, |[v, m]: [&mut [T]; 2]| {
            let strides = [input[0] * input[1] * lanes, lanes];
            let from = Planes { start: x.as_ptr(), count: inputs, strides, size: input, pad };
            for (i, v) in v.chunks_exact_mut(SIDE * inputs * row).enumerate() {
                let to = Tiles { start: v.as_mut_ptr(), strides: [inputs * row, row, lanes] };
                let transform = Transform::Input;
                // SAFETY: x has the planes; v a row for each of them at each position.
                unsafe { ToPositions { transform, row: i, from, to, rows, columns }.run(arch) };
            }
            for first in (0..outputs).step_by(group) {
                let channels = [first, (first + group).min(outputs)];
                let count = channels[1] - first;
                let products = Products {
                    positions: POSITIONS,
                    rows: count,
                    depth: inputs,
                    registers: tiles,
                    a: u[POSITIONS * inputs * first..].as_ptr(),
                    a_layout: A::Packed,
                    a_position: inputs * count,
                    b: v.as_ptr(),
                    b_strides: [inputs * row, row, lanes],
                    c: m.as_mut_ptr(),
                    c_strides: [group * row, row],
                    accumulate: false,
                };
                let from_positions = FromPositions {
                    m: m.as_ptr(),
                    strides: [group * row, row],
                    rows,
                    columns,
                    channels,
                    finish,
                    y,
                    size: output,
                };
                // SAFETY: at each position u has the group's filters, v a row for each input, m one for each output of the group;
                // the caller's promise.
                unsafe {
                    products.run(arch);
                    from_positions.run(arch);
                }
            }
        });
    }

    /// du += the gradient by the transformed filters, which lies as (positions, outputs, inputs in lanes).
    ///
    /// # Safety
    /// - The plan must be for the lanes of `arch`; the slices must have the lengths of the plan.
    pub(super) unsafe fn add_gradient<T: Element>(
        &self,
        arch: Arch,
        pool: Pool,
        x: &[T],
        dy: &[T],
        du: &mut [T],
    ) {
        // One thread does all positions, to turn x once; several a row of four each.
        let rows = if pool.is_parallel() { 1 } else { SIDE };
        pool.for_each_part(Rows::new(du, SIDE, self.gradient_len() / SIDE), rows, |part, du| {
            let positions = [part * rows, part * rows + du.rows];
            // SAFETY: the caller's promise.
            unsafe { self.add_gradient_rows(arch, x, dy, positions, du.data) };
        });
    }

    /// The gradient at some rows of four positions.
    ///
    /// # Safety
    /// As [`Winograd::add_gradient`]; du must hold these positions.
    unsafe fn add_gradient_rows<T: Element>(
        &self,
        arch: Arch,
        x: &[T],
        dy: &[T],
        positions: [usize; 2],
        du: &mut [T],
    ) {
        let Self { inputs, outputs, input: [height, width], output, pad, tiles, lanes } = *self;
        let padded = self.padded_inputs();
        let [tile_rows, columns] = tiles;
        let block = self.block_rows::<T>(WEIGHT_BLOCK, SIDE, padded + outputs);
        // Inputs in lanes, so that the products add up over the samples: (registers of inputs, rows, columns, samples).
        let (registers, register) = (padded / lanes, lanes * lanes);
        let turned_row = width * register;
        let turned_plane = (TILE * block + FILTER - 1).min(height) * turned_row;
        let most = SIDE * block * columns * lanes;
        let lens = [registers * turned_plane, padded * most, outputs * most];
        with_scratch_in_parts(lens, |[turned, v, dm]: [&mut [T]; 3]| {
            turned[(registers - 1) * turned_plane..].fill(T::zero()); // where not all lanes have an input
            for first in (0..tile_rows).step_by(block) {
                let rows = [first, (first + block).min(tile_rows)];
                let depth = (rows[1] - first) * columns * lanes;
                // What these tiles see.
                let seen = [TILE * rows[0], TILE * rows[1] + FILTER - 1];
                let [top, bottom] = seen.map(|row| row.saturating_sub(pad[0]).min(height));
                for (number, to) in turned.chunks_exact_mut(turned_plane).enumerate() {
                    let channels = lanes.min(inputs - number * lanes);
                    for (y, to) in (top..bottom).zip(to.chunks_exact_mut(turned_row)) {
                        let from = &x[(number * lanes * height + y) * width * lanes..];
                        let (row, size) = (height * width * lanes, [channels, width * lanes]);
                        arch.dispatch(Turn { from, row, to, step: lanes, size });
                    }
                }
                for row in positions[0]..positions[1] {
                    for number in 0..registers {
                        let from = Planes {
                            start: turned[number * turned_plane..].as_ptr(),
                            count: lanes,
                            strides: [lanes, register],
                            size: [bottom - top, width],
                            pad: [pad[0] + top, pad[1]],
                        };
                        let to = Tiles {
                            start: v[number * depth * lanes..].as_mut_ptr(),
                            strides: [padded * depth, lanes, register],
                        };
                        let transform = Transform::Input;
                        // SAFETY: `turned` has what the tiles see, v four positions of `depth` rows of this register.
                        unsafe {
                            ToPositions { transform, row, from, to, rows, columns }.run(arch)
                        };
                    }
                    let from = Planes {
                        start: dy.as_ptr(),
                        count: outputs,
                        strides: [output[0] * output[1] * lanes, lanes],
                        size: output,
                        pad: [0; 2],
                    };
                    let to =
                        Tiles { start: dm.as_mut_ptr(), strides: [outputs * depth, depth, lanes] };
                    let transform = Transform::OutputGradient;
                    let products = Products {
                        positions: SIDE,
                        rows: outputs,
                        depth,
                        registers,
                        a: dm.as_ptr(),
                        a_layout: A::Rows(depth),
                        a_position: outputs * depth,
                        b: v.as_ptr(),
                        b_strides: [padded * depth, lanes, depth * lanes],
                        c: du[(row - positions[0]) * SIDE * outputs * padded..].as_mut_ptr(),
                        c_strides: [outputs * padded, padded],
                        accumulate: true,
                    };
                    // SAFETY: dy has the planes, dm and v four positions of `depth` for each output and each register of inputs,
                    // du the row's positions.
                    unsafe {
                        ToPositions { transform, row, from, to, rows, columns }.run(arch);
                        products.run(arch);
                    }
                }
            }
        });
    }

    /// dw (outputs, inputs, 3, 3) = the gradient by the filters, from du, that by the transformed ones.
    pub(super) fn filter_gradient<T: Element>(&self, pool: Pool, du: &[T], dw: &mut [T]) {
        let Self { inputs, outputs, .. } = *self;
        let padded = self.padded_inputs();
        const LEN: usize = FILTER * FILTER;
        pool.for_each_part(Rows::new(dw, outputs, inputs * LEN), 1, |output, dw| {
            for (input, dw) in dw.data.chunks_exact_mut(LEN).enumerate() {
                let mut points = [[T::zero(); SIDE]; SIDE];
                for (p, point) in points.as_flattened_mut().iter_mut().enumerate() {
                    *point = du[(p * outputs + output) * padded + input];
                }
                dw.copy_from_slice(transform::filter_gradient(points).as_flattened());
            }
        });
    }
}
