//! One image with its padding written out, so that every tap of every window is a plain offset.
//!
//! The halo costs one pass over the image and saves the bounds checks of taps·filters passes. Spread (zeros between the
//! elements) turns the gradient of a strided convolution into a convolution of stride 1. Columns in turns (of a stride of 2, the even
//! ones before the odd) bring side by side what windows of a row see through a tap.

use std::ops::Range;

use super::geometry::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::Result;
use crate::workspace::with_scratch;

/// The layout of a haloed image, and the windows that slide over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane {
    channels: usize,
    /// `[height, width]` of the image.
    image: [usize; 2],
    /// Rows and columns from one element of the image to the next: 1, or more with zeros between.
    spread: [usize; 2],
    /// In how many turns the columns of a row lie.
    turns: usize,
    /// Where the image's first element lies; negative where the window never reaches it.
    origin: [isize; 2],
    /// `[height, width]` of the haloed image.
    size: [usize; 2],
    filter: [usize; 2],
    stride: [usize; 2],
    /// `[height, width]` of the output.
    output: [usize; 2],
}

/// Elements at even steps.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    step: usize,
    len: usize,
}

/// Copies a run of `from` to one of `to` of as many elements.
fn copy_run<T: Element>(from: &[T], run: Run, to: &mut [T], target: Run) {
    let from = &from[run.start..];
    let to = &mut to[target.start..];
    match (run.step, target.step) {
        (1, 1) => to[..run.len].copy_from_slice(&from[..run.len]),
        // Steps known to the compiler, which can take several at a time.
        (2, 1) => {
            let (pairs, last) = from[..2 * run.len - 1].as_chunks::<2>();
            to.iter_mut().zip(pairs).for_each(|(to, &[x, _])| *to = x);
            to[run.len - 1] = last[0];
        }
        (1, 2) => {
            let (pairs, last) = to[..2 * run.len - 1].as_chunks_mut::<2>();
            pairs.iter_mut().zip(from).for_each(|([to, _], &x)| *to = x);
            last[0] = from[run.len - 1];
        }
        _ => {
            let to = to.iter_mut().step_by(target.step).take(run.len);
            to.zip(from.iter().step_by(run.step)).for_each(|(to, &x)| *to = x);
        }
    }
}

/// Where registers of windows begin: on the haloed image, and on the output.
#[derive(Debug, Default)]
pub(super) struct Registers {
    pub(super) offsets: Vec<usize>,
    pub(super) pixels: Vec<usize>,
}

/// Elements past the last one that [`super::source::Taps`] may read along: a register at most.
const SLACK: usize = 16;

impl Plane {
    /// x as the forward pass and the weights' gradient see it.
    pub(crate) fn of_input(geometry: &ConvGeometry) -> Self {
        let [_, _, out_h, out_w] = geometry.output();
        Self::new(geometry.input(), &geometry.window(), [out_h, out_w])
    }

    /// x as windows alone see it.
    pub(super) fn of_window(input: [usize; 4], window: &Window) -> Result<Self> {
        Ok(Self::new(input, window, window.output([input[2], input[3]])?))
    }

    fn new([_, channels, height, width]: [usize; 4], window: &Window, output: [usize; 2]) -> Self {
        Self {
            channels,
            image: [height, width],
            spread: [1, 1],
            turns: 1,
            origin: window.pad.map(|pad| pad as isize),
            size: [height + 2 * window.pad[0], width + 2 * window.pad[1]],
            filter: window.size,
            stride: window.stride,
            output,
        }
    }

    /// The same with columns in turns, so that all windows of a row are side by side.
    pub(super) fn in_turns(self) -> Self {
        let ([height, width], turns) = (self.size, self.stride[1]);
        Self { turns, size: [height, width.next_multiple_of(turns)], ..self }
    }

    /// dy as the gradient by x sees it: x and y exchanged, the filter turned around, the stride between dy's elements.
    pub(super) fn of_output_gradient(geometry: &ConvGeometry) -> Self {
        let [_, filters, out_h, out_w] = geometry.output();
        let [_, _, height, width] = geometry.input();
        let window = geometry.window();
        let axes = [0, 1];
        Self {
            channels: filters,
            image: [out_h, out_w],
            spread: window.stride,
            turns: 1,
            origin: axes.map(|axis| window.size[axis] as isize - 1 - window.pad[axis] as isize),
            size: [height + window.size[0] - 1, width + window.size[1] - 1],
            filter: window.size,
            stride: [1, 1],
            output: [height, width],
        }
    }

    /// The same with rows of whole multiples of so many elements: lines of the cache, say. Columns must be in one turn.
    pub(crate) fn with_rows_of(self, elements: usize) -> Self {
        assert_eq!(self.turns, 1);
        let [height, width] = self.size;
        Self { size: [height, width.next_multiple_of(elements)], ..self }
    }

    /// Whether the haloed image is the image.
    fn is_image(&self) -> bool {
        let is_apart = self.spread != [1, 1] || self.turns > 1;
        !is_apart && self.origin == [0, 0] && self.size == self.image
    }

    /// Whether a row of all windows is a channel of the image: under filters of 1 × 1.
    pub(super) fn is_matrix(&self) -> bool {
        self.is_image() && self.filter == [1, 1] && self.stride == [1, 1]
    }

    /// Elements from one row of the haloed image to the next, and from one channel to the next.
    pub(crate) fn strides(&self) -> [usize; 2] {
        let [height, width] = self.size;
        [width, height * width]
    }

    /// Elements of the haloed image, with some slack.
    pub(crate) fn len(&self) -> usize {
        self.channels * self.size[0] * self.size[1] + SLACK
    }

    /// Elements from one row of windows to the next.
    pub(super) fn row_step(&self) -> usize {
        self.stride[0] * self.size[1]
    }

    /// Windows, which are pixels of the output.
    pub(super) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Where column `x` lies in its row.
    fn column(&self, x: usize) -> usize {
        match self.turns {
            1 => x,
            turns => x % turns * (self.size[1] / turns) + x / turns,
        }
    }

    /// The offset of each window's first tap, in the order (y, x).
    pub(crate) fn pixel_offsets(&self) -> Vec<usize> {
        let [out_h, out_w] = self.output;
        let at = |y: usize, x: usize| y * self.row_step() + self.column(x * self.stride[1]);
        (0..out_h).flat_map(|y| (0..out_w).map(move |x| at(y, x))).collect()
    }

    /// Registers that hold the windows, `lanes` at a time along each row of the output, in whole panels of `panel` registers; `None`
    /// where rows are shorter.
    pub(super) fn count_registers(&self, lanes: usize, panel: usize) -> Option<usize> {
        let [height, width] = self.output;
        let side_by_side = self.stride[1] == self.turns;
        (side_by_side && width >= lanes && height > 0)
            .then(|| (height * width.div_ceil(lanes)).next_multiple_of(panel))
    }

    /// Those registers.
    ///
    /// A row's last one ends with the row: where `lanes` does not divide the row, some windows are in two.
    pub(super) fn registers(&self, lanes: usize, panel: usize) -> Option<Registers> {
        let count = self.count_registers(lanes, panel)?;
        let [height, width] = self.output;
        let starts = (0..width).step_by(lanes).map(|x| x.min(width - lanes));
        let mut registers = Registers::default();
        for y in 0..height {
            for x in starts.clone() {
                registers.offsets.push(y * self.row_step() + x);
                registers.pixels.push(y * width + x);
            }
        }
        // The last panel is filled with repetitions.
        registers.offsets.resize(count, *registers.offsets.last()?);
        registers.pixels.resize(count, *registers.pixels.last()?);
        Some(registers)
    }

    /// The offset of each tap from its window's first, in the order (channel, filter y, filter x).
    pub(super) fn tap_offsets(&self) -> Vec<usize> {
        let cells = 0..self.filter[1];
        let row_of_taps = |row: usize| cells.clone().map(move |x| row + self.column(x));
        self.tap_row_offsets().into_iter().flat_map(row_of_taps).collect()
    }

    /// The offset of each row of taps from its window's first tap, in the order (channel, filter y).
    pub(super) fn tap_row_offsets(&self) -> Vec<usize> {
        let row = |c: usize, fy: usize| (c * self.size[0] + fy) * self.size[1];
        (0..self.channels).flat_map(|c| (0..self.filter[0]).map(move |fy| row(c, fy))).collect()
    }

    /// Writes one image (channels, height, width) into `haloed`, zeros around it, and where no window has a tap.
    pub(crate) fn fill<T: Element>(&self, image: &[T], haloed: &mut [T]) {
        assert_eq!(haloed.len(), self.len());
        haloed.fill(T::zero());
        self.for_each_run(self.filter, |run, to| copy_run(image, run, haloed, to));
    }

    /// Calls `body` with the haloed image, which is the image itself where it can be: without slack.
    pub(super) fn with_haloed<T: Element, R>(
        &self,
        image: &[T],
        body: impl FnOnce(&[T]) -> R,
    ) -> R {
        match self.is_image() {
            true => body(image),
            false => self.with_slack(image, body),
        }
    }

    /// The same, always a copy with the slack.
    pub(super) fn with_slack<T: Element, R>(&self, image: &[T], body: impl FnOnce(&[T]) -> R) -> R {
        with_scratch(self.len(), |haloed| {
            self.fill(image, haloed);
            body(haloed)
        })
    }

    /// Reads the image back out of `haloed`, for planes without spread that reach all of it.
    pub(super) fn read<T: Element>(&self, haloed: &[T], image: &mut [T]) {
        self.for_each_run(self.stride, |run, from| copy_run(haloed, from, image, run));
    }

    /// Calls `body` with each row of the image, as far as it lies on the haloed image, and where it lies there; turn by turn. Of the rows
    /// and the turns from one window's first to the next's only so many as `seen`.
    fn for_each_run(&self, seen: [usize; 2], mut body: impl FnMut(Run, Run)) {
        let (rows, columns) = (self.reached(0), self.reached(1));
        let at = |axis: usize, index: usize| {
            (self.origin[axis] + (index * self.spread[axis]) as isize) as usize
        };
        let is_seen = |axis: usize, index: usize, steps: usize| {
            steps == 1 || at(axis, index) % steps < seen[axis]
        };
        let turns = columns.clone().take(self.turns).filter(|&x| is_seen(1, x, self.turns));
        for c in 0..self.channels {
            for y in rows.clone().filter(|&y| is_seen(0, y, self.stride[0])) {
                let from = (c * self.image[0] + y) * self.image[1];
                let to = (c * self.size[0] + at(0, y)) * self.size[1];
                for first in turns.clone() {
                    let len = (columns.end - first).div_ceil(self.turns);
                    let haloed = to + self.column(at(1, first));
                    body(
                        Run { start: from + first, step: self.turns, len },
                        Run { start: haloed, step: self.spread[1], len },
                    );
                }
            }
        }
    }

    /// The image's rows (or columns) that lie on the haloed image.
    fn reached(&self, axis: usize) -> Range<usize> {
        let (origin, spread) = (self.origin[axis], self.spread[axis]);
        let start = if origin < 0 { origin.unsigned_abs().div_ceil(spread) } else { 0 };
        let room = self.size[axis] as isize - origin; // from the origin to the end
        let end = if room > 0 { room.unsigned_abs().div_ceil(spread) } else { 0 };
        start..end.min(self.image[axis]).max(start)
    }
}
