//! The gradients by w and by the bias: sums over all images and pixels.

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

/// For each image, dwᵀ (taps × filters) += windows (taps × pixels) · dyᵀ (pixels × filters): the windows are read where they
/// are, element by element, and only dy is packed.
pub(super) fn backward_weight<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let (plane, taps) = (Plane::of_input(geometry), geometry.taps());
    let [batch, filters, ..] = geometry.output();
    let pixels = plane.pixels();
    if dw.is_empty() || batch == 0 {
        dw.fill(T::zero());
        return Ok(());
    }
    let arch = Arch::current()?;
    let pool = Pool::for_work(batch * filters * taps * pixels, PARALLEL_WORK)?;
    let Blocking { nr, kc, .. } = Blocking::of::<T>(arch, pixels);
    let (pixel_offsets, tap_offsets) = (plane.pixel_offsets(), plane.tap_offsets());
    let part_images = batch.div_ceil(BATCH_PARTS);
    let parts = batch.div_ceil(part_images);
    let (image_len, gradient_len) = (x.len() / batch, dy.len() / batch);
    let panels_len = packed_len(filters, nr, kc);
    with_scratch(parts * dw.len(), |sums| {
        pool.for_each_part(Rows::new(&mut *sums, parts, dw.len()), 1, |part, sum| {
            let images = part * part_images..batch.min((part + 1) * part_images);
            let c = Output { start: sum.data.as_mut_ptr(), strides: [filters as isize, 1] };
            with_scratch_in_parts([plane.len(), panels_len], |[haloed, panels]| {
                let mut beta = T::zero();
                for n in images.clone() {
                    plane.fill(&x[n * image_len..][..image_len], haloed);
                    let dy = &dy[n * gradient_len..][..gradient_len];
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
                                left: Gathered::rows(haloed, &tap_offsets, pixel_offsets),
                                right: Packed { panels, depth: deep, width: nr },
                                depth: deep,
                                rows: taps,
                                cols: filters,
                                row: 0,
                                col: 0,
                                c,
                            };
                            let epilogue = Epilogue::default();
                            block.compute(arch, General::new(T::one(), beta, epilogue));
                        }
                        beta = T::one();
                    }
                }
            });
        });
        add_transposed(sums, [taps, filters], dw);
    });
    Ok(())
}

/// dw (filters × taps) = the sum of the parts (taps × filters each), in order.
fn add_transposed<T: Element>(parts: &mut [T], [taps, filters]: [usize; 2], dw: &mut [T]) {
    let (sum, others) = parts.split_at_mut(taps * filters);
    for part in others.chunks_exact(taps * filters) {
        sum.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x);
    }
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
