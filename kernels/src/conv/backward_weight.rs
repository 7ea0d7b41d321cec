//! The gradients by w and by the bias: sums over all images and pixels.

use super::few_taps::{self, AddImage, Steps};
use super::geometry::ConvGeometry;
use super::plane::Plane;
use super::{BATCH_PARTS, PARALLEL_WORK};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::blocking::Blocking;
use crate::gemm::packing::{Dense, pack_panels, packed_len};
use crate::gemm::panels::{Gathered, Packed};
use crate::gemm::{Block, Epilogue, General, Output};
use crate::parallel::{Pool, Rows};
use crate::reduce::sum_axis;
use crate::view::MatRef;
use crate::workspace::{with_scratch, with_scratch_in_parts};

/// dw of (filters, taps).
pub(super) fn backward_weight<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    if dw.is_empty() || geometry.output()[0] == 0 {
        dw.fill(T::zero());
        return Ok(());
    }
    let (arch, [_, _, height, width]) = (Arch::current()?, geometry.output());
    let blocking = Blocking::of::<T>(arch, height * width);
    let plane = &Plane::of_input(geometry);
    match few_taps::is_best(geometry, blocking) {
        true => by_registers(arch, geometry, plane, x, dy, dw),
        false => by_products(arch, blocking, geometry, plane, x, dy, dw),
    }
}

/// dw as registers of which each lane has some of the pixels (`few_taps.rs`).
fn by_registers<T: Element>(
    arch: Arch,
    geometry: &ConvGeometry,
    plane: &Plane,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let lanes = arch.lanes::<T>();
    let steps = &Steps::new(geometry, plane, lanes);
    let lens = [dw.len() * lanes, 0];
    sum_images(
        geometry,
        plane,
        x,
        dy,
        lens,
        |x, dy, sums, _| {
            arch.dispatch(AddImage { steps, x, dy, sums });
        },
        |sum| {
            for (dw, lanes) in dw.iter_mut().zip(sum.chunks_exact(lanes)) {
                *dw = lanes.iter().copied().sum();
            }
        },
    )
}

/// For each image, dwᵀ (taps × filters) += windows (taps × pixels) · dyᵀ (pixels × filters): the windows are read where they
/// are, element by element, and only dy is packed.
fn by_products<T: Element>(
    arch: Arch,
    Blocking { nr, kc, .. }: Blocking,
    geometry: &ConvGeometry,
    plane: &Plane,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let ([_, filters, ..], taps, pixels) = (geometry.output(), geometry.taps(), plane.pixels());
    let (pixel_offsets, tap_offsets) = (plane.pixel_offsets(), plane.tap_offsets());
    let lens = [dw.len(), packed_len(filters, nr, kc)];
    sum_images(
        geometry,
        plane,
        x,
        dy,
        lens,
        |x, dy, sum, panels| {
            let c = Output { start: sum.as_mut_ptr(), strides: [filters as isize, 1] };
            let dy = MatRef::new(dy, [filters, pixels]).expect("one image of dy");
            for start in (0..pixels).step_by(kc) {
                let depth = start..pixels.min(start + kc);
                let panels = &mut panels[..packed_len(filters, nr, depth.len())];
                let all = 0..filters;
                pack_panels(arch, Pool::SERIAL, &Dense(dy), panels, nr, all, depth.clone());
                let (deep, pixel_offsets) = (depth.len(), &pixel_offsets[depth]);
                // SAFETY: a plane's offsets lie within it; `sum` is this task's own taps × filters.
                unsafe {
                    let block = Block {
                        left: Gathered::rows(x, &tap_offsets, pixel_offsets),
                        right: Packed { panels, depth: deep, width: nr },
                        depth: deep,
                        rows: taps,
                        cols: filters,
                        row: 0,
                        col: 0,
                        c,
                    };
                    block.compute(arch, General::new(T::one(), T::one(), Epilogue::default()));
                }
            }
        },
        |sum| transpose(sum, [taps, filters], dw),
    )
}

/// Calls `add(haloed image, its dy, sum, scratch)` for each image, with a sum for each part of the batch, and `finish` with the sum of
/// those, in order. `lens` are those of a sum, which is 0 at first, and of the scratch.
fn sum_images<T: Element>(
    geometry: &ConvGeometry,
    plane: &Plane,
    x: &[T],
    dy: &[T],
    [sum_len, scratch_len]: [usize; 2],
    add: impl Fn(&[T], &[T], &mut [T], &mut [T]) + Sync,
    finish: impl FnOnce(&[T]),
) -> Result<()> {
    let [batch, filters, ..] = geometry.output();
    let work = batch * filters * geometry.taps() * plane.pixels();
    let pool = Pool::for_work(work, PARALLEL_WORK)?;
    let part_images = batch.div_ceil(BATCH_PARTS);
    let parts = batch.div_ceil(part_images);
    let (image_len, gradient_len) = (x.len() / batch, dy.len() / batch);
    with_scratch(parts * sum_len, |sums| {
        pool.for_each_part(Rows::new(&mut *sums, parts, sum_len), 1, |part, sum| {
            let sum = sum.data;
            sum.fill(T::zero());
            with_scratch_in_parts([plane.len(), scratch_len], |[haloed, scratch]| {
                let first = part * part_images;
                for n in first..batch.min(first + part_images) {
                    plane.fill(&x[n * image_len..][..image_len], haloed);
                    let dy = &dy[n * gradient_len..][..gradient_len];
                    add(haloed, dy, sum, scratch);
                }
            });
        });
        let (sum, others) = sums.split_at_mut(sum_len);
        for part in others.chunks_exact(sum_len) {
            sum.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x);
        }
        finish(sum);
    });
    Ok(())
}

/// dw (filters × taps) from its transpose.
fn transpose<T: Element>(sum: &[T], [taps, filters]: [usize; 2], dw: &mut [T]) {
    // A line of the cache of each row of dw at a time.
    const COLUMNS: usize = 8;
    for first in (0..taps).step_by(COLUMNS) {
        let columns = first..taps.min(first + COLUMNS);
        for (filter, dw) in dw.chunks_exact_mut(taps).enumerate() {
            for tap in columns.clone() {
                dw[tap] = sum[tap * filters + filter];
            }
        }
    }
}

pub(super) fn backward_bias<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    db: &mut [T],
) -> Result<()> {
    let [batch, filters, out_h, out_w] = geometry.output();
    with_scratch(batch * filters, |images| {
        sum_axis([batch * filters, out_h * out_w, 1], dy, images)?;
        sum_axis([1, batch, filters], images, db)
    })
}
