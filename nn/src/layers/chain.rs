//! Layers one after another, as one.

use ndarray::ArrayD;

use crate::layers::{Layer, Mode, Parameter, learns};
use crate::{Element, Result, Tensor};

/// Layers one after another, of which [`super::Residual`] and [`super::Concat`] are made. Without layers it gives back what it
/// is given.
#[derive(Debug)]
pub struct Chain<T: Element> {
    layers: Vec<Box<dyn Layer<T>>>,
}

impl<T: Element> Chain<T> {
    /// The layers as one, the first one first.
    pub fn new(layers: Vec<Box<dyn Layer<T>>>) -> Self {
        Self { layers }
    }

    /// The layers, the first one first.
    pub fn layers(&self) -> &[Box<dyn Layer<T>>] {
        &self.layers
    }

    /// The layers, to change.
    pub(crate) fn layers_mut(&mut self) -> &mut [Box<dyn Layer<T>>] {
        &mut self.layers
    }
}

impl<T: Element> Layer<T> for Chain<T> {
    fn name(&self) -> &'static str {
        "Chain"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        self.layers.iter().try_fold(input.to_vec(), |shape, layer| layer.output_shape(&shape))
    }

    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        self.layers.iter_mut().try_fold(x, |x, layer| layer.forward(x, mode))
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        self.layers.iter_mut().rev().try_fold(dout, |dout, layer| layer.backward(dout))
    }

    /// Ends at the first layer that learns: nobody needs the gradients before it.
    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        let Some(first) = self.layers.iter().position(|layer| learns(&**layer)) else {
            return Ok(());
        };
        let after = self.layers[first + 1..].iter_mut().rev();
        let dout = after.into_iter().try_fold(dout, |dout, layer| layer.backward(dout))?;
        self.layers[first].backward_parameters(dout)
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        self.layers.iter().flat_map(|layer| layer.parameters()).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        self.layers.iter_mut().flat_map(|layer| layer.parameters_mut()).collect()
    }

    fn state(&mut self) -> Vec<(&'static str, &mut ArrayD<T>)> {
        self.layers.iter_mut().flat_map(|layer| layer.state()).collect()
    }

    fn chains(&self) -> Vec<&Chain<T>> {
        vec![self]
    }

    fn chains_mut(&mut self) -> Vec<&mut Chain<T>> {
        vec![self]
    }
}
