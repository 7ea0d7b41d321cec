//! The kernel behind convolution and its gradient by x: sums of weights times registers.
//!
//! One output pixel of one channel is Σ over input channels and *taps* of weight × input register. Pixels that have the same
//! taps, those the filter's cells over the image, form a *class*: the inside of the image is one, each edge and corner
//! another, so cells outside the image cost nothing and need no halo.
//!
//! A tile takes 6 pixels of a class and 2 output channels: 12 sums in registers, which 6 loads, 2 broadcasts and 12 multiply-adds
//! advance by one tap. (4 × 3 needs fewer loads but all 16 registers of AVX2, and then the compiler spills one of the sums.) All
//! output channels take a tile's window, which comes from L2, before the next one is read. Blocks of input channels whose window
//! stays in L1 were 3 to 6 % slower, prefetching the next window up to 30 %.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::offsets::Offsets;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Start;
use crate::simd::Vector;

/// Pixels of a tile.
const PIXELS: usize = 6;

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
    /// The products, channel by channel: where their inputs and weights lie, from the pixel's and the output channel's first.
    steps: Vec<Offsets>,
}

/// Planes that a correlation reads and writes.
#[derive(Debug, Clone, Copy)]
struct Planes {
    /// Input channels.
    inputs: usize,
    /// Elements from one input channel to the next, and from one output channel to the next.
    strides: [usize; 2],
    /// Elements from the weights of one input channel to those of the next.
    w_stride: usize,
}

impl Class {
    /// From the taps of one input channel.
    fn new(planes: &Planes, taps: &[Offsets], pixels: Vec<Pixel>) -> Self {
        let Planes { inputs, strides: [stride, _], w_stride } = *planes;
        let step = |channel: usize, tap: &Offsets| {
            let [x, w] = tap.get();
            Offsets::new(x + channel * stride, w + channel * w_stride)
        };
        let steps = (0..inputs).flat_map(|channel| taps.iter().map(move |tap| step(channel, tap)));
        Self { steps: steps.collect(), pixels }
    }
}

/// Which inputs and weights every pixel of a plane sums.
#[derive(Debug, Clone)]
pub(super) struct Table {
    classes: Vec<Class>,
    planes: Planes,
}

impl Table {
    /// `source` says which pixel of the input (of `pixels[0]`) pixel p of the output (of `pixels[1]`) reads through cell c of
    /// the filter (of `area` cells); `None` for one outside.
    pub(super) fn new(
        (inputs, w_stride, lanes): (usize, usize, usize),
        pixels: [usize; 2],
        area: usize,
        source: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let planes = Planes { inputs, strides: pixels.map(|pixels| pixels * lanes), w_stride };
        let mut classes: Vec<(Vec<Offsets>, Vec<Pixel>)> = Vec::new();
        for pixel in 0..pixels[1] {
            let reads: Vec<_> =
                (0..area).filter_map(|cell| Some((cell, source(pixel, cell)?))).collect();
            let base = reads.iter().map(|&(_, x)| x).min().unwrap_or(0);
            assert!(reads.iter().all(|&(_, x)| x < pixels[0]));
            let tap = |&(w, x): &(usize, usize)| Offsets::new((x - base) * lanes, w);
            let taps: Vec<_> = reads.iter().map(tap).collect();
            let pixel = Pixel { x: base * lanes, y: pixel * lanes };
            match classes.iter_mut().find(|class| class.0 == taps) {
                Some((_, pixels)) => pixels.push(pixel),
                None => classes.push((taps, vec![pixel])),
            }
        }
        let classes = classes.into_iter().map(|(taps, pixels)| Class::new(&planes, &taps, pixels));
        Self { classes: classes.collect(), planes }
    }

    /// Elements from one output channel to the next.
    pub(super) fn output_stride(&self) -> usize {
        self.planes.strides[1]
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

/// A correlation of one lane group.
#[derive(Clone, Copy)]
pub(super) struct Correlate<'a, T> {
    pub(super) table: &'a Table,
    pub(super) x: &'a [T],
    pub(super) w: &'a [T],
    /// Elements from the weights of one output channel to those of the next.
    pub(super) w_stride: usize,
    pub(super) finish: Finish<'a, T>,
    pub(super) y: Start<T>,
}

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
            let pixels = &class.pixels;
            // One pixel or two make a poor tile: better two of four and less.
            let rest = match pixels.len() % PIXELS {
                rest @ 1..=2 if pixels.len() > PIXELS => rest + PIXELS,
                rest => rest,
            };
            let (tiles, rest) = pixels.split_at(pixels.len() - rest);
            for tile in tiles.as_chunks().0 {
                // SAFETY: the caller's promise.
                unsafe { self.columns::<S, 2, PIXELS>(simd, class, tile, outputs.clone()) };
            }
            let width = if rest.len() > PIXELS { 4 } else { PIXELS };
            for tile in rest.chunks(width) {
                // Fewer pixels take more channels, for as many chains.
                macro_rules! columns {
                    ($channels:literal $tile:expr) => {
                        // SAFETY: the caller's promise.
                        unsafe {
                            self.columns::<S, $channels, _>(simd, class, $tile, outputs.clone())
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
    ) {
        let mut channel = outputs.start;
        while channel + C <= outputs.end {
            // SAFETY: the caller's promise.
            unsafe { self.tile::<S, C, P>(simd, class, pixels, channel) };
            channel += C;
        }
        while channel < outputs.end {
            // SAFETY: the caller's promise.
            unsafe { self.tile::<S, 1, P>(simd, class, pixels, channel) };
            channel += 1;
        }
    }

    /// One tile.
    ///
    /// # Safety
    /// As [`Correlate::run`]; `pixels` must be of the class, and that of the table.
    #[inline(always)]
    unsafe fn tile<S: Simd, const C: usize, const P: usize>(
        &self,
        simd: S,
        class: &Class,
        pixels: &[Pixel; P],
        channel: usize,
    ) {
        let y_stride = self.table.planes.strides[1];
        let x = pixels.map(|pixel| self.x.as_ptr().wrapping_add(pixel.x));
        let mut w = [self.w.as_ptr().wrapping_add(channel * self.w_stride); C];
        for c in 0..C {
            w[c] = w[c].wrapping_add(c * self.w_stride);
        }
        let mut sums = [[Vector::<T, S>::zero(simd); P]; C];
        for step in &class.steps {
            let [from, weight] = step.get();
            // SAFETY: a tap of the pixels lies in the input's planes, its weights among those of these channels. The
            // smaller side of the tile is held in registers.
            unsafe {
                if const { C <= P } {
                    let mut weights = [Vector::zero(simd); C];
                    for c in 0..C {
                        weights[c] = Vector::splat(simd, *w[c].add(weight));
                    }
                    for p in 0..P {
                        let input = Vector::load_ptr(simd, x[p].add(from));
                        for c in 0..C {
                            sums[c][p] = weights[c].mul_add(input, sums[c][p]);
                        }
                    }
                } else {
                    let mut inputs = [Vector::zero(simd); P];
                    for p in 0..P {
                        inputs[p] = Vector::load_ptr(simd, x[p].add(from));
                    }
                    for c in 0..C {
                        let weight = Vector::splat(simd, *w[c].add(weight));
                        for p in 0..P {
                            sums[c][p] = weight.mul_add(inputs[p], sums[c][p]);
                        }
                    }
                }
            }
        }
        // One branch for all sums: with theirs, they would live in memory (a quarter of the speed).
        let zero = Vector::zero(simd);
        let y = self.y.0.wrapping_add(channel * y_stride);
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
                for p in 0..P {
                    sums[c][p].store_ptr(y.add(c * y_stride + pixels[p].y));
                }
            }
        }
    }
}
