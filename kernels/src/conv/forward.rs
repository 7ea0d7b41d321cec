//! The forward pass and the gradient by x: both slide a filter over a haloed image.

use std::ops::Range;

use pulp::Simd;

use super::PARALLEL_WORK;
use super::geometry::ConvGeometry;
use super::plane::Plane;
use super::source::Taps;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::driver::{Left, Product, pack_left, packed_left_len};
use crate::gemm::packing::{Dense, PanelSource};
use crate::gemm::{Bias, Epilogue, Output};
use crate::parallel::{Pool, Rows};
use crate::view::MatRef;
use crate::workspace::with_scratch;

pub(super) fn forward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) -> Result<()> {
    let w = MatRef::new(w, [geometry.weight()[0], geometry.taps()])?;
    let epilogue = Epilogue { bias: bias.map_or(Bias::None, Bias::PerRow), relu };
    correlate(&Plane::of_input(geometry), geometry.input()[0], x, &Dense(w), w.shape(), epilogue, y)
}

pub(super) fn backward_data<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let [filters, channels, ..] = geometry.weight();
    let area = geometry.window().area();
    let turned = Turned { w, channels, area };
    let plane = Plane::of_output_gradient(geometry);
    let shape = [channels, filters * area];
    correlate(&plane, geometry.input()[0], dy, &turned, shape, Epilogue::default(), dx)
}

/// The filters as the gradient by x sees them: lines are channels, and the depth is (filter, cell) with the cells
/// in reverse.
struct Turned<'a, T> {
    w: &'a [T],
    channels: usize,
    area: usize,
}

impl<T: Element> PanelSource<T> for Turned<'_, T> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        panel: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        for (step, d) in panel.chunks_exact_mut(width).zip(depth) {
            let (filter, cell) = (d / self.area, self.area - 1 - d % self.area);
            let (inside, beyond) = step.split_at_mut(lines.len());
            for (to, channel) in inside.iter_mut().zip(lines.clone()) {
                *to = self.w[(filter * self.channels + channel) * self.area + cell];
            }
            beyond.fill(T::zero());
        }
    }
}

/// For each image, y (rows × pixels) = filters (rows × taps) · windows (taps × pixels), by GEMM with the windows packed
/// straight from the haloed image. A task takes an image.
fn correlate<T: Element>(
    plane: &Plane,
    batch: usize,
    images: &[T],
    filters: &impl PanelSource<T>,
    [rows, taps]: [usize; 2],
    epilogue: Epilogue<'_, T>,
    y: &mut [T],
) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    let pixels = plane.pixels();
    let arch = Arch::current()?;
    let pool = Pool::for_work(batch * rows * taps * pixels, PARALLEL_WORK)?;
    let (pixel_offsets, tap_offsets) = (plane.pixel_offsets(), plane.tap_offsets());
    with_scratch(packed_left_len::<T>(arch, rows, taps), |packed| {
        pack_left(arch, pool, filters, [rows, taps], packed);
        let packed = &*packed;
        let image_len = images.len() / batch;
        let parts = (Rows::new(images, batch, image_len), Rows::new(y, batch, rows * pixels));
        pool.for_each_part(parts, 1, |_, (image, y)| {
            with_scratch(plane.len(), |haloed| {
                plane.fill(image.data, haloed);
                // SAFETY: a plane's offsets stay a register below its length.
                let windows = unsafe { Taps::new(haloed, &pixel_offsets, &tap_offsets) };
                let output = Output { start: y.data.as_mut_ptr(), strides: [pixels as isize, 1] };
                let a = Left::<T, Dense<'_, T>>::Packed(packed);
                let (size, alpha, beta) = ([rows, pixels, taps], T::one(), T::zero());
                let product = Product { size, alpha, beta, a, b: &windows, c: output, epilogue };
                // SAFETY: `y` is this task's own rows × pixels, the bias was checked to hold `rows`.
                unsafe { product.compute(arch, Pool::SERIAL) };
            });
        });
    });
    Ok(())
}
