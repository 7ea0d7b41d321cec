//! The forward pass and the gradient by x: both slide a filter over a haloed image.

use std::ops::Range;

use pulp::Simd;

use super::geometry::ConvGeometry;
use super::plane::{Plane, Registers};
use super::source::Taps;
use super::{DataGradient, IMAGES, PARALLEL_WORK};
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
    correlate(
        &Plane::of_input(geometry).in_turns(),
        geometry.input()[0],
        x,
        &Dense(w),
        w.shape(),
        epilogue,
        y,
    )
}

pub(super) fn backward_data<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let (plane, turned, size) = turned(geometry, w);
    correlate(&plane, geometry.input()[0], dy, &turned, size, Epilogue::default(), dx)
}

/// Calls `body` with what gives dx of one image from its dy.
pub(super) fn with_data_gradient<T: Element>(
    geometry: &ConvGeometry,
    w: &[T],
    body: impl FnOnce(&DataGradient<'_, T>) -> Result<()>,
) -> Result<()> {
    let (plane, turned, size) = turned(geometry, w);
    let pool = Pool::for_work(geometry.taps() * geometry.output_len(), PARALLEL_WORK)?;
    Correlation::with_filters(&plane, pool, &turned, size, |correlation| {
        body(&|dy, dx| correlation.of_image(dy, 0..size[0], Epilogue::default(), dx))
    })
}

/// Windows whose multiply-adds take as long as those of [`backward_data`], per filter and tap.
pub(super) fn windows_of_data_gradient<T: Element>(geometry: &ConvGeometry) -> Result<usize> {
    let plane = Plane::of_output_gradient(geometry);
    Ok(cheapest::<T>(&plane, Arch::current()?, geometry.input()[1]).0)
}

/// The gradient by x as a convolution of dy: how it lies, the filters, and their rows and taps.
fn turned<'a, T>(geometry: &ConvGeometry, w: &'a [T]) -> (Plane, Turned<'a, T>, [usize; 2]) {
    let ([filters, channels, ..], area) = (geometry.weight(), geometry.window().area());
    let turned = Turned { w, channels, area };
    (Plane::of_output_gradient(geometry), turned, [channels, filters * area])
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
    let pool = Pool::for_work(batch * all_rows * taps * pixels, PARALLEL_WORK)?;
    Correlation::with_filters(plane, pool, filters, [all_rows, taps], |correlation| {
        let image_len = images.len() / batch;
        let group = correlation.rows_of_a_task(batch);
        let groups = all_rows.div_ceil(group);
        let y = Rows::new(y, batch * all_rows, pixels).into_raw();
        pool.for_each(batch * groups, |task| {
            let (image, first) = (task / groups, task % groups * group);
            let rows = first..all_rows.min(first + group);
            // SAFETY: this task's own rows.
            let y = unsafe { Rows::<&mut [T]>::part(y, image * all_rows + first, rows.len()) };
            let image = &images[image * image_len..][..image_len];
            correlation.of_image(image, rows, epilogue, y.data);
        });
        Ok(())
    })
}

/// Filters that slide over one image after another.
struct Correlation<'a, T> {
    plane: &'a Plane,
    path: Path,
    tap_offsets: Vec<usize>,
    arch: Arch,
    blocking: Blocking,
    /// (rows × taps), packed as `path` asks for.
    filters: &'a [T],
    size: [usize; 2],
}

impl<T: Element> Correlation<'_, T> {
    /// Calls `body` with the filters, `[rows, taps]` of them.
    fn with_filters(
        plane: &Plane,
        pool: Pool,
        filters: &impl PanelSource<T>,
        size: [usize; 2],
        body: impl FnOnce(&Correlation<'_, T>) -> Result<()>,
    ) -> Result<()> {
        let [rows, taps] = size;
        let (arch, path) = Path::choose::<T>(plane, Arch::current()?, rows);
        let blocking = Blocking::of::<T>(arch, taps);
        with_scratch(packed_len(rows, blocking.mr, taps), |packed| {
            match path {
                Path::InPlace(_) => {
                    pack_panels(arch, pool, filters, packed, blocking.mr, 0..rows, 0..taps);
                }
                Path::Packed(_) | Path::Matrix => pack_left(arch, pool, filters, size, packed),
            }
            let tap_offsets = plane.tap_offsets();
            body(&Correlation { plane, path, tap_offsets, arch, blocking, filters: packed, size })
        })
    }

    /// Rows that are a task: each fills the image's plane for itself, which costs little beside its products.
    fn rows_of_a_task(&self, batch: usize) -> usize {
        let [rows, _] = self.size;
        match self.path {
            Path::InPlace(_) if batch < IMAGES => {
                rows.div_ceil(IMAGES).next_multiple_of(self.blocking.mr)
            }
            _ => rows,
        }
    }

    /// y (`rows` × pixels) of one image. The first row must begin a panel.
    fn of_image(&self, image: &[T], rows: Range<usize>, epilogue: Epilogue<'_, T>, y: &mut [T]) {
        let of_haloed = |haloed: &[T]| self.of_haloed(haloed, rows, epilogue, y);
        match self.path {
            Path::Packed(_) => self.plane.with_slack(image, of_haloed),
            _ => self.plane.with_haloed(image, of_haloed),
        }
    }

    fn of_haloed(&self, haloed: &[T], rows: Range<usize>, epilogue: Epilogue<'_, T>, y: &mut [T]) {
        let Self { plane, ref tap_offsets, arch, blocking, filters, size: [_, taps], .. } = *self;
        let (first, pixels) = (rows.start, plane.pixels());
        assert_eq!(y.len(), rows.len() * pixels);
        let start = y.as_mut_ptr().wrapping_sub(first * pixels); // of the image
        let c = Output { start, strides: [pixels as isize, 1] };
        let finish = General::new(T::one(), T::zero(), epilogue);
        // SAFETY: windows lie on the plane, which has room for another register where they are packed; `y` is the block of C; a bias
        // was checked to hold all rows.
        unsafe {
            match &self.path {
                Path::InPlace(Registers { offsets, pixels }) => {
                    let panels = &filters[first * taps..];
                    let left = Packed { panels, depth: taps, width: blocking.mr };
                    let right = Gathered::registers(haloed, offsets, tap_offsets, pixels);
                    let cols = offsets.len() * blocking.lanes;
                    let (depth, rows, row, col) = (taps, rows.len(), first, 0);
                    let block = Block { left, right, depth, rows, cols, row, col, c };
                    block.compute(arch, finish);
                }
                Path::Packed(offsets) => {
                    let windows = Taps::new(haloed, offsets, tap_offsets);
                    let size = [rows.len(), pixels, taps];
                    let a = Operand::<T, Taps<'_, T>>::Packed(filters);
                    Product { size, a, b: Operand::Source(&windows), c, finish, last: None }
                        .compute(arch, Pool::SERIAL);
                }
                Path::Matrix => {
                    let x = MatRef::new(haloed, [taps, pixels]).expect("a row for each channel");
                    let size = [rows.len(), pixels, taps];
                    let a = Operand::<T, Dense<'_, T>>::Packed(filters);
                    let b = Operand::<T, Dense<'_, T>>::InPlace(x);
                    Product { size, a, b, c, finish, last: None }.compute(arch, Pool::SERIAL);
                }
            }
        }
    }
}

/// How the windows reach the microkernel.
enum Path {
    /// Read where they are: a register is as many windows side by side, so each of its taps is one load.
    InPlace(Registers),
    /// A matrix as it lies.
    Matrix,
    /// Packed, by the windows' offsets: rows that are shorter than a register, or fit it badly under many filters.
    Packed(Vec<usize>),
}

/// What packing costs, in rows of filters whose multiply-adds take as long: runs of windows are short.
const PACKING: usize = 64;

impl Path {
    /// The cheapest, and its instruction set.
    fn choose<T: Element>(plane: &Plane, arch: Arch, rows: usize) -> (Arch, Self) {
        if plane.is_matrix() {
            return (arch, Self::Matrix);
        }
        let (_, in_place) = cheapest::<T>(plane, arch, rows);
        let registers = in_place.and_then(|arch| {
            let [lanes, panel] = registers_of::<T>(arch);
            Some((arch, Self::InPlace(plane.registers(lanes, panel)?)))
        });
        registers.unwrap_or_else(|| (arch, Self::Packed(plane.pixel_offsets())))
    }
}

/// The instruction set whose registers serve `rows` filters in place, one of 256 bits where rows of windows are shorter than longer
/// registers, or none if packing is cheaper; and the cost, in windows: as many as the same multiply-adds could have served, had all
/// registers been whole, each window in one, and nothing packed.
fn cheapest<T: Element>(plane: &Plane, arch: Arch, rows: usize) -> (usize, Option<Arch>) {
    if plane.is_matrix() {
        return (plane.pixels(), Some(arch));
    }
    let packed = plane.pixels() * (rows + PACKING) / rows.max(1);
    let in_place = [arch, arch.of_256_bits()].into_iter().find_map(|narrow| {
        let [lanes, panel] = registers_of::<T>(narrow);
        Some((plane.count_registers(lanes, panel)? * arch.lanes::<T>(), narrow))
    });
    match in_place {
        Some((windows, narrow)) if windows <= packed => (windows, Some(narrow)),
        _ => (packed, None),
    }
}

/// Elements of a register, and registers of a panel.
fn registers_of<T: Element>(arch: Arch) -> [usize; 2] {
    let Blocking { nr, lanes, .. } = Blocking::of::<T>(arch, 1);
    [lanes, nr / lanes]
}
