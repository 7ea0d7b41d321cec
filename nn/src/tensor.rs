//! The arrays that pass between layers.

use ndarray::{ArcArray, ArrayView, Dimension, IxDyn};

use crate::Element;

/// An array of any rank that may be shared: a layer keeps what it needs for `backward` without a copy, and whoever
/// writes to it while it is shared gets a copy of its own. The first axis is the batch.
pub type Tensor<T> = ArcArray<T, IxDyn>;

/// The array row by row in memory, copied only where it is not so already.
pub(crate) fn contiguous<T: Element>(x: Tensor<T>) -> Tensor<T> {
    if x.is_standard_layout() { x } else { x.as_standard_layout().into_owned().into_shared() }
}

/// The elements of an array that is row by row in memory, as [`contiguous`] makes it.
pub(crate) fn elements<T>(x: &Tensor<T>) -> &[T] {
    x.as_slice().expect("an array in standard layout")
}

/// The elements to write to: of a copy, where the array is shared.
pub(crate) fn elements_mut<T: Element>(x: &mut Tensor<T>) -> &mut [T] {
    x.as_slice_mut().expect("an array in standard layout")
}

/// Zeros of a shape.
pub(crate) fn zeros<T: Element>(shape: &[usize]) -> Tensor<T> {
    Tensor::zeros(IxDyn(shape))
}

/// Outputs of earlier passes, whose memory the next ones take when nobody shares them any more: fresh memory costs more than what
/// many layers compute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recycled<T>(Vec<Tensor<T>>);

impl<T: Element> Recycled<T> {
    /// As many as are alive at once: the next layer holds its input until its next pass.
    const KEPT: usize = 2;

    /// An array to write to, every element of it.
    pub(crate) fn take(&mut self, shape: &[usize]) -> Tensor<T> {
        let len: usize = shape.iter().product();
        for _ in 0..self.0.len() {
            let kept = self.0.remove(0);
            if kept.len() != len {
                continue;
            }
            match kept.try_into_owned_nocopy() {
                Ok(free) => return reshape(free.into_shared(), shape),
                Err(shared) => self.0.push(shared),
            }
        }
        zeros(shape)
    }

    /// Remembers an array that [`Recycled::take`] gave, once it is written.
    pub(crate) fn keep(&mut self, array: &Tensor<T>) {
        if self.0.len() == Self::KEPT {
            self.0.remove(0);
        }
        self.0.push(array.clone());
    }
}

/// `elements` in a shape that holds as many.
pub(crate) fn reshape<T: Element>(x: Tensor<T>, shape: &[usize]) -> Tensor<T> {
    contiguous(x).into_shape_with_order(IxDyn(shape)).expect("a shape of as many elements")
}

/// A view's elements row by row in memory, copied only where they are not so already.
pub(crate) fn standard<T: Element, D: Dimension>(
    x: ArrayView<'_, T, D>,
) -> ndarray::CowArray<'_, T, D> {
    if x.is_standard_layout() { x.into() } else { x.as_standard_layout().into_owned().into() }
}
