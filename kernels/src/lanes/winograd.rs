//! Convolution by Winograd's minimal filtering F(4×4, 3×3): 36 multiplications for a tile of 4×4 outputs instead of 144.
//!
//! The 6×6 elements that a tile sees, d, and the filter w are taken to 36 *positions*, multiplied there, summed over the channels
//! and taken back: Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ d B)] A. With samples in lanes the transforms are a few operations on registers, and the
//! sums at a position are a small matrix product. The gradient by the input is the same correlation of dY with the turned filters.
//! The gradient by the weights flows back through Y: dw = Gᵀ [Σ over tiles and samples (A dY Aᵀ) ⊙ (Bᵀ d B)] G.
//!
//! Source: S. Winograd, "Arithmetic Complexity of Computations" (1980); A. Lavin and S. Gray, "Fast Algorithms for Convolutional
//! Neural Networks" (2015); on the points, B. Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution
//! for Deep Neural Networks" (2020). docs/engine.md derives it.

mod channels;
mod product;
mod transform;

use std::env;
use std::sync::OnceLock;

use super::convolution::products;
use super::correlate::Finish;
use super::transpose::Turn;
use crate::arch::Arch;
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel::{Parts, Pool, Rows, Start};
use crate::workspace::{with_scratch, with_scratch_in_parts};
use product::Products;
use transform::{
    CELLS, FILTER, FilterGradients, Filters, FromPositions, PAIR_POSITIONS, PAIRS, POSITIONS,
    Planes, TILE, Tiles, ToPositions, Transform, WEIGHT_PAIR_POSITIONS, WEIGHT_POSITIONS,
    WEIGHT_TILE,
};

/// Bytes of a block's operands and sums, which should stay in L2 (512 KiB and more): 200 to 600 KiB differ by 3 %.
const CORRELATION_BLOCK: usize = 320 << 10;
/// The same for the gradient by the weights, of a pair of rows of positions: 128 to 256 KiB differ by 1 %, less lose 3 %.
const WEIGHT_BLOCK: usize = 192 << 10;
/// Products of the gradient by the weights that are summed before they are added to others. Sums of more, one by one, round more
/// than the direct kernels' sums, of which each lane has one.
const STRETCH: usize = 32;
/// Filters that a task transforms.
const FILTERS: usize = 8;
/// Channels on either side from which on it is worth the transforms: see docs/engine.md.
const MIN_CHANNELS: usize = 8;
/// Multiplications done directly for one at a position, from which on it is worth the transforms: small images fill no tiles.
const WORTH: f64 = 1.5;

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

/// Elements from a position's operands of `len` elements to the next one's: an odd number of cache lines (of pairs of them in f64),
/// or all positions of a tile would fall into the same few sets of the cache.
fn apart(len: usize) -> usize {
    const LINE: usize = 16;
    (len.div_ceil(LINE) | 1) * LINE
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
        let plans = [
            plan(channels, filters, [in_h, in_w], [out_h, out_w], pad),
            plan(filters, channels, [out_h, out_w], [in_h, in_w], turned_pad),
        ];
        let worth = |plan: &Self| {
            let multiplications = POSITIONS * plan.tiles[0] * plan.tiles[1];
            WORTH * multiplications as f64 <= products(geometry) as f64
        };
        Ok(plans.iter().all(worth).then_some(plans))
    }

    /// Elements of the transformed filters.
    pub(super) fn filters_len(&self) -> usize {
        POSITIONS * self.filters_position()
    }

    /// Elements from the filters (or their gradients) at a position to those at the next.
    fn filters_position(&self) -> usize {
        apart(self.outputs * self.padded_inputs())
    }

    /// Inputs rounded up to registers, for where they lie in lanes.
    fn padded_inputs(&self) -> usize {
        self.inputs.next_multiple_of(self.lanes)
    }

    /// Rows of tiles of a block that has so many registers for a tile, and so many bytes.
    fn block_rows<T>(&self, tiles: [usize; 2], registers: usize, bytes: usize) -> usize {
        let row = registers * tiles[1] * self.lanes * size_of::<T>();
        (bytes / row.max(1)).clamp(1, tiles[0].max(1))
    }

    /// Transforms the filters to u, (positions, outputs, inputs in lanes). w is (outputs, inputs, 3, 3), or (inputs, outputs, 3, 3)
    /// where the filters shall be `turned`.
    pub(super) fn filters<T: Element>(
        &self,
        arch: Arch,
        pool: Pool,
        w: &[T],
        turned: bool,
        u: &mut [T],
    ) {
        let (inputs, outputs, padded) = (self.inputs, self.outputs, self.padded_inputs());
        let [row, output_stride] = if turned { [outputs, 1] } else { [1, inputs] };
        let u = (&mut u[..self.filters_len()]).into_raw();
        pool.for_each(outputs.div_ceil(FILTERS), |part| {
            with_scratch(CELLS * padded, |cells: &mut [T]| {
                cells.fill(T::zero()); // where not all lanes have an input
                for output in part * FILTERS..outputs.min((part + 1) * FILTERS) {
                    let (from, size) = (&w[output * output_stride * CELLS..], [inputs, CELLS]);
                    arch.dispatch(Turn { from, row: row * CELLS, to: cells, step: padded, size });
                    let u = u.at(output * padded);
                    let strides = [self.filters_position(), self.lanes];
                    let filters = Filters { w: cells, stride: padded, turned, u, strides };
                    // SAFETY: u has `padded` elements for each output at each position; this output is this task's.
                    unsafe { filters.run(arch) };
                }
            });
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
        let registers = PAIR_POSITIONS * self.inputs + POSITIONS * self.outputs;
        let rows = self.block_rows::<T>(self.tiles, registers, CORRELATION_BLOCK);
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
        let (padded, u_position) = (self.padded_inputs(), self.filters_position());
        let [v_position, m_position] = [inputs, outputs].map(|planes| apart(planes * row));
        let lens = [PAIR_POSITIONS * v_position, POSITIONS * m_position];
        with_scratch_in_parts(lens, |[v, m]: [&mut [T]; 2]| {
            let stride = input[0] * input[1] * lanes;
            let from = Planes { start: x.as_ptr(), count: inputs, stride, size: input, pad };
            for pair in 0..PAIRS {
                let to = Tiles { start: v.as_mut_ptr(), strides: [v_position, row, lanes] };
                let transform = Transform::Input;
                let first = pair * PAIR_POSITIONS;
                let products = Products {
                    positions: PAIR_POSITIONS,
                    rows: outputs,
                    depth: inputs,
                    registers: tiles,
                    a: u[first * u_position..].as_ptr(),
                    a_strides: [u_position, padded],
                    b: v.as_ptr(),
                    b_strides: [v_position, row, lanes],
                    c: m[first * m_position..].as_mut_ptr(),
                    c_strides: [m_position, row],
                    accumulate: false,
                    stretch: inputs,
                };
                // SAFETY: x has the planes; at each position of a pair v has a row for each input, at each position u has the
                // filters and m a row for each output.
                unsafe {
                    ToPositions { transform, pair, from, to, rows, columns }.run(arch);
                    products.run(arch);
                }
            }
            let from_positions = FromPositions {
                m: m.as_ptr(),
                strides: [m_position, row],
                rows,
                columns,
                channels: [0, outputs],
                finish,
                y,
                size: output,
            };
            // SAFETY: m has all sums of these tiles; the caller's promise.
            unsafe { from_positions.run(arch) };
        });
    }

    /// dw += the gradient by the filters.
    ///
    /// # Safety
    /// - The plan must be for the lanes of `arch`; the slices must have the lengths of the plan.
    pub(super) unsafe fn add_gradient<T: Element>(
        &self,
        arch: Arch,
        pool: Pool,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
    ) {
        let len = WEIGHT_POSITIONS * self.filters_position();
        with_scratch(len, |du: &mut [T]| {
            // One thread does all positions, to turn x once; several a pair of rows each.
            let pairs = if pool.is_parallel() { 1 } else { PAIRS };
            let rows = Rows::new(&mut *du, PAIRS, len / PAIRS);
            pool.for_each_part(rows, pairs, |part, du| {
                let pairs = [part * pairs, part * pairs + du.rows];
                // SAFETY: the caller's promise.
                unsafe { self.gradient_at(arch, x, dy, pairs, du.data) };
            });
            self.add_filter_gradient(arch, pool, du, dw);
        });
    }

    /// du = the gradient by the transformed filters at some pairs of rows of positions; it lies as (positions, outputs, inputs in
    /// lanes).
    ///
    /// # Safety
    /// As [`Winograd::add_gradient`]; du must hold these positions.
    unsafe fn gradient_at<T: Element>(
        &self,
        arch: Arch,
        x: &[T],
        dy: &[T],
        pairs: [usize; 2],
        du: &mut [T],
    ) {
        let Self { inputs, outputs, input: [height, width], output, pad, lanes, .. } = *self;
        let (padded, du_position) = (self.padded_inputs(), self.filters_position());
        let tiles @ [tile_rows, columns] =
            [0, 1].map(|axis| output[axis].div_ceil(WEIGHT_TILE[axis]));
        let tile_registers = WEIGHT_PAIR_POSITIONS * (padded + outputs);
        let block = self.block_rows::<T>(tiles, tile_registers, WEIGHT_BLOCK);
        // Inputs in lanes, so that the products add up over the samples: (registers of inputs, rows, columns, samples).
        let (registers, register) = (padded / lanes, lanes * lanes);
        let turned_row = width * register;
        let turned_plane = (TILE * block + FILTER - 1).min(height) * turned_row;
        let most = |planes: usize| WEIGHT_PAIR_POSITIONS * apart(planes * block * columns * lanes);
        let lens = [registers * turned_plane, most(padded), most(outputs)];
        with_scratch_in_parts(lens, |[turned, v, dm]: [&mut [T]; 3]| {
            turned[(registers - 1) * turned_plane..].fill(T::zero()); // where not all lanes have an input
            for first in (0..tile_rows).step_by(block) {
                let rows = [first, (first + block).min(tile_rows)];
                let depth = (rows[1] - first) * columns * lanes;
                let [v_position, dm_position] =
                    [padded, outputs].map(|planes| apart(planes * depth));
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
                for pair in pairs[0]..pairs[1] {
                    for number in 0..registers {
                        let from = Planes {
                            start: turned[number * turned_plane..].as_ptr(),
                            count: lanes,
                            stride: lanes,
                            size: [bottom - top, width],
                            pad: [pad[0] + top, pad[1]],
                        };
                        let to = Tiles {
                            start: v[number * depth * lanes..].as_mut_ptr(),
                            strides: [v_position, lanes, register],
                        };
                        let transform = Transform::WeightInput;
                        // SAFETY: `turned` has what the tiles see, v eight positions of `depth` rows of this register.
                        unsafe {
                            ToPositions { transform, pair, from, to, rows, columns }.run(arch)
                        };
                    }
                    let from = Planes {
                        start: dy.as_ptr(),
                        count: outputs,
                        stride: output[0] * output[1] * lanes,
                        size: output,
                        pad: [0; 2],
                    };
                    let to = Tiles { start: dm.as_mut_ptr(), strides: [dm_position, depth, lanes] };
                    let transform = Transform::OutputGradient;
                    let products = Products {
                        positions: WEIGHT_PAIR_POSITIONS,
                        rows: outputs,
                        depth,
                        registers,
                        a: dm.as_ptr(),
                        a_strides: [dm_position, depth],
                        b: v.as_ptr(),
                        b_strides: [v_position, lanes, depth * lanes],
                        c: du[(pair - pairs[0]) * WEIGHT_PAIR_POSITIONS * du_position..]
                            .as_mut_ptr(),
                        c_strides: [du_position, padded],
                        accumulate: first > 0,
                        stretch: STRETCH,
                    };
                    // SAFETY: dy has the planes, dm and v eight positions of `depth` for each output and each register of inputs,
                    // du the pair's positions.
                    unsafe {
                        ToPositions { transform, pair, from, to, rows, columns }.run(arch);
                        products.run(arch);
                    }
                }
            }
        });
    }

    /// dw (outputs, inputs, 3, 3) += the gradient by the filters, from du, that by the transformed ones.
    fn add_filter_gradient<T: Element>(&self, arch: Arch, pool: Pool, du: &[T], dw: &mut [T]) {
        let Self { inputs, outputs, .. } = *self;
        let padded = self.padded_inputs();
        pool.for_each_part(Rows::new(dw, outputs, inputs * CELLS), FILTERS, |part, dw| {
            with_scratch_in_parts([CELLS * padded; 2], |[cells, turned]: [&mut [T]; 2]| {
                for (number, dw) in dw.data.chunks_exact_mut(inputs * CELLS).enumerate() {
                    let du = &du[(part * FILTERS + number) * padded..];
                    let position = self.filters_position();
                    arch.dispatch(FilterGradients { du, position, dw: cells, stride: padded });
                    let (to, size) = (&mut *turned, [CELLS, inputs]);
                    arch.dispatch(Turn { from: cells, row: padded, to, step: CELLS, size });
                    for (dw, &turned) in dw.iter_mut().zip(&*turned) {
                        *dw += turned;
                    }
                }
            });
        });
    }
}
