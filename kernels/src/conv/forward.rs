//! The forward pass and the gradient by x: both slide a filter over a haloed image.

use std::ops::Range;

use pulp::Simd;

use super::PARALLEL_WORK;
use super::geometry::ConvGeometry;
use super::plane::{Plane, Registers};
use super::source::Taps;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::blocking::Blocking;
use crate::gemm::driver::{Operand, Product, pack_left};
use crate::gemm::packing::{Dense, PanelSource, pack_panels, packed_len};
use crate::gemm::panels::{Gathered, Packed};
use crate::gemm::{Bias, Block, Epilogue, General, Output};
use crate::parallel::{Parts, Pool, Rows};
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

/// Images from which on each of them is a task; fewer are cut into groups of filters as well.
const IMAGES: usize = 4;

/// For each image, y (rows × pixels) = filters (rows × taps) · windows (taps × pixels).
fn correlate<T: Element>(
    plane: &Plane,
    batch: usize,
    images: &[T],
    filters: &impl PanelSource<T>,
    [all_rows, taps]: [usize; 2],
    epilogue: Epilogue<'_, T>,
    y: &mut [T],
) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    let pixels = plane.pixels();
    let arch = Arch::current()?;
    let pool = Pool::for_work(batch * all_rows * taps * pixels, PARALLEL_WORK)?;
    let blocking = Blocking::of::<T>(arch, taps);
    let mr = blocking.mr;
    let path = Path::choose(plane, &blocking);
    let tap_offsets = plane.tap_offsets();
    with_scratch(packed_len(all_rows, mr, taps), |packed| {
        match path {
            Path::InPlace(_) => {
                pack_panels(arch, pool, filters, packed, mr, 0..all_rows, 0..taps);
            }
            Path::Packed(_) => pack_left(arch, pool, filters, [all_rows, taps], packed),
        }
        let (packed, image_len) = (&*packed, images.len() / batch);
        // Each group fills the image's plane for itself, which costs little beside its products.
        let group = match path {
            Path::InPlace(_) if batch < IMAGES => all_rows.div_ceil(IMAGES).next_multiple_of(mr),
            _ => all_rows,
        };
        let groups = all_rows.div_ceil(group);
        let y = Rows::new(y, batch * all_rows, pixels).into_raw();
        pool.for_each(batch * groups, |task| {
            let (image, first) = (task / groups, task % groups * group);
            let rows = group.min(all_rows - first);
            with_scratch(plane.len(), |haloed| {
                plane.fill(&images[image * image_len..][..image_len], haloed);
                // SAFETY: a plane's offsets stay a register below its length; `y` is this task's own
                // rows × pixels, which lie within all of it; the bias was checked to hold all rows.
                unsafe {
                    let y = Rows::<&mut [T]>::part(y, image * all_rows + first, rows);
                    let start = y.data.as_mut_ptr().wrapping_sub(first * pixels); // of the image
                    let c = Output { start, strides: [pixels as isize, 1] };
                    let finish = General::new(T::one(), T::zero(), epilogue);
                    match &path {
                        Path::InPlace(registers) => {
                            let Registers { offsets, pixels } = registers;
                            let (lanes, panels) = (blocking.lanes, &packed[first * taps..]);
                            let left = Packed { panels, depth: taps, width: mr };
                            let right = Gathered::registers(haloed, offsets, &tap_offsets, pixels);
                            let cols = offsets.len() * lanes;
                            let (depth, row, col) = (taps, first, 0);
                            let block = Block { left, right, depth, rows, cols, row, col, c };
                            block.compute(arch, finish);
                        }
                        Path::Packed(offsets) => {
                            let windows = Taps::new(haloed, offsets, &tap_offsets);
                            let (size, a) =
                                ([rows, pixels, taps], Operand::<T, Taps<'_, T>>::Packed(packed));
                            Product { size, a, b: Operand::Source(&windows), c, finish }
                                .compute(arch, Pool::SERIAL);
                        }
                    }
                }
            });
        });
    });
    Ok(())
}

/// How the windows reach the microkernel.
enum Path {
    /// Read where they are: a register is as many windows side by side, so each of its taps is one load.
    InPlace(Registers),
    /// Packed, by the windows' offsets: strided windows, and rows shorter than a register or badly cut by it.
    Packed(Vec<usize>),
}

impl Path {
    fn choose(plane: &Plane, blocking: &Blocking) -> Self {
        let lanes = blocking.lanes;
        match plane.registers(lanes, blocking.nr / lanes) {
            // Up to a quarter of the lanes may be computed twice: packing costs more.
            Some(registers) if 4 * registers.pixels.len() * lanes <= 5 * plane.pixels() => {
                Self::InPlace(registers)
            }
            _ => Self::Packed(plane.pixel_offsets()),
        }
    }
}
