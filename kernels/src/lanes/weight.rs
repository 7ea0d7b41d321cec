//! The gradient by the weights: sums over pixels and samples.
//!
//! A tile takes 4 filters and up to 3 cells of one row of the filter, 12 sums that stay in registers over all pixels; at the end
//! their lanes are added up and join the gradient. Pixels at the image's edges see fewer cells: each set of cells has a list of the
//! pixels that see just those.

#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::offsets::Offsets;
use crate::arch::Arch;
use crate::conv::Window;
use crate::element::Element;
use crate::simd::Vector;

/// Filters of a tile.
pub(super) const FILTERS: usize = 4;
/// Cells of a tile, side by side.
const CELLS: usize = 3;

/// Pixels that see the same cells of a tile.
#[derive(Debug, Clone)]
struct Class {
    /// Which ones: from the first to before the second.
    cells: [usize; 2],
    /// Where a pixel lies in the output's plane, and what it sees through the first of `cells` in the input's.
    pixels: Vec<Offsets>,
}

/// Cells of one row of the filter, and the pixels that see them.
#[derive(Debug, Clone)]
struct Cells {
    /// The first one's number.
    first: usize,
    count: usize,
    classes: Vec<Class>,
}

/// Which inputs every weight meets.
#[derive(Debug, Clone)]
pub(super) struct WeightTable {
    tiles: Vec<Cells>,
    planes: [usize; 2],
    lanes: usize,
    area: usize,
}

impl WeightTable {
    /// For a filter that slides over planes of height × width, which gives planes of `output`.
    pub(super) fn new(
        lanes: usize,
        [height, width]: [usize; 2],
        output: [usize; 2],
        window: &Window,
    ) -> Self {
        let Window { size, stride, pad } = *window;
        let [out_h, out_w] = output;
        let mut tiles = Vec::new();
        for row in 0..size[0] {
            for first in (0..size[1]).step_by(CELLS) {
                let count = CELLS.min(size[1] - first);
                let mut classes: Vec<Class> = Vec::new();
                for y in 0..out_h {
                    let iy = (y * stride[0] + row).checked_sub(pad[0]);
                    let Some(iy) = iy.filter(|&iy| iy < height) else { continue };
                    for x in 0..out_w {
                        // Cell c sees input column left + c − pad.
                        let left = x * stride[1] + first;
                        let cells = [
                            pad[1].saturating_sub(left).min(count),
                            (width + pad[1]).saturating_sub(left).min(count),
                        ];
                        if cells[0] >= cells[1] {
                            continue;
                        }
                        let sees = iy * width + left + cells[0] - pad[1];
                        let pixel = Offsets::new(sees * lanes, (y * out_w + x) * lanes);
                        match classes.iter_mut().find(|class| class.cells == cells) {
                            Some(class) => class.pixels.push(pixel),
                            None => classes.push(Class { cells, pixels: vec![pixel] }),
                        }
                    }
                }
                tiles.push(Cells { first: row * size[1] + first, count, classes });
            }
        }
        let planes = [height * width * lanes, out_h * out_w * lanes];
        Self { tiles, planes, lanes, area: window.area() }
    }
}

/// dw += Σ x·dy over some filters.
pub(super) struct AddGradient<'a, T> {
    pub(super) table: &'a WeightTable,
    /// All input channels.
    pub(super) x: &'a [T],
    /// All filters.
    pub(super) dy: &'a [T],
    pub(super) filters: Range<usize>,
    /// Of `filters` only.
    pub(super) dw: &'a mut [T],
}

impl<T: Element> WithSimd for AddGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Self { table, x, dy, filters, dw } = &self;
        let [x_plane, y_plane] = table.planes;
        let channels = dw.len() / (filters.len() * table.area).max(1);
        assert_eq!(table.lanes, Vector::<T, S>::len());
        assert_eq!(dw.len(), filters.len() * channels * table.area);
        assert_eq!(x.len(), channels * x_plane);
        assert!(filters.end * y_plane <= dy.len());
        let mut at = 0;
        macro_rules! filters {
            ($($count:literal)*) => {
                $(while self.filters.len() - at >= $count {
                    // SAFETY: the assertions above.
                    unsafe { self.filters::<S, $count>(simd, channels, at) };
                    at += $count;
                })*
            };
        }
        const { assert!(FILTERS == 4) };
        filters!(4 2 1);
    }
}

impl<T: Element> AddGradient<'_, T> {
    /// # Safety
    /// As asserted in `with_simd`; filters `at..at + F` of `filters` must be there.
    #[inline(always)]
    unsafe fn filters<S: Simd, const F: usize>(&mut self, simd: S, channels: usize, at: usize) {
        let table = self.table;
        let [x_plane, y_plane] = table.planes;
        for channel in 0..channels {
            for tile in &table.tiles {
                macro_rules! cells {
                    ($($count:literal)*) => {
                        match tile.count {
                            $($count => {
                                let mut sums = [[Vector::<T, S>::zero(simd); $count]; F];
                                let x = self.x.as_ptr().wrapping_add(channel * x_plane);
                                let first = self.filters.start + at;
                                let mut dy = [self.dy.as_ptr(); F];
                                for f in 0..F {
                                    dy[f] = dy[f].wrapping_add((first + f) * y_plane);
                                }
                                // SAFETY: the planes are there, and the table's pixels lie within them.
                                unsafe { add_classes(simd, &tile.classes, dy, x, &mut sums) };
                                for f in 0..F {
                                    let first = ((at + f) * channels + channel) * table.area + tile.first;
                                    for cell in 0..$count {
                                        self.dw[first + cell] += sums[f][cell].sum();
                                    }
                                }
                            })*
                            _ => unreachable!("a tile has 1 to 3 cells"),
                        }
                    };
                }
                cells!(1 2 3);
            }
        }
    }
}

/// db += Σ dy, plane by plane.
pub(super) fn add_bias_gradient<T: Element>(arch: Arch, dy: &[T], db: &mut [T]) {
    struct Add<'a, T> {
        dy: &'a [T],
        db: &'a mut [T],
    }
    impl<T: Element> WithSimd for Add<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let plane = self.dy.len() / self.db.len().max(1);
            for (db, dy) in self.db.iter_mut().zip(self.dy.chunks_exact(plane.max(1))) {
                *db += sum_registers(simd, dy);
            }
        }
    }
    arch.dispatch(Add { dy, db });
}

/// The sum of whole registers.
#[inline(always)]
fn sum_registers<T: Element, S: Simd>(simd: S, x: &[T]) -> T {
    let lanes = Vector::<T, S>::len();
    let mut sums = [Vector::<T, S>::zero(simd); 4];
    for block in x.chunks(4 * lanes) {
        for i in 0..block.len() / lanes {
            sums[i] = sums[i] + Vector::load(simd, &block[i * lanes..]);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// sums[f][c] += Σ over the classes' pixels of dy[f] × what cell c sees.
///
/// # Safety
/// - The pixels must lie within planes at `dy` and at `x`, and their cells below `N`.
#[inline(always)]
unsafe fn add_classes<T: Element, S: Simd, const F: usize, const N: usize>(
    simd: S,
    classes: &[Class],
    dy: [*const T; F],
    x: *const T,
    sums: &mut [[Vector<T, S>; N]; F],
) {
    for class in classes {
        macro_rules! cells {
            ($($first:literal $end:literal)*) => {
                match class.cells {
                    $([$first, $end] if const { $end <= N } => {
                        // SAFETY: the caller's promise.
                        unsafe { add_class::<T, S, F, N, $first, $end>(simd, class, dy, x, sums) }
                    })*
                    _ => unreachable!("cells of a tile"),
                }
            };
        }
        cells!(0 3  0 2  1 3  0 1  1 2  2 3);
    }
}

/// One class, whose pixels see the cells `FIRST..END`.
///
/// # Safety
/// As [`add_classes`].
#[inline(always)]
unsafe fn add_class<
    T: Element,
    S: Simd,
    const F: usize,
    const N: usize,
    const FIRST: usize,
    const END: usize,
>(
    simd: S,
    class: &Class,
    dy: [*const T; F],
    x: *const T,
    sums: &mut [[Vector<T, S>; N]; F],
) {
    let lanes = Vector::<T, S>::len();
    for pixel in &class.pixels {
        let [from, at] = pixel.get();
        // SAFETY: the caller's promise.
        unsafe {
            let mut seen = [Vector::<T, S>::zero(simd); N];
            for cell in FIRST..END {
                seen[cell] = Vector::load_ptr(simd, x.add(from + (cell - FIRST) * lanes));
            }
            for f in 0..F {
                let gradient = Vector::load_ptr(simd, dy[f].add(at));
                for cell in FIRST..END {
                    sums[f][cell] = gradient.mul_add(seen[cell], sums[f][cell]);
                }
            }
        }
    }
}
