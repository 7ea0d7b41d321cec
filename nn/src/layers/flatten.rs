//! A change of shape.

use crate::layers::{Layer, Mode, Operation};
use crate::tensor::reshape;
use crate::{Element, Error, Result, Tensor};

/// (batch, …) becomes (batch, all the rest). [`super::Affine`] does it by itself; other layers may want it.
#[derive(Debug, Clone, Default)]
pub struct Flatten {
    shape: Option<Vec<usize>>,
}

impl Flatten {
    /// The layer.
    pub fn new() -> Self {
        Self { shape: None }
    }
}

impl<T: Element> Layer<T> for Flatten {
    fn name(&self) -> &'static str {
        "Flatten"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(vec![input.iter().product()])
    }

    fn operation(&self) -> Operation {
        Operation::Flatten
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let Some((&batch, sample)) = x.shape().split_first() else {
            return Err(Error::shape("Flatten", x.shape(), "the batch as first axis"));
        };
        let flat = [batch, sample.iter().product()];
        self.shape = Some(x.shape().to_vec());
        Ok(reshape(x, &flat))
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let shape = self.shape.as_ref().ok_or(Error::NoForward("Flatten"))?;
        let flat = [shape[0], shape[1..].iter().product()];
        crate::layers::check_gradient("Flatten", dout.shape(), &flat)?;
        Ok(reshape(dout, shape))
    }
}
