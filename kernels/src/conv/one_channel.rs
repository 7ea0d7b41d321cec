//! The gradient by x of one channel, without a stride: lanes along a row of dy's pixels.
//!
//! dx[r, c] = Σ w[f, i, j]·dy[f, r − i, c − j], on the haloed image. For one column j of the filters and one register of dy's columns
//! some rows of dx stay in registers while all filters pass: each register of dy that is loaded meets all rows of the filters at once,
//! and no element of dy but those that are needed. In the end they are added to dx, j columns further.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::DataGradient;
use super::geometry::ConvGeometry;
use super::plane::Plane;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::simd::{Mask, Vector};
use crate::workspace::with_scratch;

/// Rows of dx at a time: with as many weights as filters have rows, and a register of dy, all that 16 registers hold; each adds up as
/// many terms one after another, whose latency takes 8 rows to hide.
const ROWS: usize = 10;
/// Rows of filters that registers are enough for.
const MOST_FILTER_ROWS: usize = 5;
/// Filters at a time, whose rows of dy stay in L1 from one of their columns to the next.
const FILTERS_AT_ONCE: usize = 16;
/// Filters below which adding to dx costs more than what it saves.
const FEW_FILTERS: usize = 4;

/// Whether this is faster than the other ways.
pub(super) fn is_best<T: Element>(geometry: &ConvGeometry) -> Result<bool> {
    let ([_, filters, _, width], window) = (geometry.output(), geometry.window());
    let can = geometry.input()[1] == 1
        && window.stride == [1, 1]
        && (2..=MOST_FILTER_ROWS).contains(&window.size[0]);
    let lanes = Arch::current()?.for_rows_of::<T>(width).lanes::<T>();
    Ok(can && filters >= FEW_FILTERS && width >= lanes)
}

/// Calls `body` with what gives dx of one image from its dy.
pub(super) fn with_data_gradient<T: Element>(
    geometry: &ConvGeometry,
    w: &[T],
    body: impl FnOnce(&DataGradient<'_, T>) -> Result<()>,
) -> Result<()> {
    let plane = Plane::of_input(geometry);
    let ([_, _, height, width], size) = (geometry.output(), geometry.window().size);
    let arch = Arch::current()?.for_rows_of::<T>(width);
    body(&|dy, dx| {
        with_scratch(plane.len(), |haloed: &mut [T]| {
            haloed.fill(T::zero());
            arch.dispatch(AddImage {
                dy,
                pixels: [height, width],
                w,
                size,
                haloed: &mut *haloed,
                row_step: plane.row_step(),
            });
            plane.read(haloed, dx);
        });
    })
}

/// Adds an image's gradient.
struct AddImage<'a, T> {
    /// (filters, pixels).
    dy: &'a [T],
    /// `[height, width]` of the pixels.
    pixels: [usize; 2],
    /// (filters, rows, columns).
    w: &'a [T],
    /// `[rows, columns]` of a filter.
    size: [usize; 2],
    /// The gradient by the haloed image, rows `row_step` apart.
    haloed: &'a mut [T],
    row_step: usize,
}

impl<T: Element> WithSimd for AddImage<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.size[0] {
            2 => self.all::<S, 2>(simd),
            3 => self.all::<S, 3>(simd),
            4 => self.all::<S, 4>(simd),
            MOST_FILTER_ROWS => self.all::<S, MOST_FILTER_ROWS>(simd),
            rows => unreachable!("filters of {rows} rows go another way"),
        }
    }
}

impl<T: Element> AddImage<'_, T> {
    /// All of it, for filters of `K` rows.
    #[inline(always)]
    fn all<S: Simd, const K: usize>(&mut self, simd: S) {
        let ([height, width], lanes) = (self.pixels, T::lanes::<S>());
        let (rows, whole) = (height + K - 1, width - width % lanes);
        let filters = self.dy.len() / (height * width);
        let groups = filters.div_ceil(FILTERS_AT_ONCE);
        for first in (0..rows).step_by(ROWS) {
            for group in 0..groups {
                let [begin, end] = [group, group + 1].map(|group| group * filters / groups);
                for x in (0..whole).step_by(lanes) {
                    self.strip::<S, K, false>(simd, begin..end, first, x);
                }
                if whole < width {
                    self.strip::<S, K, true>(simd, begin..end, first, whole);
                }
            }
        }
    }

    /// [`ROWS`] rows from `first` on, as far as there are, from a register of dy's columns from `x` on; where `CUT`, of those that are
    /// left.
    #[inline(always)]
    fn strip<S: Simd, const K: usize, const CUT: bool>(
        &mut self,
        simd: S,
        filters: Range<usize>,
        first: usize,
        x: usize,
    ) {
        let ([height, width], [_, columns]) = (self.pixels, self.size);
        let (pixels, lanes) = (height * width, T::lanes::<S>());
        let rows = ROWS.min(height + K - 1 - first);
        let length = if CUT { width - x } else { lanes };
        // Row `step` of dy's that these rows of dx meet is dy's row `first + step - (K - 1)`.
        let begin = (K - 1).saturating_sub(first);
        let end = (height + K - 1 - first).min(ROWS + K - 1);
        assert!(self.dy.len() >= filters.end * pixels);
        assert!(self.w.len() >= filters.end * K * columns);
        assert!(x + length <= width);
        let last = (first + rows - 1) * self.row_step + x + columns - 1;
        assert!(last + length <= self.haloed.len());
        let mask = Mask::first(simd, if CUT { length } else { 0 });
        macro_rules! load {
            ($from:expr) => {
                match CUT {
                    true => Vector::load_masked(simd, mask, $from),
                    false => Vector::load_ptr(simd, $from),
                }
            };
        }
        for column in 0..columns {
            let mut sums = [Vector::zero(simd); ROWS];
            // SAFETY: of dy rows `begin..end`, which are dy's, and `length` of their elements from x on; of the weights and of dx
            // what is asserted.
            unsafe {
                let mut dy = self
                    .dy
                    .as_ptr()
                    .wrapping_add(filters.start * pixels + first * width + x)
                    .wrapping_sub((K - 1) * width);
                let mut w = self.w.as_ptr().add(filters.start * K * columns + column);
                for _ in filters.clone() {
                    let weights: [_; K] =
                        std::array::from_fn(|i| Vector::splat(simd, *w.add(i * columns)));
                    // By hand: each row of dx is a register only if all indices are constants.
                    macro_rules! steps {
                        ($($step:literal)*) => {
                            $(if $step < ROWS + K - 1 && ($step >= K - 1 || $step >= begin) && $step < end {
                                let dy = load!(dy.wrapping_add($step * width));
                                for i in 0..K {
                                    // Row `step` of dy and row i of the filter meet in row step - (K - 1) + i of dx.
                                    if $step + i >= K - 1 && $step + i - (K - 1) < ROWS {
                                        let row = $step + i - (K - 1);
                                        sums[row] = dy.mul_add(weights[i], sums[row]);
                                    }
                                }
                            })*
                            const { assert!(ROWS + MOST_FILTER_ROWS - 1 == 14) };
                        };
                    }
                    steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
                    dy = dy.wrapping_add(pixels);
                    w = w.wrapping_add(K * columns);
                }
                let to = self.haloed.as_mut_ptr().add(first * self.row_step + x + column);
                for (row, sum) in sums.into_iter().enumerate() {
                    if row < rows {
                        let to = to.add(row * self.row_step);
                        let sum = load!(to) + sum;
                        match CUT {
                            true => sum.store_masked(mask, to),
                            false => sum.store_ptr(to),
                        }
                    }
                }
            }
        }
    }
}
