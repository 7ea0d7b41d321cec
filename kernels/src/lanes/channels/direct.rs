//! Any convolution with channels in lanes: broadcast elements of the input meet registers of filters.
//!
//! A tile takes 6 pixels and 2 registers of filters: 12 sums, which 6 broadcasts, 2 loads and 12 multiply-adds advance by one
//! *tap*, a cell of the filter over a channel. Where maxima of windows of 2 × 2 are wanted, a tile's pixels are such windows, and
//! what is not the maximum is never stored. The image has a halo of zeros, so that all pixels have the same taps.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use super::{Input, REGISTERS, Sample, evenly, register_groups};
use crate::arch::Arch;
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Result, checked_size};
use crate::lanes::pool::larger;
use crate::lanes::transpose::Turn;
use crate::simd::Vector;

/// Pixels of a tile at most, of one register of filters and of two: 8 and 12 sums.
const PIXELS: [usize; REGISTERS] = [8, 6];
/// Pixels of a window that is pooled.
const POOLED: usize = 4;

/// Where the products of a pixel lie.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    /// The input of each tap, in elements from the pixel's first.
    taps: Box<[usize]>,
    /// Where the input of each pixel of the output begins, with its halo: row by row, or window by window where they are pooled.
    pixels: Box<[usize]>,
    /// Planes, rows and elements of a row of the input, and the halo in rows and elements.
    input: [usize; 3],
    halo: [usize; 2],
    lanes: usize,
}

impl Direct {
    /// `halved`: in windows of 2 × 2, which cover the output.
    pub(super) fn new(
        geometry: &ConvGeometry,
        input: Input,
        halved: bool,
        lanes: usize,
    ) -> Result<Self> {
        let ([_, channels, height, width], [_, _, out_h, out_w]) =
            (geometry.input(), geometry.output());
        let Window { size, stride, pad } = geometry.window();
        let pixel = input.pixel(lanes);
        let (planes, rows, columns) =
            (channels.div_ceil(pixel), height + 2 * pad[0], width + 2 * pad[1]);
        let plane = checked_size("lanes::channels::Convolution", &[rows, columns, pixel])?;
        checked_size("lanes::channels::Convolution", &[planes, plane])?;
        let tap = |tap: usize| {
            let (channel, cell) = (tap / geometry.window().area(), tap % geometry.window().area());
            let [y, x] = [cell / size[1], cell % size[1]];
            channel / pixel * plane + (y * columns + x) * pixel + channel % pixel
        };
        let pixel_at = |index: usize| {
            let [y, x] = if halved {
                let (window, cell) = (index / POOLED, index % POOLED);
                [2 * (window / (out_w / 2)) + cell / 2, 2 * (window % (out_w / 2)) + cell % 2]
            } else {
                [index / out_w, index % out_w]
            };
            (y * stride[0] * columns + x * stride[1]) * pixel
        };
        Ok(Self {
            taps: (0..geometry.taps()).map(tap).collect(),
            pixels: (0..out_h * out_w).map(pixel_at).collect(),
            input: [planes, height, width * pixel],
            halo: [pad[0], pad[1] * pixel],
            lanes,
        })
    }

    pub(super) fn taps(&self) -> usize {
        self.taps.len()
    }

    /// Pixels, or windows of them where they are pooled.
    pub(super) fn units(&self, pooled: bool) -> usize {
        self.pixels.len() / if pooled { POOLED } else { 1 }
    }

    /// Elements of the input with its halo; 0 where it has none, and may be read where it is.
    pub(super) fn padded_len(&self) -> usize {
        let ([planes, rows, columns], halo) = (self.input, self.halo);
        if halo == [0, 0] { 0 } else { planes * (rows + 2 * halo[0]) * (columns + 2 * halo[1]) }
    }

    /// x with its halo.
    pub(super) fn pad<T: Element>(&self, x: &[T], padded: &mut [T]) {
        let ([_, rows, columns], halo) = (self.input, self.halo);
        padded.fill(T::zero());
        if x.is_empty() {
            return;
        }
        let (width, height) = (columns + 2 * halo[1], rows + 2 * halo[0]);
        let planes = x.chunks_exact(rows * columns).zip(padded.chunks_exact_mut(height * width));
        for (x, padded) in planes {
            let rows = x.chunks_exact(columns).zip(padded.chunks_exact_mut(width).skip(halo[0]));
            rows.for_each(|(x, padded)| padded[halo[1]..][..columns].copy_from_slice(x));
        }
    }

    /// Lays the filters w (filters, taps) out group by group of registers: (taps, the group's registers). Nothing is written to
    /// lanes without a filter.
    pub(super) fn filters<T: Element>(&self, arch: Arch, w: &[T], to: &mut [T]) {
        let (taps, lanes) = (self.taps(), self.lanes);
        let filters = w.len() / taps.max(1);
        for [first, end] in register_groups(filters.div_ceil(lanes)) {
            let (step, to) = ((end - first) * lanes, &mut to[taps * first * lanes..]);
            for register in first..end {
                let size = [lanes.min(filters - register * lanes), taps];
                let from = &w[register * lanes * taps..];
                let to = &mut to[(register - first) * lanes..];
                arch.dispatch(Turn { from, row: taps, to, step, size });
            }
        }
    }

    /// Computes the units from `units[0]` to before `units[1]`, of all filters. `HALVED`: the maxima of windows of 2 × 2.
    ///
    /// # Safety
    /// - The plan must be for the lanes of `arch`; x must have its halo, filters and bias the lengths of the plan, y the units for
    ///   each register, which nobody else may touch.
    pub(super) unsafe fn run<T: Element, const HALVED: bool>(
        &self,
        arch: Arch,
        sample: Sample<'_, T>,
        units: [usize; 2],
    ) {
        struct Run<'a, T, const HALVED: bool>(&'a Direct, Sample<'a, T>, [usize; 2]);
        impl<T: Element, const HALVED: bool> WithSimd for Run<'_, T, HALVED> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Self(direct, sample, units) = self;
                let registers = sample.bias.len() / direct.lanes;
                for [first, end] in register_groups(registers) {
                    macro_rules! tiles {
                        ($registers:expr) => {
                            // SAFETY: promised to `run`, which alone makes a Run.
                            unsafe {
                                direct.tiles::<T, S, { $registers }, HALVED>(
                                    simd, &sample, first, units,
                                )
                            }
                        };
                    }
                    if end - first == REGISTERS { tiles!(REGISTERS) } else { tiles!(1) }
                }
            }
        }
        arch.dispatch(Run::<T, HALVED>(self, sample, units));
    }

    /// `R` registers of filters.
    ///
    /// # Safety
    /// As [`Direct::run`].
    #[inline(always)]
    unsafe fn tiles<T: Element, S: Simd, const R: usize, const HALVED: bool>(
        &self,
        simd: S,
        sample: &Sample<'_, T>,
        register: usize,
        units: [usize; 2],
    ) {
        let most = if HALVED { PIXELS[R - 1] / POOLED } else { PIXELS[R - 1] };
        for [first, end] in evenly(units[1] - units[0], most) {
            let unit = units[0] + first;
            macro_rules! tile {
                ($($units:literal: $pixels:literal),*) => {
                    match end - first {
                        $($units => {
                            // SAFETY: the caller's promise.
                            unsafe { self.tile::<T, S, $pixels, R, HALVED>(simd, sample, register, unit) }
                        })*
                        _ => unreachable!("at most so many"),
                    }
                };
            }
            match const { (HALVED, R) } {
                (true, 1) => tile!(1: 4, 2: 8),
                (true, _) => tile!(1: 4),
                (false, 1) => tile!(1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8),
                (false, _) => tile!(1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6),
            }
        }
    }

    /// The `P` pixels from `unit` on.
    ///
    /// # Safety
    /// As [`Direct::run`].
    #[inline(always)]
    unsafe fn tile<T: Element, S: Simd, const P: usize, const R: usize, const HALVED: bool>(
        &self,
        simd: S,
        sample: &Sample<'_, T>,
        register: usize,
        unit: usize,
    ) {
        let lanes = Vector::<T, S>::len();
        let pixels = &self.pixels[if HALVED { unit * POOLED } else { unit }..][..P];
        let mut x = [sample.x.as_ptr(); P];
        for p in 0..P {
            x[p] = x[p].wrapping_add(pixels[p]);
        }
        let mut first = [Vector::<T, S>::zero(simd); R];
        for j in 0..R {
            // SAFETY: the register has a bias.
            first[j] =
                unsafe { Vector::load_ptr(simd, sample.bias.as_ptr().add((register + j) * lanes)) };
        }
        let mut sums = [first; P];
        let mut w = sample.filters.as_ptr().wrapping_add(self.taps() * register * lanes);
        for &tap in &*self.taps {
            // SAFETY: a tap of pixels of the output lies in the input with its halo, and has a register of filters for each of R.
            unsafe {
                let mut w_here = [Vector::zero(simd); R];
                for j in 0..R {
                    w_here[j] = Vector::load_ptr(simd, w.add(j * lanes));
                }
                for p in 0..P {
                    let x = Vector::splat(simd, *x[p].add(tap));
                    for j in 0..R {
                        sums[p][j] = x.mul_add(w_here[j], sums[p][j]);
                    }
                }
            }
            w = w.wrapping_add(R * lanes);
        }
        let stored = if HALVED { P / POOLED } else { P };
        if HALVED {
            for window in 0..stored {
                let p = POOLED * window;
                for j in 0..R {
                    let top = larger(sums[p][j], sums[p + 1][j]);
                    sums[window][j] = larger(top, larger(sums[p + 2][j], sums[p + 3][j]));
                }
            }
        }
        // One branch for all sums: with their own, they would live in memory.
        if sample.relu {
            for p in 0..stored {
                for j in 0..R {
                    sums[p][j] = sums[p][j].relu();
                }
            }
        }
        let plane = self.units(HALVED) * lanes;
        let y = sample.y.0.wrapping_add(register * plane + unit * lanes);
        for j in 0..R {
            for p in 0..stored {
                // SAFETY: y has the units of the register.
                unsafe { sums[p][j].store_ptr(y.add(j * plane + p * lanes)) };
            }
        }
    }
}
