//! The gradient by the weights: sums over pixels and samples.
//!
//! A tile takes 4 filters and up to 3 cells of one row of the filter, 12 sums that stay in registers over all pixels of all lane
//! groups; at the end their lanes are added up and join the gradient. A *run* is a stretch of one output row whose pixels see the
//! same cells of the tile: those at the image's edges see fewer.

#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::conv::Window;
use crate::element::Element;
use crate::simd::Vector;

/// Filters of a tile.
pub(super) const FILTERS: usize = 4;
/// Cells of a tile, side by side.
const CELLS: usize = 3;

/// Pixels side by side that see the same cells of a tile.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The first pixel's place in the output's plane, in elements.
    y: usize,
    /// What the first pixel sees through the first of `cells`, in the input's plane.
    x: usize,
    len: usize,
    /// Which cells of the tile the pixels see.
    cells: [usize; 2],
}

/// Cells of one row of the filter, and the pixels that see them.
#[derive(Debug, Clone)]
struct Cells {
    /// The first one's number.
    first: usize,
    count: usize,
    runs: Vec<Run>,
}

/// Which inputs every weight meets.
#[derive(Debug, Clone)]
pub(super) struct WeightTable {
    tiles: Vec<Cells>,
    planes: [usize; 2],
    lanes: usize,
    area: usize,
    /// Elements from what a pixel sees to what its right neighbour sees.
    step: usize,
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
                let mut runs: Vec<Run> = Vec::new();
                for y in 0..out_h {
                    let Some(iy) =
                        (y * stride[0] + row).checked_sub(pad[0]).filter(|&iy| iy < height)
                    else {
                        continue;
                    };
                    let mut previous = None;
                    for x in 0..out_w {
                        // Cell c sees input column left + c − pad.
                        let left = x * stride[1] + first;
                        let cells = [
                            pad[1].saturating_sub(left).min(count),
                            (width + pad[1]).saturating_sub(left).min(count),
                        ];
                        if cells[0] >= cells[1] {
                            previous = None;
                            continue;
                        }
                        match runs.last_mut() {
                            Some(run) if previous == Some(cells) => run.len += 1,
                            _ => runs.push(Run {
                                y: (y * out_w + x) * lanes,
                                x: (iy * width + left + cells[0] - pad[1]) * lanes,
                                len: 1,
                                cells,
                            }),
                        }
                        previous = Some(cells);
                    }
                }
                // Those that see the same cells together: the kernel changes its loop less often.
                runs.sort_by_key(|run| run.cells);
                tiles.push(Cells { first: row * size[1] + first, count, runs });
            }
        }
        let planes = [height * width * lanes, out_h * out_w * lanes];
        Self { tiles, planes, lanes, area: window.area(), step: stride[1] * lanes }
    }
}

/// dw += Σ x·dy and db += Σ dy over some filters.
pub(super) struct AddGradient<'a, T> {
    pub(super) table: &'a WeightTable,
    pub(super) groups: usize,
    /// All input channels of all groups.
    pub(super) x: &'a [T],
    /// All filters of all groups.
    pub(super) dy: &'a [T],
    pub(super) all_filters: usize,
    pub(super) filters: Range<usize>,
    /// Of `filters` only, as is db.
    pub(super) dw: &'a mut [T],
    pub(super) db: &'a mut [T],
}

impl<T: Element> WithSimd for AddGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Self { table, groups, x, dy, all_filters, filters, dw, db } = &self;
        let [x_plane, y_plane] = table.planes;
        let channels = dw.len() / (filters.len() * table.area).max(1);
        assert_eq!(table.lanes, Vector::<T, S>::len());
        assert_eq!(dw.len(), filters.len() * channels * table.area);
        assert_eq!(db.len(), filters.len());
        assert_eq!(x.len(), groups * channels * x_plane);
        assert_eq!(dy.len(), groups * all_filters * y_plane);
        assert!(filters.end <= *all_filters);
        let mut at = 0;
        macro_rules! filters {
            ($($count:literal)*) => {
                $(while at + $count <= self.filters.len() {
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
                                for group in 0..self.groups {
                                    let plane = (group * channels + channel) * x_plane;
                                    let x = self.x.as_ptr().wrapping_add(plane);
                                    let first = group * self.all_filters + self.filters.start + at;
                                    let mut dy = [self.dy.as_ptr(); F];
                                    for f in 0..F {
                                        dy[f] = dy[f].wrapping_add((first + f) * y_plane);
                                    }
                                    // SAFETY: the planes are there, and the table's runs lie within them.
                                    unsafe { add_runs(simd, &tile.runs, table.step, dy, x, &mut sums) };
                                }
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
        for group in 0..self.groups {
            for f in 0..F {
                let plane = (group * self.all_filters + self.filters.start + at + f) * y_plane;
                self.db[at + f] += sum_registers(simd, &self.dy[plane..plane + y_plane]);
            }
        }
    }
}

/// The sum of whole registers.
#[inline(always)]
pub(super) fn sum_registers<T: Element, S: Simd>(simd: S, x: &[T]) -> T {
    let lanes = Vector::<T, S>::len();
    let mut sums = [Vector::<T, S>::zero(simd); 4];
    for block in x.chunks(4 * lanes) {
        for i in 0..block.len() / lanes {
            sums[i] = sums[i] + Vector::load(simd, &block[i * lanes..]);
        }
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
}

/// sums[f][c] += Σ over the runs' pixels of dy[f] × what cell c sees.
///
/// # Safety
/// - The runs must lie within planes at `dy` and at `x`, and their cells below `N`.
#[inline(always)]
unsafe fn add_runs<T: Element, S: Simd, const F: usize, const N: usize>(
    simd: S,
    runs: &[Run],
    step: usize,
    dy: [*const T; F],
    x: *const T,
    sums: &mut [[Vector<T, S>; N]; F],
) {
    for run in runs {
        let (mut dy, x) = (dy, x.wrapping_add(run.x));
        for f in 0..F {
            dy[f] = dy[f].wrapping_add(run.y);
        }
        macro_rules! cells {
            ($($first:literal $end:literal)*) => {
                match run.cells {
                    $([$first, $end] if const { $end <= N } => {
                        // SAFETY: the caller's promise.
                        unsafe { add_run::<T, S, F, N, $first, $end>(simd, run.len, step, dy, x, sums) }
                    })*
                    _ => unreachable!("cells of a tile"),
                }
            };
        }
        cells!(0 3  0 2  1 3  0 1  1 2  2 3);
    }
}

/// One run, whose pixels see the cells `FIRST..END`.
///
/// # Safety
/// As [`add_runs`].
#[inline(always)]
unsafe fn add_run<
    T: Element,
    S: Simd,
    const F: usize,
    const N: usize,
    const FIRST: usize,
    const END: usize,
>(
    simd: S,
    len: usize,
    step: usize,
    mut dy: [*const T; F],
    mut x: *const T,
    sums: &mut [[Vector<T, S>; N]; F],
) {
    let lanes = Vector::<T, S>::len();
    for _ in 0..len {
        // SAFETY: the caller's promise.
        unsafe {
            let mut seen = [Vector::<T, S>::zero(simd); N];
            for cell in FIRST..END {
                seen[cell] = Vector::load_ptr(simd, x.add((cell - FIRST) * lanes));
            }
            for f in 0..F {
                let gradient = Vector::load_ptr(simd, dy[f]);
                for cell in FIRST..END {
                    sums[f][cell] = gradient.mul_add(seen[cell], sums[f][cell]);
                }
            }
        }
        for f in 0..F {
            dy[f] = dy[f].wrapping_add(lanes);
        }
        x = x.wrapping_add(step);
    }
}
