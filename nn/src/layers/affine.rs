//! A fully connected layer.

use ndarray::ArrayD;

use crate::layers::{Layer, Mode, Operation, Parameter, Role, check_gradient, slice, slice_mut};
use crate::tensor::{Recycled, contiguous, elements, elements_mut};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::gemm::{Bias, Epilogue, gemm, gemm_with};
use kernels::reduce::sum_axis;
use kernels::{MatMut, MatRef};

/// y = x·W + b, where x of any rank is taken as (batch, inputs), W is (inputs, outputs) and b (outputs,); chapter 5.
///
/// Backward: dW = xᵀ·dout, db = the column sums of dout, dx = dout·Wᵀ in the shape of x.
#[derive(Debug, Clone)]
pub struct Affine<T: Element> {
    w: Parameter<T>,
    b: Parameter<T>,
    x: Option<Tensor<T>>,
    outputs: Recycled<T>,
    input_gradients: Recycled<T>,
}

impl<T: Element> Affine<T> {
    /// The layer with given weights and bias.
    ///
    /// # Errors
    /// [`Error::Shape`] where W is not a matrix, or b not as long as W has columns.
    pub fn new(w: ArrayD<T>, b: ArrayD<T>) -> Result<Self> {
        let &[_, outputs] = w.shape() else {
            return Err(Error::shape("Affine: W", w.shape(), "(inputs, outputs)"));
        };
        if b.shape() != [outputs] {
            return Err(Error::shape("Affine: b", b.shape(), format!("[{outputs}]")));
        }
        let (w, b) = (Parameter::new(Role::Weight, w), Parameter::new(Role::Bias, b));
        let (outputs, input_gradients) = (Recycled::default(), Recycled::default());
        Ok(Self { w, b, x: None, outputs, input_gradients })
    }

    fn size(&self) -> [usize; 2] {
        [self.w.value.shape()[0], self.w.value.shape()[1]]
    }

    /// dW and db, where they learn; returns x's shape.
    fn gradients(&mut self, dout: &Tensor<T>) -> Result<Vec<usize>> {
        let [inputs, outputs] = self.size();
        let x = self.x.as_ref().ok_or(Error::NoForward("Affine"))?;
        let batch = x.shape()[0];
        check_gradient("Affine", dout.shape(), &[batch, outputs])?;
        let (x_matrix, dout) = (elements(x), elements(dout));
        if !self.w.frozen {
            let x_matrix = MatRef::new(x_matrix, [batch, inputs])?;
            let dw = MatMut::new(slice_mut(&mut self.w.grad), [inputs, outputs])?;
            let dout_matrix = MatRef::new(dout, [batch, outputs])?;
            gemm(T::one(), x_matrix.t(), dout_matrix, T::zero(), dw)?;
        }
        if !self.b.frozen {
            sum_axis([1, batch, outputs], dout, slice_mut(&mut self.b.grad))?;
        }
        Ok(x.shape().to_vec())
    }
}

impl<T: Element> Layer<T> for Affine<T> {
    fn name(&self) -> &'static str {
        "Affine"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let [inputs, outputs] = self.size();
        if input.iter().product::<usize>() != inputs {
            return Err(Error::shape("Affine", input, format!("{inputs} inputs in all")));
        }
        Ok(vec![outputs])
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let sample = x
            .shape()
            .get(1..)
            .ok_or_else(|| Error::shape("Affine", x.shape(), "the batch as first axis"))?;
        let outputs = self.output_shape(sample)?[0];
        let (batch, inputs) = (x.shape()[0], self.size()[0]);
        let x = contiguous(x);
        let mut y = self.outputs.take(&[batch, outputs]);
        let epilogue = Epilogue { bias: Bias::PerColumn(slice(&self.b.value)), relu: false };
        gemm_with(
            T::one(),
            MatRef::new(elements(&x), [batch, inputs])?,
            MatRef::new(slice(&self.w.value), [inputs, outputs])?,
            T::zero(),
            MatMut::new(elements_mut(&mut y), [batch, outputs])?,
            epilogue,
        )?;
        self.x = Some(x);
        self.outputs.keep(&y);
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let dout = contiguous(dout);
        let x_shape = self.gradients(&dout)?;
        let [inputs, outputs] = self.size();
        let batch = x_shape[0];
        let mut dx = self.input_gradients.take(&x_shape);
        let w = MatRef::new(slice(&self.w.value), [inputs, outputs])?;
        let dout = MatRef::new(elements(&dout), [batch, outputs])?;
        let dx_matrix = MatMut::new(elements_mut(&mut dx), [batch, inputs])?;
        gemm(T::one(), dout, w.t(), T::zero(), dx_matrix)?;
        self.input_gradients.keep(&dx);
        Ok(dx)
    }

    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        self.gradients(&contiguous(dout)).map(drop)
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        vec![&self.w, &self.b]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        vec![&mut self.w, &mut self.b]
    }

    fn operation(&self) -> Operation {
        Operation::Affine
    }

    fn weights(&self) -> Option<[&Parameter<T>; 2]> {
        Some([&self.w, &self.b])
    }

    fn weights_mut(&mut self) -> Option<[&mut Parameter<T>; 2]> {
        Some([&mut self.w, &mut self.b])
    }
}
