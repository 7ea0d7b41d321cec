//! The gradient by the weights of few taps or few filters, on an image of one channel most of all: lanes along the pixels.
//!
//! As a product over the pixels (`backward_weight.rs`) dy would have to be packed, and each of its elements meets no more than
//! the taps. Here a row of dy and the row of windows that it meets are read where they lie, a register at a time. What is added up
//! are registers, one for each filter and tap, whose lanes are added in the end.

#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use super::geometry::ConvGeometry;
use super::plane::Plane;
use crate::element::Element;
use crate::gemm::blocking::Blocking;
use crate::simd::{Mask, Vector};

/// What packing dy costs a product, in taps.
const PACKING: usize = 9;
/// Tenths of a product's multiply-add that one costs here, where windows straddle lines of the cache.
const TENTHS: usize = 13;
/// Taps, at most: there is a register of sums for each and each filter.
const MOST_TAPS: usize = 128;

/// Whether this is faster than a product with panels of `nr` filters, which it is where filters leave much of a panel empty, or taps
/// are so few that dy is hardly worth packing. Windows must be side by side.
pub(super) fn is_best(geometry: &ConvGeometry, Blocking { nr, lanes, .. }: Blocking) -> bool {
    let ([_, filters, _, width], taps) = (geometry.output(), geometry.taps());
    let window = geometry.window();
    let here = TENTHS * filters * taps * width.next_multiple_of(lanes);
    let product = 10 * filters.next_multiple_of(nr) * (taps + PACKING) * width;
    let can = window.stride[1] == 1 && window.size[1] > 1 && width >= lanes && taps <= MOST_TAPS;
    can && here < product
}

/// How an image is read.
pub(super) struct Steps {
    /// Columns of a filter.
    width: usize,
    /// Where each row of taps begins, from its window's first.
    tap_rows: Vec<usize>,
    pixels: usize,
    /// Where registers of pixels begin on the haloed image and on dy: the whole ones, and those of which `left` are the end of
    /// a row. Listed, since a loop over the few registers of each row would be mispredicted as often.
    whole: Vec<[usize; 2]>,
    ends: Vec<[usize; 2]>,
    left: usize,
}

impl Steps {
    pub(super) fn new(geometry: &ConvGeometry, plane: &Plane, lanes: usize) -> Self {
        let [_, _, height, width] = geometry.output();
        let at = |row: usize, x: usize| [row * plane.row_step() + x, row * width + x];
        let (left, whole) = (width % lanes, width - width % lanes);
        let rows_with_ends = if left > 0 { height } else { 0 };
        Self {
            width: geometry.window().size[1],
            tap_rows: plane.tap_row_offsets(),
            pixels: plane.pixels(),
            whole: (0..height)
                .flat_map(|row| (0..whole).step_by(lanes).map(move |x| at(row, x)))
                .collect(),
            ends: (0..rows_with_ends).map(|row| at(row, whole)).collect(),
            left,
        }
    }
}

/// Adds what one image contributes.
pub(super) struct AddImage<'a, T> {
    pub(super) steps: &'a Steps,
    /// The haloed image.
    pub(super) x: &'a [T],
    /// (filters, pixels).
    pub(super) dy: &'a [T],
    /// (filters, taps, lanes).
    pub(super) sums: &'a mut [T],
}

impl<T: Element> WithSimd for AddImage<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = self.steps.width;
        // Chains of multiply-adds enough to hide their latency, in registers that 16 can hold. Rows of one tap are not for this way.
        match width.div_ceil(width.div_ceil(5)) {
            ..=2 => self.filters::<S, 4, 2, 1>(simd),
            3 => self.filters::<S, 4, 3, 2>(simd),
            4 => self.filters::<S, 2, 4, 3>(simd),
            _ => self.filters::<S, 2, 5, 4>(simd),
        }
    }
}

impl<T: Element> AddImage<'_, T> {
    /// All sums, of `F` filters and `C` taps side by side at a time, or of `C1`, one fewer. All taps of a few filters first, whose rows
    /// of dy stay in L1.
    #[inline(always)]
    fn filters<S: Simd, const F: usize, const C: usize, const C1: usize>(&mut self, simd: S) {
        let filters = self.dy.len() / self.steps.pixels;
        let whole = filters - filters % F;
        for filter in (0..whole).step_by(F) {
            self.taps::<S, F, C, C1>(simd, filter);
        }
        for filter in whole..filters {
            self.taps::<S, 1, C, C1>(simd, filter);
        }
    }

    #[inline(always)]
    fn taps<S: Simd, const F: usize, const C: usize, const C1: usize>(
        &mut self,
        simd: S,
        filter: usize,
    ) {
        let width = self.steps.width;
        let pieces = width.div_ceil(C);
        for (row, &offset) in self.steps.tap_rows.iter().enumerate() {
            for piece in 0..pieces {
                let [first, end] = [piece, piece + 1].map(|at| at * width / pieces);
                let at = [row * width + first, offset + first];
                match end - first == C {
                    true => self.tile::<S, F, C>(simd, filter, at),
                    false => self.tile::<S, F, C1>(simd, filter, at),
                }
            }
        }
    }

    /// The sums of `F` filters and `C` taps.
    #[inline(always)]
    fn tile<S: Simd, const F: usize, const C: usize>(
        &mut self,
        simd: S,
        filter: usize,
        [tap, offset]: [usize; 2],
    ) {
        let Steps { width, ref tap_rows, pixels, ref whole, ref ends, left } = *self.steps;
        let (lanes, taps) = (T::lanes::<S>(), tap_rows.len() * width);
        assert!(self.sums.len() >= ((filter + F - 1) * taps + tap + C) * lanes);
        assert!(self.dy.len() >= (filter + F) * pixels);
        let within = |at: Option<&[usize; 2]>, len: usize| {
            at.is_none_or(|at| {
                offset + at[0] + len + C - 1 <= self.x.len() && at[1] + len <= pixels
            })
        };
        // The last of them reaches furthest.
        assert!(within(whole.last(), lanes) && within(ends.last(), left));
        let mask = Mask::first(simd, left);
        let mut sums = [[Vector::zero(simd); C]; F];
        macro_rules! add {
            (|$from:ident| $load:expr, $x:expr, $dy:expr) => {{
                let mut windows = [Vector::zero(simd); C];
                for c in 0..C {
                    let $from = $x.add(c);
                    windows[c] = $load;
                }
                for f in 0..F {
                    let $from = $dy.add(f * pixels);
                    let dy = $load;
                    for c in 0..C {
                        sums[f][c] = dy.mul_add(windows[c], sums[f][c]);
                    }
                }
            }};
        }
        // SAFETY: all that is read and written lies within the slices, as asserted: of a row its whole registers, and the lanes
        // of the mask.
        unsafe {
            let start = self.sums.as_mut_ptr();
            let at = |f: usize, c: usize| ((filter + f) * taps + tap + c) * lanes;
            for f in 0..F {
                for c in 0..C {
                    sums[f][c] = Vector::load_ptr(simd, start.add(at(f, c)));
                }
            }
            let (x, dy) = (self.x.as_ptr().add(offset), self.dy.as_ptr().add(filter * pixels));
            for &[at, pixel] in whole {
                add!(|from| Vector::load_ptr(simd, from), x.add(at), dy.add(pixel));
            }
            for &[at, pixel] in ends {
                add!(|from| Vector::load_masked(simd, mask, from), x.add(at), dy.add(pixel));
            }
            for f in 0..F {
                for c in 0..C {
                    sums[f][c].store_ptr(start.add(at(f, c)));
                }
            }
        }
    }
}
