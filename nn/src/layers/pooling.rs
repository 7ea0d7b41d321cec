//! Max- and average-pooling.

use crate::layers::{Layer, Mode, Operation, check_gradient};
use crate::tensor::{contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::conv::Window;
use kernels::pool::{
    average_pool_backward, average_pool_forward, max_pool_backward, max_pool_forward,
};

/// The shape of one sample's output.
fn pooled_shape(layer: &'static str, window: &Window, input: &[usize]) -> Result<Vec<usize>> {
    let &[channels, height, width] = input else {
        return Err(Error::shape(layer, input, "(channels, height, width)"));
    };
    let [out_h, out_w] = window.output([height, width])?;
    Ok(vec![channels, out_h, out_w])
}

/// The shape of a batch, and that of its output.
fn batch_shapes<T>(
    layer: &'static str,
    window: &Window,
    x: &Tensor<T>,
) -> Result<([usize; 4], Vec<usize>)> {
    let &[batch, channels, height, width] = x.shape() else {
        return Err(Error::shape(layer, x.shape(), "(batch, channels, height, width)"));
    };
    let mut output = pooled_shape(layer, window, &[channels, height, width])?;
    output.insert(0, batch);
    Ok(([batch, channels, height, width], output))
}

/// The largest element of each window; the first of several, and NaN before numbers (chapter 7). Cells on the padding never
/// win.
#[derive(Debug, Clone)]
pub struct MaxPooling {
    window: Window,
    last: Option<Pooled>,
}

/// What `backward` needs.
#[derive(Debug, Clone)]
struct Pooled {
    input: [usize; 4],
    output: Vec<usize>,
    /// Where in its window each maximum stood.
    index: Vec<u16>,
}

impl MaxPooling {
    /// The layer.
    pub fn new(window: Window) -> Self {
        Self { window, last: None }
    }
}

impl<T: Element> Layer<T> for MaxPooling {
    fn name(&self) -> &'static str {
        "MaxPooling"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        pooled_shape("MaxPooling", &self.window, input)
    }

    fn operation(&self) -> Operation {
        Operation::MaxPooling(self.window)
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let (input, output) = batch_shapes("MaxPooling", &self.window, &x)?;
        let x = contiguous(x);
        let mut y = zeros(&output);
        let mut index = self.last.take().map_or_else(Vec::new, |last| last.index);
        index.resize(y.len(), 0);
        max_pool_forward(input, &self.window, elements(&x), elements_mut(&mut y), &mut index)?;
        self.last = Some(Pooled { input, output, index });
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let Pooled { input, output, index } =
            self.last.as_ref().ok_or(Error::NoForward("MaxPooling"))?;
        check_gradient("MaxPooling", dout.shape(), output)?;
        let dout = contiguous(dout);
        let mut dx = zeros(input);
        let dx_elements = elements_mut(&mut dx);
        max_pool_backward(*input, &self.window, elements(&dout), index, dx_elements)?;
        Ok(dx)
    }
}

/// The mean of each window, over all its cells: those on the padding count as 0.
#[derive(Debug, Clone)]
pub struct AveragePooling {
    window: Window,
    shapes: Option<([usize; 4], Vec<usize>)>,
}

impl AveragePooling {
    /// The layer.
    pub fn new(window: Window) -> Self {
        Self { window, shapes: None }
    }
}

impl<T: Element> Layer<T> for AveragePooling {
    fn name(&self) -> &'static str {
        "AveragePooling"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        pooled_shape("AveragePooling", &self.window, input)
    }

    fn operation(&self) -> Operation {
        Operation::AveragePooling(self.window)
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let (input, output) = batch_shapes("AveragePooling", &self.window, &x)?;
        let x = contiguous(x);
        let mut y = zeros(&output);
        average_pool_forward(input, &self.window, elements(&x), elements_mut(&mut y))?;
        self.shapes = Some((input, output));
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let (input, output) = self.shapes.as_ref().ok_or(Error::NoForward("AveragePooling"))?;
        check_gradient("AveragePooling", dout.shape(), output)?;
        let dout = contiguous(dout);
        let mut dx = zeros(input);
        average_pool_backward(*input, &self.window, elements(&dout), elements_mut(&mut dx))?;
        Ok(dx)
    }
}
