//! The kernel behind convolution, its gradient by x and the affine layer: sums of weights times registers.
//!
//! One output pixel of one channel is Σ over input channels and *taps* of weight × input register. Pixels that have the same
//! taps, those the filter's cells over the image, form a *class*: the inside of the image is one, each edge and corner
//! another, so cells outside the image cost nothing and need no halo.
//!
//! A tile takes 6 pixels of a class and 2 output channels: 12 sums in registers, which 6 loads, 2 broadcasts and 12 multiply-adds
//! advance by one tap. (4 × 3 needs fewer loads but all 16 registers of AVX2, and then the compiler spills one of the sums.) All
//! output channels take a tile's window before the next one is read, a block of input channels at a time, so that it stays in L1.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::collections::BTreeSet;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::simd::Vector;

/// Pixels of a tile.
const PIXELS: usize = 6;
/// Bytes of a tile's window that should stay in L1 (32 KiB) beside the weights that pass by.
const WINDOW_BYTES: usize = 20 << 10;
/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// One product of the sum: where its input and its weight lie, in elements from the pixel's and the output channel's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    x: isize,
    w: usize,
}

/// Where a pixel's first input and its output lie in their planes, in elements.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    x: usize,
    y: usize,
}

/// Pixels with the same taps.
#[derive(Debug, Clone)]
struct Class {
    pixels: Vec<Pixel>,
    /// Blocks of input channels.
    blocks: usize,
    /// The products of one channel.
    taps: usize,
    /// The products of a block, channel by channel.
    steps: Vec<Step>,
    /// The cache lines of a tile's window in one channel, in elements from its first pixel's input.
    lines: Vec<isize>,
}

/// Planes that a correlation reads and writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes {
    /// Input channels.
    pub(super) inputs: usize,
    /// Elements from one input channel to the next, and from one output channel to the next.
    pub(super) strides: [usize; 2],
    /// Elements from the weights of one input channel to those of the next.
    pub(super) w_stride: usize,
    pub(super) lanes: usize,
}

impl Class {
    fn new<T>(planes: &Planes, taps: &[Step], pixels: Vec<Pixel>) -> Self {
        let Planes { inputs, strides: [stride, _], w_stride, lanes } = *planes;
        let tile = &pixels[..PIXELS.min(pixels.len())];
        let first = pixels.first().map_or(0, |pixel| pixel.x) as isize;
        let seen =
            tile.iter().flat_map(|pixel| taps.iter().map(|tap| pixel.x as isize + tap.x - first));
        let window: BTreeSet<_> = seen.collect();
        let bytes = window.len() * lanes * size_of::<T>();
        let blocks = inputs.div_ceil((WINDOW_BYTES / bytes.max(1)).max(1)).max(1);
        let step = |channel: usize, tap: &Step| Step {
            x: tap.x + (channel * stride) as isize,
            w: tap.w + channel * w_stride,
        };
        let block = inputs.div_ceil(blocks);
        let steps = (0..block).flat_map(|channel| taps.iter().map(move |tap| step(channel, tap)));
        let line = (LINE_BYTES / size_of::<T>()) as isize;
        let mut lines: Vec<_> = window.iter().map(|x| x.div_euclid(line) * line).collect();
        lines.dedup();
        Self { taps: taps.len(), steps: steps.collect(), pixels, blocks, lines }
    }
}

/// Which inputs and weights every pixel of a plane sums.
#[derive(Debug, Clone)]
pub(super) struct Table {
    classes: Vec<Class>,
    planes: Planes,
    /// Multiply-adds of a pair of channels of one sample.
    products: usize,
}

impl Table {
    /// `source` says which pixel of the input (of `pixels[0]`) pixel p of the output (of `pixels[1]`) reads through cell c of
    /// the filter (of `area` cells); `None` for one outside.
    pub(super) fn new<T>(
        (inputs, w_stride, lanes): (usize, usize, usize),
        pixels: [usize; 2],
        area: usize,
        source: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let planes =
            Planes { inputs, strides: pixels.map(|pixels| pixels * lanes), w_stride, lanes };
        let mut classes: Vec<(Vec<Step>, Vec<Pixel>)> = Vec::new();
        let mut products = 0;
        for pixel in 0..pixels[1] {
            let reads: Vec<_> =
                (0..area).filter_map(|cell| Some((cell, source(pixel, cell)?))).collect();
            let base = reads.first().map_or(0, |&(_, x)| x);
            assert!(reads.iter().all(|&(_, x)| x < pixels[0]));
            let tap = |&(w, x): &(usize, usize)| Step {
                x: (x as isize - base as isize) * lanes as isize,
                w,
            };
            let taps: Vec<_> = reads.iter().map(tap).collect();
            products += taps.len();
            let pixel = Pixel { x: base * lanes, y: pixel * lanes };
            match classes.iter_mut().find(|class| class.0 == taps) {
                Some((_, pixels)) => pixels.push(pixel),
                None => classes.push((taps, vec![pixel])),
            }
        }
        let classes =
            classes.into_iter().map(|(taps, pixels)| Class::new::<T>(&planes, &taps, pixels));
        Self { classes: classes.collect(), planes, products }
    }

    /// A sum over channels alone: pixel p of the output is that of the input, planes that are one register, `pixels[p]` elements
    /// from the first.
    pub(super) fn of_channels<T>(
        (inputs, w_stride, lanes): (usize, usize, usize),
        pixels: impl Iterator<Item = [usize; 2]>,
    ) -> Self {
        let planes = Planes { inputs, strides: [lanes; 2], w_stride, lanes };
        let pixels: Vec<_> = pixels.map(|[x, y]| Pixel { x, y }).collect();
        let products = pixels.len();
        let classes = vec![Class::new::<T>(&planes, &[Step { x: 0, w: 0 }], pixels)];
        Self { classes, planes, products }
    }

    /// The planes it is for.
    pub(super) fn planes(&self) -> Planes {
        self.planes
    }

    /// Multiply-adds of a pair of channels of one sample.
    pub(super) fn products(&self) -> usize {
        self.products
    }
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a, T> {
    /// Added, one for each output channel.
    pub(super) bias: Option<&'a [T]>,
    /// Whether sums of 0 or less become 0.
    pub(super) relu: bool,
    /// In the layout of the output: sums become 0 where it is 0 or less.
    pub(super) mask: Option<&'a [T]>,
}

/// A correlation of one lane group (or of several, for an affine layer).
#[derive(Clone, Copy)]
pub(super) struct Correlate<'a, T> {
    pub(super) table: &'a Table,
    /// Only the first so many pixels of each class.
    pub(super) pixels: usize,
    pub(super) x: &'a [T],
    pub(super) w: &'a [T],
    /// Elements from the weights of one output channel to those of the next.
    pub(super) w_stride: usize,
    pub(super) finish: Finish<'a, T>,
    pub(super) y: Output<T>,
}

/// The output while tasks write to it, each to channels of its own.
#[derive(Clone, Copy)]
pub(super) struct Output<T>(pub(super) *mut T);

// SAFETY: tasks write disjoint channels; whoever calls `Correlate::run` guarantees it.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T: Element> Correlate<'_, T> {
    /// Computes the channels `outputs`.
    ///
    /// # Safety
    /// - The table must be made for the lanes of `arch`.
    /// - Its pixels must lie in all channels of `x`; and in the channels `outputs` of `y` and the mask.
    /// - The weights of all inputs and `outputs` must be there, and their biases.
    /// - Nobody else may touch the planes `outputs` of y meanwhile.
    pub(super) unsafe fn run(&self, arch: Arch, outputs: Range<usize>) {
        struct Channels<'a, 'b, T>(&'a Correlate<'b, T>, Range<usize>);
        impl<T: Element> WithSimd for Channels<'_, '_, T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `run`, which alone makes a Channels.
                unsafe { self.0.classes(simd, self.1) }
            }
        }
        arch.dispatch(Channels(self, outputs));
    }

    /// # Safety
    /// As [`Correlate::run`].
    #[inline(always)]
    unsafe fn classes<S: Simd>(&self, simd: S, outputs: Range<usize>) {
        for class in &self.table.classes {
            let pixels = &class.pixels[..self.pixels.min(class.pixels.len())];
            // One pixel or two make a poor tile: better two of four and less.
            let rest = match pixels.len() % PIXELS {
                rest @ 1..=2 if pixels.len() > PIXELS => rest + PIXELS,
                rest => rest,
            };
            let (tiles, rest) = pixels.split_at(pixels.len() - rest);
            let next = |at: usize| pixels[at.min(pixels.len() - 1)].x;
            for (i, tile) in tiles.as_chunks().0.iter().enumerate() {
                let next = next((i + 1) * PIXELS);
                // SAFETY: here and below, the caller's promise.
                unsafe { self.columns::<S, 2, PIXELS>(simd, class, tile, outputs.clone(), next) };
            }
            let width = if rest.len() > PIXELS { 4 } else { PIXELS };
            for tile in rest.chunks(width) {
                // Fewer pixels take more channels, for as many chains.
                macro_rules! columns {
                    ($channels:literal $tile:expr) => {
                        unsafe {
                            self.columns::<S, $channels, _>(
                                simd,
                                class,
                                $tile,
                                outputs.clone(),
                                next(usize::MAX),
                            )
                        }
                    };
                }
                match *tile {
                    [a] => columns!(8 & [a]),
                    [a, b] => columns!(6 & [a, b]),
                    [a, b, c] => columns!(3 & [a, b, c]),
                    [a, b, c, d] => columns!(2 & [a, b, c, d]),
                    [a, b, c, d, e] => columns!(2 & [a, b, c, d, e]),
                    _ => unreachable!("fewer than six pixels"),
                }
            }
        }
    }

    /// `P` pixels of all output channels, `C` at a time.
    ///
    /// # Safety
    /// As [`Correlate::run`]; `pixels` must be of the class, and that of the table.
    #[inline(always)]
    unsafe fn columns<S: Simd, const C: usize, const P: usize>(
        &self,
        simd: S,
        class: &Class,
        pixels: &[Pixel; P],
        outputs: Range<usize>,
        next: usize,
    ) {
        let Planes { inputs, .. } = self.table.planes;
        let cut = |block: usize| block * inputs / class.blocks;
        for block in 0..class.blocks {
            let inputs = cut(block)..cut(block + 1);
            // While this block is computed, the window of the next one comes into L1, some channels at a time.
            let (mut ahead, next) = match block + 1 {
                end if end == class.blocks => (0..cut(1), next),
                after => (cut(after)..cut(after + 1), pixels[0].x),
            };
            let share = (ahead.len() * C).div_ceil(outputs.len().max(1));
            let mut channel = outputs.start;
            while channel + C <= outputs.end {
                let end = (ahead.start + share).min(ahead.end);
                self.prefetch(class, next, ahead.start..end);
                ahead.start = end;
                // SAFETY: the caller's promise.
                unsafe { self.tile::<S, C, P>(simd, class, pixels, inputs.clone(), channel) };
                channel += C;
            }
            while channel < outputs.end {
                // SAFETY: the caller's promise.
                unsafe { self.tile::<S, 1, P>(simd, class, pixels, inputs.clone(), channel) };
                channel += 1;
            }
        }
    }

    /// Asks for the window of the tile whose first pixel's input is at `first`, in some channels.
    #[inline(always)]
    fn prefetch(&self, class: &Class, first: usize, channels: Range<usize>) {
        for channel in channels {
            let window =
                self.x.as_ptr().wrapping_add(channel * self.table.planes.strides[0] + first);
            for &line in &class.lines {
                prefetch(window.wrapping_offset(line));
            }
        }
    }

    /// Adds the products of the channels `inputs` to one tile, which begins with the first of them and is finished with
    /// the last.
    ///
    /// # Safety
    /// As [`Correlate::run`]; `pixels` must be of the class, and that of the table; `inputs` a block at most.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize, const P: usize>(
        &self,
        simd: S,
        class: &Class,
        pixels: &[Pixel; P],
        inputs: Range<usize>,
        channel: usize,
    ) {
        let Planes { inputs: all_inputs, strides: [x_stride, y_stride], w_stride, .. } =
            self.table.planes;
        let mut x = [self.x.as_ptr().wrapping_add(inputs.start * x_stride); P];
        let mut y = [self.y.0.wrapping_add(channel * y_stride); P];
        for p in 0..P {
            x[p] = x[p].wrapping_add(pixels[p].x);
            y[p] = y[p].wrapping_add(pixels[p].y);
        }
        let mut w =
            [self.w.as_ptr().wrapping_add(inputs.start * w_stride + channel * self.w_stride); C];
        for c in 0..C {
            w[c] = w[c].wrapping_add(c * self.w_stride);
        }
        let mut sums = [[Vector::<T, S>::zero(simd); P]; C];
        if inputs.start > 0 {
            for c in 0..C {
                for p in 0..P {
                    // SAFETY: channel and pixel are there, the caller's promise.
                    sums[c][p] = unsafe { Vector::load_ptr(simd, y[p].add(c * y_stride)) };
                }
            }
        }
        let steps = &class.steps[..inputs.len() * class.taps];
        for step in steps {
            // SAFETY: a tap of the pixels lies in the input's planes, its weights among those of these channels. The
            // smaller side of the tile is held in registers.
            unsafe {
                if const { C <= P } {
                    let mut weights = [Vector::zero(simd); C];
                    for c in 0..C {
                        weights[c] = Vector::splat(simd, *w[c].add(step.w));
                    }
                    for p in 0..P {
                        let input = Vector::load_ptr(simd, x[p].offset(step.x));
                        for c in 0..C {
                            sums[c][p] = weights[c].mul_add(input, sums[c][p]);
                        }
                    }
                } else {
                    let mut inputs = [Vector::zero(simd); P];
                    for p in 0..P {
                        inputs[p] = Vector::load_ptr(simd, x[p].offset(step.x));
                    }
                    for c in 0..C {
                        let weight = Vector::splat(simd, *w[c].add(step.w));
                        for p in 0..P {
                            sums[c][p] = weight.mul_add(inputs[p], sums[c][p]);
                        }
                    }
                }
            }
        }
        if inputs.end == all_inputs {
            let zero = Vector::zero(simd);
            for c in 0..C {
                // SAFETY: channel and pixel are there, in a bias and a mask.
                unsafe {
                    if let Some(bias) = self.finish.bias {
                        let bias = Vector::splat(simd, *bias.as_ptr().add(channel + c));
                        for p in 0..P {
                            sums[c][p] = sums[c][p] + bias;
                        }
                    }
                    if self.finish.relu {
                        for p in 0..P {
                            sums[c][p] = sums[c][p].relu();
                        }
                    }
                    if let Some(mask) = self.finish.mask {
                        let mask = mask.as_ptr().add((channel + c) * y_stride);
                        for p in 0..P {
                            let mask = Vector::load_ptr(simd, mask.add(pixels[p].y));
                            sums[c][p] = mask.le(zero).select(zero, sums[c][p]);
                        }
                    }
                }
            }
        }
        for c in 0..C {
            for p in 0..P {
                // SAFETY: channel and pixel are there.
                unsafe { sums[c][p].store_ptr(y[p].add(c * y_stride)) };
            }
        }
    }
}

/// Asks for the cache line at `at`, which need not be valid.
#[inline(always)]
fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
