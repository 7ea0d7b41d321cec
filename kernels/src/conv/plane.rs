//! One image with its padding written out, so that every tap of every window is a plain offset.
//!
//! The halo costs one pass over the image and saves the bounds checks of taps·filters passes. Spread (zeros between the
//! elements) turns the gradient of a strided convolution into a convolution of stride 1.

use std::ops::Range;

use super::geometry::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::Result;

/// The layout of a haloed image, and the windows that slide over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane {
    channels: usize,
    /// `[height, width]` of the image.
    image: [usize; 2],
    /// Rows and columns from one element of the image to the next: 1, or more with zeros between.
    spread: [usize; 2],
    /// Where the image's first element lies; negative where the window never reaches it.
    origin: [isize; 2],
    /// `[height, width]` of the haloed image.
    size: [usize; 2],
    filter: [usize; 2],
    stride: [usize; 2],
    /// `[height, width]` of the output.
    output: [usize; 2],
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
            origin: window.pad.map(|pad| pad as isize),
            size: [height + 2 * window.pad[0], width + 2 * window.pad[1]],
            filter: window.size,
            stride: window.stride,
            output,
        }
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
            origin: axes.map(|axis| window.size[axis] as isize - 1 - window.pad[axis] as isize),
            size: [height + window.size[0] - 1, width + window.size[1] - 1],
            filter: window.size,
            stride: [1, 1],
            output: [height, width],
        }
    }

    /// The same with rows of whole multiples of so many elements: lines of the cache, say.
    pub(crate) fn with_rows_of(self, elements: usize) -> Self {
        let [height, width] = self.size;
        Self { size: [height, width.next_multiple_of(elements)], ..self }
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

    /// The offset of each window's first tap, in the order (y, x).
    pub(crate) fn pixel_offsets(&self) -> Vec<usize> {
        let [out_h, out_w] = self.output;
        let at = |y: usize, x: usize| y * self.row_step() + x * self.stride[1];
        (0..out_h).flat_map(|y| (0..out_w).map(move |x| at(y, x))).collect()
    }

    /// The windows, a register of `lanes` at a time along each row of the output, in whole panels of `panel` registers;
    /// `None` where the windows of a register are not side by side.
    ///
    /// A row's last register ends with the row: where `lanes` does not divide the row, some windows are in two.
    pub(super) fn registers(&self, lanes: usize, panel: usize) -> Option<Registers> {
        let [out_h, out_w] = self.output;
        if self.stride[1] != 1 || out_w < lanes || out_h == 0 {
            return None;
        }
        let starts = (0..out_w).step_by(lanes).map(|x| x.min(out_w - lanes));
        let mut registers = Registers::default();
        for y in 0..out_h {
            for x in starts.clone() {
                registers.offsets.push(y * self.row_step() + x);
                registers.pixels.push(y * out_w + x);
            }
        }
        // The last panel is filled with repetitions.
        let count = registers.pixels.len().next_multiple_of(panel);
        registers.offsets.resize(count, *registers.offsets.last()?);
        registers.pixels.resize(count, *registers.pixels.last()?);
        Some(registers)
    }

    /// The offset of each tap from its window's first, in the order (channel, filter y, filter x).
    pub(super) fn tap_offsets(&self) -> Vec<usize> {
        let cells = 0..self.filter[1];
        self.tap_row_offsets().iter().flat_map(|row| cells.clone().map(move |x| row + x)).collect()
    }

    /// The offset of each row of taps from its window's first tap, in the order (channel, filter y).
    pub(super) fn tap_row_offsets(&self) -> Vec<usize> {
        let row = |c: usize, fy: usize| (c * self.size[0] + fy) * self.size[1];
        (0..self.channels).flat_map(|c| (0..self.filter[0]).map(move |fy| row(c, fy))).collect()
    }

    /// Writes one image (channels, height, width) into `haloed`, zeros around it.
    pub(crate) fn fill<T: Element>(&self, image: &[T], haloed: &mut [T]) {
        assert_eq!(haloed.len(), self.len());
        haloed.fill(T::zero());
        self.for_each_row(|row, at| {
            if self.spread[1] == 1 {
                haloed[at..at + row.len()].copy_from_slice(&image[row]);
            } else {
                let to = haloed[at..].iter_mut().step_by(self.spread[1]);
                to.zip(&image[row]).for_each(|(to, &from)| *to = from);
            }
        });
    }

    /// Reads the image back out of `haloed`, for planes without spread that reach all of it.
    pub(super) fn read<T: Element>(&self, haloed: &[T], image: &mut [T]) {
        self.for_each_row(|row, at| {
            let len = row.len();
            image[row].copy_from_slice(&haloed[at..at + len]);
        });
    }

    /// Calls `body` with each row of the image, as far as it lies on the haloed image, and where it starts there.
    fn for_each_row(&self, mut body: impl FnMut(Range<usize>, usize)) {
        let (rows, columns) = (self.reached(0), self.reached(1));
        if columns.is_empty() {
            return;
        }
        let at = |axis: usize, index: usize| {
            (self.origin[axis] + (index * self.spread[axis]) as isize) as usize
        };
        for c in 0..self.channels {
            for y in rows.clone() {
                let row = (c * self.image[0] + y) * self.image[1];
                let start = (c * self.size[0] + at(0, y)) * self.size[1] + at(1, columns.start);
                body(row + columns.start..row + columns.end, start);
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
