//! A skip connection.

use ndarray::ArrayD;

use crate::layers::{Chain, Layer, Mode, Operation, Parameter, check_gradient};
use crate::tensor::{contiguous, elements, elements_mut};
use crate::{Element, Error, Result, Tensor};

/// y = f(x) + s(x): what the layers of `body` give is added to x itself (`shortcut` without layers) or, where f changes the
/// shape, to what the layers of `shortcut` give, such as a 1×1 convolution (chapter 8; He et al. 2015, §3.2).
///
/// Backward: dx = the sum of what both give for dout, so a gradient always has a way that passes no weights.
#[derive(Debug)]
pub struct Residual<T: Element> {
    body: Chain<T>,
    shortcut: Chain<T>,
    /// The shape of the last forward pass's output.
    output: Option<Vec<usize>>,
}

impl<T: Element> Residual<T> {
    /// The layer. Parameters come in the order of the body, then of the shortcut.
    pub fn new(body: Chain<T>, shortcut: Chain<T>) -> Self {
        Self { body, shortcut, output: None }
    }
}

fn check_same(body: &[usize], shortcut: &[usize]) -> Result<()> {
    if body == shortcut {
        return Ok(());
    }
    let expected = format!("the shortcut's, {shortcut:?}");
    Err(Error::shape("Residual: the body's output", body, expected))
}

/// The sum of both, in the memory of `x` where nobody shares it.
pub(super) fn add<T: Element>(x: Tensor<T>, y: Tensor<T>) -> Tensor<T> {
    let (mut x, y) = (contiguous(x), contiguous(y));
    elements_mut(&mut x).iter_mut().zip(elements(&y)).for_each(|(x, &y)| *x += y);
    x
}

impl<T: Element> Layer<T> for Residual<T> {
    fn name(&self) -> &'static str {
        "Residual"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let body = self.body.output_shape(input)?;
        check_same(&body, &self.shortcut.output_shape(input)?)?;
        Ok(body)
    }

    fn operation(&self) -> Operation {
        Operation::Residual
    }

    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        let body = self.body.forward(x.clone(), mode)?;
        let shortcut = self.shortcut.forward(x, mode)?;
        check_same(body.shape(), shortcut.shape())?;
        self.output = Some(body.shape().to_vec());
        Ok(add(body, shortcut))
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let output = self.output.as_ref().ok_or(Error::NoForward("Residual"))?;
        check_gradient("Residual", dout.shape(), output)?;
        let body = self.body.backward(dout.clone())?;
        Ok(add(body, self.shortcut.backward(dout)?))
    }

    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        let output = self.output.as_ref().ok_or(Error::NoForward("Residual"))?;
        check_gradient("Residual", dout.shape(), output)?;
        self.body.backward_parameters(dout.clone())?;
        self.shortcut.backward_parameters(dout)
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        [&self.body, &self.shortcut].into_iter().flat_map(Layer::parameters).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        [&mut self.body, &mut self.shortcut].into_iter().flat_map(Layer::parameters_mut).collect()
    }

    fn state(&mut self) -> Vec<(&'static str, &mut ArrayD<T>)> {
        [&mut self.body, &mut self.shortcut].into_iter().flat_map(Layer::state).collect()
    }

    fn chains(&self) -> Vec<&Chain<T>> {
        vec![&self.body, &self.shortcut]
    }

    fn chains_mut(&mut self) -> Vec<&mut Chain<T>> {
        vec![&mut self.body, &mut self.shortcut]
    }
}
