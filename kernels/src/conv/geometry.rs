//! The shapes of a convolution, checked when made.

use crate::error::{Error, Result, checked_size};

/// A window that slides over a plane: convolution filters and pooling share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// `[height, width]`, in cells.
    pub size: [usize; 2],
    /// `[vertical, horizontal]` step between two windows, in cells.
    pub stride: [usize; 2],
    /// `[vertical, horizontal]` cells added on each side.
    pub pad: [usize; 2],
}

impl Window {
    /// A window of `height` × `width` cells, stride 1, no padding.
    pub fn new(height: usize, width: usize) -> Self {
        Self { size: [height, width], stride: [1, 1], pad: [0, 0] }
    }

    /// The same with `stride` in both directions.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride: [stride, stride], ..self }
    }

    /// The same with `pad` cells on every side.
    pub fn pad(self, pad: usize) -> Self {
        Self { pad: [pad, pad], ..self }
    }

    /// Cells in the window.
    pub fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Whether windows of 2 × 2 cover a plane of `[height, width]` exactly, side by side: the book's pooling.
    pub(crate) fn halves(&self, plane: [usize; 2]) -> bool {
        *self == Self::new(2, 2).stride(2) && plane.iter().all(|side| side.is_multiple_of(2))
    }

    /// The `[height, width]` of the output over a plane of `[height, width]`:
    /// (size + 2·pad − window) / stride + 1, rounded down.
    ///
    /// # Errors
    /// [`Error::Shape`] where the window or a stride is 0, or the window is larger than the padded plane.
    pub fn output(&self, plane: [usize; 2]) -> Result<[usize; 2]> {
        let problem = |problem: String| Error::Shape { op: "window", problem };
        checked_size("window", &self.size)?;
        let mut output = [0; 2];
        for axis in 0..2 {
            let (size, stride, pad) = (self.size[axis], self.stride[axis], self.pad[axis]);
            if size == 0 || stride == 0 {
                return Err(problem(format!(
                    "window {:?} and stride {:?} must not be 0",
                    self.size, self.stride
                )));
            }
            let padded = pad.checked_mul(2).and_then(|pad| pad.checked_add(plane[axis]));
            let room = padded.and_then(|padded| padded.checked_sub(size)).ok_or_else(|| {
                problem(format!(
                    "a window of {:?} does not fit a plane of {plane:?} with padding {:?}",
                    self.size, self.pad
                ))
            })?;
            output[axis] = room / stride + 1;
        }
        Ok(output)
    }
}

/// The shapes of one 2-D convolution (cross-correlation, as everywhere in deep learning), NCHW:
/// x is (batch, channels, height, width), w is (filters, channels, filter height, filter width), y is
/// (batch, filters, output height, output width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    input: [usize; 4],
    filters: usize,
    window: Window,
    output: [usize; 4],
}

impl ConvGeometry {
    /// The geometry of `filters` filters over an input of shape `input`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the window does not fit (see [`Window::output`]) or a shape is too large for memory.
    pub fn new(input: [usize; 4], filters: usize, window: Window) -> Result<Self> {
        let [batch, channels, height, width] = input;
        let [out_h, out_w] = window.output([height, width])?;
        let output = [batch, filters, out_h, out_w];
        checked_size("conv2d", &input)?;
        checked_size("conv2d", &output)?;
        checked_size("conv2d", &[filters, channels, window.area()])?;
        checked_size("conv2d", &[channels, window.area(), out_h, out_w])?;
        Ok(Self { input, filters, window, output })
    }

    /// The same of a single image.
    pub(crate) fn of_one(mut self) -> Self {
        (self.input[0], self.output[0]) = (1, 1);
        self
    }

    /// (batch, channels, height, width).
    pub fn input(&self) -> [usize; 4] {
        self.input
    }

    /// (batch, filters, output height, output width).
    pub fn output(&self) -> [usize; 4] {
        self.output
    }

    /// (filters, channels, filter height, filter width).
    pub fn weight(&self) -> [usize; 4] {
        [self.filters, self.input[1], self.window.size[0], self.window.size[1]]
    }

    /// The filter's size, stride and padding.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Products that one output element sums: channels · filter height · filter width.
    pub fn taps(&self) -> usize {
        self.input[1] * self.window.area()
    }

    pub(crate) fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    pub(crate) fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// Elements of the weights.
    pub fn weight_len(&self) -> usize {
        self.weight().iter().product()
    }

    /// Floating-point operations of one pass, forward or either backward: 2 for each multiply-add.
    pub fn flops(&self) -> f64 {
        2.0 * self.taps() as f64 * self.output.iter().product::<usize>() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_the_book() {
        assert_eq!(Window::new(5, 5).output([28, 28]), Ok([24, 24]));
        assert_eq!(Window::new(3, 3).pad(1).output([28, 28]), Ok([28, 28]));
        assert_eq!(Window::new(3, 3).pad(2).output([14, 14]), Ok([16, 16]));
        assert_eq!(Window::new(2, 3).stride(2).output([7, 8]), Ok([3, 3]));
    }

    #[test]
    fn impossible_shapes_are_errors() {
        for (window, plane) in [
            (Window::new(3, 3), [2, 5]),
            (Window::new(0, 3), [5, 5]),
            (Window::new(3, 3).stride(0), [5, 5]),
            (Window::new(3, 3).pad(usize::MAX), [5, 5]),
            (Window::new(usize::MAX, 3), [5, 5]),
        ] {
            assert!(window.output(plane).is_err(), "{window:?}");
        }
        assert!(ConvGeometry::new([1 << 40, 1 << 20, 8, 8], 1, Window::new(3, 3)).is_err());
    }
}
