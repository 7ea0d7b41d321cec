//! What a network takes as input.

use ndarray::{Array, ArrayView, ArrayViewD, Dimension, IxDyn};

use crate::tensor::{elements, reshape};
use crate::{Element, Tensor};

/// Samples, the first axis the batch; the others hold as many elements as the network's input. An array moves in, a [`Tensor`] is
/// shared, a view is read where it lies; it is copied where its elements are not row by row in memory, or for a layer that keeps its
/// input.
#[derive(Debug, Clone)]
pub enum Batch<'a, T> {
    /// An array that may be shared.
    Tensor(Tensor<T>),
    /// A view.
    View(ArrayViewD<'a, T>),
}

impl<T: Element, D: Dimension> From<Array<T, D>> for Batch<'_, T> {
    fn from(x: Array<T, D>) -> Self {
        Self::Tensor(x.into_dyn().into_shared())
    }
}

impl<T> From<Tensor<T>> for Batch<'_, T> {
    fn from(x: Tensor<T>) -> Self {
        Self::Tensor(x)
    }
}

impl<'a, T, D: Dimension> From<ArrayView<'a, T, D>> for Batch<'a, T> {
    fn from(x: ArrayView<'a, T, D>) -> Self {
        Self::View(x.into_dyn())
    }
}

impl<T: Element> Batch<'_, T> {
    /// The shape, samples first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(x) => x.shape(),
            Self::View(x) => x.shape(),
        }
    }

    /// The same in a shape that holds as many elements, row by row in memory.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Self {
        match self {
            Self::View(x) if x.is_standard_layout() => {
                let x = x.into_shape_with_order(IxDyn(shape));
                Self::View(x.expect("a shape of as many elements"))
            }
            x => Self::Tensor(reshape(x.into_tensor(), shape)),
        }
    }

    /// The elements of what [`Batch::reshaped`] gave.
    pub(crate) fn elements(&self) -> &[T] {
        match self {
            Self::Tensor(x) => elements(x),
            Self::View(x) => x.as_slice().expect("a view in standard layout"),
        }
    }

    /// An array to keep.
    pub(crate) fn into_tensor(self) -> Tensor<T> {
        match self {
            Self::Tensor(x) => x,
            Self::View(x) => x.to_owned().into_shared(),
        }
    }
}
