//! The gradient by x where x has few channels: by way of the column matrix's gradient, an image at a time.
//!
//! As a convolution with the turned filters it is a product of as many rows as x has channels: one is a sixth of a tile. The
//! columns' gradient, wᵀ (taps × filters) · dy (filters × pixels), has whole tiles, and adding it up costs an addition for as
//! many multiply-adds as there are filters.

use pulp::{Simd, WithSimd};

use super::PARALLEL_WORK;
use super::geometry::ConvGeometry;
use super::plane::Plane;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::driver::{Operand, Product};
use crate::gemm::packing::Dense;
use crate::gemm::{Epilogue, General, Output};
use crate::parallel::{Pool, Rows};
use crate::simd::Vector;
use crate::view::MatRef;
use crate::workspace::with_scratch_in_parts;

/// Channels of x up to which this is the faster way, and filters from which on.
const MOST_CHANNELS: usize = 3;
const FEWEST_FILTERS: usize = 4;

pub(super) fn is_best(geometry: &ConvGeometry) -> bool {
    let [filters, channels, ..] = geometry.weight();
    channels <= MOST_CHANNELS && filters >= FEWEST_FILTERS
}

pub(super) fn backward_data<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let ([batch, filters, ..], taps) = (geometry.output(), geometry.taps());
    if dx.is_empty() {
        return Ok(());
    }
    let plane = Plane::of_input(geometry);
    let (pixels, offsets, tap_offsets) =
        (plane.pixels(), plane.pixel_offsets(), plane.tap_offsets());
    let arch = Arch::current()?;
    let pool = Pool::for_work(batch * filters * taps * pixels, PARALLEL_WORK)?;
    let w = MatRef::new(w, [filters, taps])?.t();
    let dx = Rows::new(dx, batch, geometry.input_len() / batch);
    pool.for_each_part((dx, Rows::new(dy, batch, filters * pixels)), 1, |_, (dx, dy)| {
        with_scratch_in_parts([taps * pixels, plane.len()], |[columns, haloed]| {
            let dy = MatRef::new(dy.data, [filters, pixels]).expect("one image of dy");
            let product = Product {
                size: [taps, pixels, filters],
                a: Operand::<T, Dense<'_, T>>::InPlace(w),
                // From memory in long runs: in place, 30 rows at a time would be read a register each.
                b: Operand::Source(&Dense(dy.t())),
                c: Output { start: columns.as_mut_ptr(), strides: [pixels as isize, 1] },
                finish: General::new(T::one(), T::zero(), Epilogue::default()),
            };
            // SAFETY: `columns` is this task's own taps × pixels.
            unsafe { product.compute(arch, Pool::SERIAL) };
            haloed.fill(T::zero());
            let side_by_side = geometry.window().stride[1] == 1;
            let row = if side_by_side { geometry.output()[3] } else { 1 };
            for (tap, columns) in tap_offsets.iter().zip(columns.chunks_exact(pixels.max(1))) {
                arch.dispatch(AddRows {
                    rows: columns,
                    row,
                    offsets: &offsets,
                    to: &mut haloed[*tap..],
                });
            }
            plane.read(haloed, dx.data);
        });
    });
    Ok(())
}

/// Adds each row of `rows` to the elements of `to` from the offset of its first one on.
struct AddRows<'a, T> {
    rows: &'a [T],
    /// Elements of a row.
    row: usize,
    /// Of each element.
    offsets: &'a [usize],
    to: &'a mut [T],
}

impl<T: Element> WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, row, offsets, to } = self;
        let lanes = Vector::<T, S>::len();
        for (rows, offsets) in rows.chunks_exact(row).zip(offsets.chunks_exact(row)) {
            let to = &mut to[offsets[0]..][..row];
            let whole = row - row % lanes;
            for at in (0..whole).step_by(lanes) {
                let sum = Vector::load(simd, &to[at..]) + Vector::load(simd, &rows[at..]);
                sum.store(&mut to[at..]);
            }
            for at in whole..row {
                to[at] += rows[at];
            }
        }
    }
}
