//! The gradients by w and by the bias: sums over all images and pixels.

use super::PARALLEL_WORK;
use super::geometry::ConvGeometry;
use super::plane::Plane;
use super::source::Taps;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::driver::{Left, Product};
use crate::gemm::packing::Dense;
use crate::gemm::{Epilogue, Output};
use crate::parallel::{Pool, Rows};
use crate::view::MatRef;
use crate::workspace::with_scratch;

/// Parts the batch is cut into, each with a gradient of its own; they are added in order, so the number is fixed.
const BATCH_PARTS: usize = 16;

/// For each image, dwᵀ (taps × filters) += windows (taps × pixels) · dyᵀ (pixels × filters), by GEMM with both operands
/// packed on the fly.
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
    let (pixel_offsets, tap_offsets) = (plane.pixel_offsets(), plane.tap_offsets());
    let part_images = batch.div_ceil(BATCH_PARTS);
    let parts = batch.div_ceil(part_images);
    let (image_len, gradient_len) = (x.len() / batch, dy.len() / batch);
    with_scratch(parts * dw.len(), |sums| {
        pool.for_each_part(Rows::new(&mut *sums, parts, dw.len()), 1, |part, sum| {
            let images = part * part_images..batch.min((part + 1) * part_images);
            let output = Output { start: sum.data.as_mut_ptr(), strides: [filters as isize, 1] };
            with_scratch(plane.len(), |haloed| {
                for n in images.clone() {
                    plane.fill(&x[n * image_len..][..image_len], haloed);
                    // SAFETY: a plane's offsets stay a register below its length.
                    let windows = unsafe { Taps::new(haloed, &tap_offsets, &pixel_offsets) };
                    let dy = &dy[n * gradient_len..][..gradient_len];
                    let dy = MatRef::new(dy, [filters, pixels]).expect("one image of dy");
                    let product = Product {
                        size: [taps, filters, pixels],
                        alpha: T::one(),
                        beta: if n == images.start { T::zero() } else { T::one() },
                        a: Left::Source(&windows),
                        b: &Dense(dy),
                        c: output,
                        epilogue: Epilogue::default(),
                    };
                    // SAFETY: `sum` is this task's own taps × filters.
                    unsafe { product.compute(arch, Pool::SERIAL) };
                }
            });
        });
        add_transposed(sums, [taps, filters], dw);
    });
    Ok(())
}

/// dw (filters × taps) = the sum of the parts (taps × filters each), in order.
fn add_transposed<T: Element>(parts: &[T], [taps, filters]: [usize; 2], dw: &mut [T]) {
    for (filter, dw) in dw.chunks_exact_mut(taps).enumerate() {
        for (tap, dw) in dw.iter_mut().enumerate() {
            *dw = parts[tap * filters + filter..].iter().step_by(taps * filters).copied().sum();
        }
    }
}

pub(super) fn backward_bias<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    db: &mut [T],
) -> Result<()> {
    crate::reference::conv::backward_bias(geometry, dy, db);
    Ok(())
}
