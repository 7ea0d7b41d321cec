//! The last layer: softmax, and the cross-entropy loss on it.

use ndarray::{Array2, ArrayView2};

use crate::functions::{CROSS_ENTROPY_EPSILON, Labels};
use crate::tensor::{contiguous, elements};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::softmax::{softmax_cross_entropy, softmax_cross_entropy_backward};

/// loss = the mean over rows of −Σ t·log(y + 1e-7), y = softmax(x); backward: (y − t)/batch (chapter 5).
#[derive(Debug, Clone, Default)]
pub struct SoftmaxWithLoss<T> {
    y: Option<Array2<T>>,
}

impl<T: Element> SoftmaxWithLoss<T> {
    /// The layer.
    pub fn new() -> Self {
        Self { y: None }
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
        let mut y = vec![T::zero(); x.len()];
        let epsilon = T::of(CROSS_ENTROPY_EPSILON);
        let loss =
            t.with_target(|t| softmax_cross_entropy(elements(&x), classes, t, epsilon, &mut y))?;
        self.y = Array2::from_shape_vec([batch, classes], y).ok();
        Ok(loss)
    }

    /// The gradient by the scores of the last forward pass.
    ///
    /// # Errors
    /// [`Error::NoForward`] before the first forward pass, [`Error::Kernel`] where the labels do not fit.
    pub fn backward(&mut self, t: &Labels<'_, T>) -> Result<Tensor<T>> {
        let y = self.y.as_ref().ok_or(Error::NoForward("SoftmaxWithLoss"))?;
        let mut dx = Array2::zeros(y.raw_dim());
        let (Some(y_elements), Some(dx_elements)) = (y.as_slice(), dx.as_slice_mut()) else {
            unreachable!("both made in standard layout")
        };
        let classes = y.ncols();
        t.with_target(|t| softmax_cross_entropy_backward(y_elements, classes, t, dx_elements))?;
        Ok(dx.into_dyn().into_shared())
    }
}
