//! The gradient by x by way of the column matrix's gradient, some rows of an image at a time.
//!
//! As a convolution with the turned filters it is a product of as many rows as x has channels: one is a sixth of a tile. And each of
//! x's pixels meets every tap, also where it has no window there: beside the stride, and beyond dy's edges. The columns' gradient,
//! wᵀ (taps × filters) · dy (filters × pixels), has whole tiles and nothing that is not needed, but adding it up costs as much as
//! the multiply-adds of some filters.

use pulp::{Simd, WithSimd};

use super::DataGradient;
use super::forward;
use super::geometry::ConvGeometry;
use super::plane::Plane;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::driver::{Operand, Product};
use crate::gemm::packing::Dense;
use crate::gemm::{Epilogue, General, Output};
use crate::parallel::Pool;
use crate::simd::Vector;
use crate::view::MatRef;
use crate::workspace::with_scratch_in_parts;

/// What adding up the columns costs, in filters whose multiply-adds take as long.
const ADDING: usize = 10;
/// Bytes of columns at a time: some of L2. The same on every machine, so that sums are.
const COLUMNS: usize = 1 << 18;

/// Whether this is faster than what `forward.rs` does.
pub(super) fn is_best<T: Element>(geometry: &ConvGeometry) -> Result<bool> {
    let ([_, channels, ..], [_, filters, height, width]) = (geometry.input(), geometry.output());
    // A row alone needs a load for each multiply-add.
    let halves = if channels == 1 { 3 } else { 2 };
    let product = filters * forward::windows_of_data_gradient::<T>(geometry)? * halves / 2;
    Ok((filters + ADDING) * height * width < product)
}

/// Calls `body` with what gives dx of one image from its dy.
pub(super) fn with_data_gradient<T: Element>(
    geometry: &ConvGeometry,
    w: &[T],
    body: impl FnOnce(&DataGradient<'_, T>) -> Result<()>,
) -> Result<()> {
    let ([_, filters, height, width], taps) = (geometry.output(), geometry.taps());
    let plane = Plane::of_input(geometry).in_turns();
    let (tap_offsets, row_step) = (plane.tap_offsets(), plane.row_step());
    let rows_at_once = (COLUMNS / (taps * width * size_of::<T>()).max(1)).clamp(1, height);
    let arch = Arch::current()?;
    let adding = arch.for_rows_of::<T>(width);
    let w = MatRef::new(w, [filters, taps])?.t();
    body(&|dy, dx| {
        let lens = [taps * rows_at_once * width, plane.len()];
        with_scratch_in_parts(lens, |[columns, haloed]| {
            haloed.fill(T::zero());
            let dy = MatRef::new(dy, [filters, height * width]).expect("one image of dy");
            for first in (0..height).step_by(rows_at_once) {
                let rows = rows_at_once.min(height - first);
                let dy = dy.split_cols(first * width).1.split_cols(rows * width).0;
                let pixels = rows * width;
                let product = Product {
                    size: [taps, pixels, filters],
                    a: Operand::<T, Dense<'_, T>>::InPlace(w),
                    // From memory in long runs: in place, 30 rows at a time would be read a register each.
                    b: Operand::Source(&Dense(dy.t())),
                    c: Output { start: columns.as_mut_ptr(), strides: [pixels as isize, 1] },
                    finish: General::new(T::one(), T::zero(), Epilogue::default()),
                    last: None,
                };
                // SAFETY: `columns` is this task's own, and holds taps × pixels.
                unsafe { product.compute(arch, Pool::SERIAL) };
                let columns = &columns[..taps * pixels];
                let to = &mut haloed[first * row_step..];
                adding.dispatch(AddColumns {
                    columns,
                    size: [rows, width],
                    tap_offsets: &tap_offsets,
                    row_step,
                    to,
                });
            }
            plane.read(haloed, dx);
        });
    })
}

/// Adds each column, rows `row_step` apart, to the elements of `to` from its tap's offset on.
struct AddColumns<'a, T> {
    /// (taps, pixels).
    columns: &'a [T],
    /// `[height, width]` of the pixels.
    size: [usize; 2],
    tap_offsets: &'a [usize],
    row_step: usize,
    to: &'a mut [T],
}

impl<T: Element> WithSimd for AddColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { columns, size: [height, width], tap_offsets, row_step, to } = self;
        let lanes = Vector::<T, S>::len();
        let sum = |to: &[T], row: &[T], at: usize| {
            Vector::load(simd, &to[at..]) + Vector::load(simd, &row[at..])
        };
        for (&tap, column) in tap_offsets.iter().zip(columns.chunks_exact(height * width)) {
            for (y, row) in column.chunks_exact(width).enumerate() {
                let to = &mut to[tap + y * row_step..][..width];
                if width < lanes {
                    to.iter_mut().zip(row).for_each(|(to, &x)| *to += x);
                    continue;
                }
                // The last two registers may overlap: read both before either is written.
                let last = width - lanes;
                let end = sum(to, row, last);
                for at in (0..last).step_by(lanes) {
                    sum(to, row, at).store(&mut to[at..]);
                }
                end.store(&mut to[last..]);
            }
        }
    }
}
