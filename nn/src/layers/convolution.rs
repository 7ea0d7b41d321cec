//! A 2-D convolution.

use ndarray::ArrayD;

use crate::layers::{
    Layer, Mode, Operation, Parameter, Role, check_gradient, forget_frozen, slice, slice_mut,
};
use crate::tensor::{contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::conv::{self, ConvGeometry, Gradients, Window};

/// y = x ∗ W + b, NCHW: x is (batch, channels, height, width), W (filters, channels, height, width), b (filters,); chapter 7.
#[derive(Debug, Clone)]
pub struct Convolution<T: Element> {
    w: Parameter<T>,
    b: Parameter<T>,
    window: Window,
    x: Option<Input<T>>,
}

impl<T: Element> Convolution<T> {
    /// The layer with given filters and bias; `window` says how far apart and how padded, its size must be the
    /// filters'.
    ///
    /// # Errors
    /// [`Error::Shape`] where W, b and the window do not fit together.
    pub fn new(w: ArrayD<T>, b: ArrayD<T>, window: Window) -> Result<Self> {
        let [height, width] = window.size;
        let &[filters, _, filter_h, filter_w] = w.shape() else {
            let expected = "(filters, channels, height, width)";
            return Err(Error::shape("Convolution: W", w.shape(), expected));
        };
        if window.size != [filter_h, filter_w] {
            let expected = format!("filters of {height}×{width}");
            return Err(Error::shape("Convolution: W", w.shape(), expected));
        }
        if b.shape() != [filters] {
            return Err(Error::shape("Convolution: b", b.shape(), format!("[{filters}]")));
        }
        let (w, b) = (Parameter::new(Role::Weight, w), Parameter::new(Role::Bias, b));
        Ok(Self { w, b, window, x: None })
    }

    fn geometry(&self, batch: usize, input: &[usize]) -> Result<ConvGeometry> {
        let (filters, channels) = (self.w.value.shape()[0], self.w.value.shape()[1]);
        match *input {
            [c, height, width] if c == channels => {
                Ok(ConvGeometry::new([batch, c, height, width], filters, self.window)?)
            }
            _ => {
                let expected = format!("({channels} channels, height, width)");
                Err(Error::shape("Convolution", input, expected))
            }
        }
    }
}

type Input<T> = (Tensor<T>, ConvGeometry);

/// The input of the last forward pass, if `dout` can be the gradient by what came of it.
fn input_of<'a, T: Element>(x: &'a Option<Input<T>>, dout: &Tensor<T>) -> Result<&'a Input<T>> {
    let input = x.as_ref().ok_or(Error::NoForward("Convolution"))?;
    check_gradient("Convolution", dout.shape(), &input.1.output())?;
    Ok(input)
}

impl<T: Element> Layer<T> for Convolution<T> {
    fn name(&self) -> &'static str {
        "Convolution"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(self.geometry(1, input)?.output()[1..].to_vec())
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let (batch, sample) = (x.shape().first().copied().unwrap_or(0), x.shape().get(1..));
        let geometry = self.geometry(batch, sample.unwrap_or_default())?;
        let x = contiguous(x);
        let mut y = zeros(&geometry.output());
        let (w, b) = (slice(&self.w.value), slice(&self.b.value));
        conv::forward(&geometry, elements(&x), w, Some(b), false, elements_mut(&mut y))?;
        self.x = Some((x, geometry));
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let dout = contiguous(dout);
        let Self { w, b, x, .. } = self;
        let (x, geometry) = input_of(x, &dout)?;
        let mut dx = zeros(&geometry.input());
        let (dy, filters) = (elements(&dout), slice(&w.value));
        if w.frozen && b.frozen {
            conv::backward_data(geometry, dy, filters, elements_mut(&mut dx))?;
        } else {
            let (dw, db) = (slice_mut(&mut w.grad), slice_mut(&mut b.grad));
            let gradients = Gradients { dx: elements_mut(&mut dx), dw, db };
            conv::backward(geometry, elements(x), dy, filters, gradients)?;
            forget_frozen([w, b]);
        }
        Ok(dx)
    }

    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        let dout = contiguous(dout);
        let Self { w, b, x, .. } = self;
        let (x, geometry) = input_of(x, &dout)?;
        if !(w.frozen && b.frozen) {
            let (dw, db) = (slice_mut(&mut w.grad), slice_mut(&mut b.grad));
            conv::backward_weight(geometry, elements(x), elements(&dout), dw, Some(db))?;
            forget_frozen([w, b]);
        }
        Ok(())
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        vec![&self.w, &self.b]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        vec![&mut self.w, &mut self.b]
    }

    fn operation(&self) -> Operation {
        Operation::Convolution(self.w.value.shape()[0], self.window)
    }

    fn weights(&self) -> Option<[&Parameter<T>; 2]> {
        Some([&self.w, &self.b])
    }

    fn weights_mut(&mut self) -> Option<[&mut Parameter<T>; 2]> {
        Some([&mut self.w, &mut self.b])
    }
}
