//! The last layer: softmax, and the cross-entropy loss on it.

use ndarray::{Array2, ArrayView2};

use crate::functions::{CROSS_ENTROPY_EPSILON, Labels};
use crate::tensor::{Recycled, contiguous, elements, elements_mut};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::softmax::{softmax_cross_entropy, softmax_cross_entropy_backward};

const STANDARD: &str = "made in standard layout";

/// loss = the mean over rows of −Σ t·log(y + 1e-7), y = softmax(x); backward: (y − t)/batch (chapter 5).
#[derive(Debug, Clone, Default)]
pub struct SoftmaxWithLoss<T> {
    y: Option<Array2<T>>,
    gradients: Recycled<T>,
}

impl<T: Element> SoftmaxWithLoss<T> {
    /// The layer.
    pub fn new() -> Self {
        Self { y: None, gradients: Recycled::default() }
    }

    /// The probabilities of the last forward pass.
    pub fn y(&self) -> Option<ArrayView2<'_, T>> {
        self.y.as_ref().map(|y| y.view())
    }

    /// The loss of scores (batch, classes) against their labels.
    ///
    /// # Errors
    /// [`Error::Shape`] where x is not a matrix, [`Error::Kernel`] where the labels do not fit it.
    pub fn forward(&mut self, x: Tensor<T>, t: &Labels<'_, T>) -> Result<T> {
        let &[batch, classes] = x.shape() else {
            return Err(Error::shape("SoftmaxWithLoss", x.shape(), "(batch, classes)"));
        };
        let x = contiguous(x);
        let last = self.y.take().filter(|y| y.dim() == (batch, classes));
        let mut y = last.unwrap_or_else(|| Array2::zeros([batch, classes]));
        let (epsilon, to) = (T::of(CROSS_ENTROPY_EPSILON), y.as_slice_mut().expect(STANDARD));
        let loss =
            t.with_target(|t| softmax_cross_entropy(elements(&x), classes, t, epsilon, to))?;
        self.y = Some(y);
        Ok(loss)
    }

    /// The gradient by the scores of the last forward pass.
    ///
    /// # Errors
    /// [`Error::NoForward`] before the first forward pass, [`Error::Kernel`] where the labels do not fit.
    pub fn backward(&mut self, t: &Labels<'_, T>) -> Result<Tensor<T>> {
        let y = self.y.as_ref().ok_or(Error::NoForward("SoftmaxWithLoss"))?;
        let ((batch, classes), y) = (y.dim(), y.as_slice().expect(STANDARD));
        let mut dx = self.gradients.take(&[batch, classes]);
        let to = elements_mut(&mut dx);
        t.with_target(|t| softmax_cross_entropy_backward(y, classes, t, batch, to))?;
        self.gradients.keep(&dx);
        Ok(dx)
    }
}
