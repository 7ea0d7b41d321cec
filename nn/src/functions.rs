//! The functions of chapters 3 and 4, on arrays of any layout.

use ndarray::{Array, ArrayView, ArrayView1, ArrayView2, Dimension, Zip};

use crate::tensor::standard;
use crate::{Element, Error, Result, kernels};
use kernels::activation;
use kernels::softmax::{Target, cross_entropy, softmax_cross_entropy, softmax_rows};

/// What is added to a probability before its logarithm is taken, so that 0 does not give −∞ (chapter 4).
pub const CROSS_ENTROPY_EPSILON: f64 = 1e-7;

/// Applies a kernel of one operand.
fn unary<T: Element, D: Dimension>(
    x: ArrayView<'_, T, D>,
    kernel: impl Fn(&[T], &mut [T]) -> kernels::Result<()>,
) -> Result<Array<T, D>> {
    let x = standard(x);
    let mut y = Array::zeros(x.raw_dim());
    let operands = (x.as_slice(), y.as_slice_mut());
    let (Some(x), Some(y_elements)) = operands else { unreachable!("both in standard layout") };
    kernel(x, y_elements)?;
    Ok(y)
}

/// x itself.
pub fn identity_function<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Array<T, D> {
    x.to_owned()
}

/// 1 where x > 0, else 0.
///
/// # Errors
/// As every function here: only where `KASOKU_SIMD` or `KASOKU_NUM_THREADS` ask for what the machine lacks.
pub fn step_function<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    unary(x, activation::step)
}

/// 1/(1 + e⁻ˣ).
pub fn sigmoid<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    unary(x, activation::sigmoid)
}

/// The derivative of [`sigmoid`] at x: (1 − s)·s.
pub fn sigmoid_grad<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    Ok(sigmoid(x)?.mapv_into(|s| (T::one() - s) * s))
}

/// max(0, x); NaN passes.
pub fn relu<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    unary(x, activation::relu)
}

/// The derivative of [`relu`] at x as the book has it: 1 where x ≥ 0, else 0.
pub fn relu_grad<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Array<T, D> {
    x.mapv(|x| if x >= T::zero() { T::one() } else { T::zero() })
}

/// The hyperbolic tangent.
pub fn tanh<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    unary(x, activation::tanh)
}

/// The derivative of [`tanh`] at x: 1 − tanh² x.
pub fn tanh_grad<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    Ok(tanh(x)?.mapv_into(|t| T::one() - t * t))
}

/// e^(x − max) over its sum, along the last axis.
///
/// # Errors
/// [`Error::Shape`] where the last axis is empty or there is none.
pub fn softmax<T: Element, D: Dimension>(x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
    let classes = x.shape().last().copied().unwrap_or(0);
    if classes == 0 {
        return Err(Error::shape("softmax", x.shape(), "a last axis of one class or more"));
    }
    unary(x, |x, y| softmax_rows(x, classes, y))
}

/// ½·Σ(y − t)² over all elements.
///
/// # Errors
/// [`Error::Shape`] where the shapes differ.
pub fn sum_squared_error<T: Element, D: Dimension>(
    y: ArrayView<'_, T, D>,
    t: ArrayView<'_, T, D>,
) -> Result<T> {
    if y.shape() != t.shape() {
        return Err(Error::shape("sum_squared_error", t.shape(), format!("{:?}", y.shape())));
    }
    let sum = Zip::from(&y).and(&t).fold(T::zero(), |sum, &y, &t| sum + (y - t) * (y - t));
    Ok(T::of(0.5) * sum)
}

/// What a batch should have been: a label for each row, or a row of probabilities.
#[derive(Debug, Clone)]
pub enum Labels<'a, T> {
    /// The right class of each row.
    Index(ArrayView1<'a, usize>),
    /// The probability of each class of each row.
    OneHot(ArrayView2<'a, T>),
}

impl<'a, T> From<ArrayView1<'a, usize>> for Labels<'a, T> {
    fn from(labels: ArrayView1<'a, usize>) -> Self {
        Self::Index(labels)
    }
}

impl<'a, T> From<ArrayView2<'a, T>> for Labels<'a, T> {
    fn from(one_hot: ArrayView2<'a, T>) -> Self {
        Self::OneHot(one_hot)
    }
}

impl<T: Element> Labels<'_, T> {
    /// Calls `body` with the kernels' form of it.
    pub(crate) fn with_target<R>(&self, body: impl FnOnce(Target<'_, T>) -> R) -> R {
        match self {
            Self::Index(labels) => {
                body(Target::Labels(labels.as_standard_layout().as_slice().unwrap_or_default()))
            }
            Self::OneHot(t) => {
                body(Target::OneHot(standard(t.view()).as_slice().unwrap_or_default()))
            }
        }
    }
}

/// The mean over rows of −Σ t·log(y + 1e-7).
///
/// # Errors
/// [`Error::Kernel`] where the rows and the labels differ in number, or a label is out of range.
pub fn cross_entropy_error<'a, T: Element>(
    y: ArrayView2<'_, T>,
    t: impl Into<Labels<'a, T>>,
) -> Result<T> {
    let (classes, y) = (y.ncols(), standard(y));
    let y = y.as_slice().unwrap_or_default();
    let epsilon = T::of(CROSS_ENTROPY_EPSILON);
    Ok(t.into().with_target(|target| cross_entropy(y, classes, target, epsilon))?)
}

/// [`cross_entropy_error`] of [`softmax`].
///
/// # Errors
/// As [`cross_entropy_error`].
pub fn softmax_loss<'a, T: Element>(
    x: ArrayView2<'_, T>,
    t: impl Into<Labels<'a, T>>,
) -> Result<T> {
    let (classes, x) = (x.ncols(), standard(x));
    let x = x.as_slice().unwrap_or_default();
    let mut y = vec![T::zero(); x.len()];
    let epsilon = T::of(CROSS_ENTROPY_EPSILON);
    let t = t.into();
    Ok(t.with_target(|target| softmax_cross_entropy(x, classes, target, epsilon, &mut y))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr1, arr2};

    #[test]
    fn softmax_of_large_scores_does_not_overflow() {
        let y = softmax(arr1(&[1010.0f64, 1000.0, 990.0]).view()).unwrap();
        assert!((y.sum() - 1.0).abs() < 1e-15);
        assert!((y[0] - 9.99954600e-1).abs() < 1e-9); // chapter 3
        assert!(softmax(arr2(&[[0.0f32; 0]; 2]).view()).is_err());
    }

    #[test]
    fn losses_of_chapter_4() {
        let y = arr2(&[[0.1f64, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]]);
        let mut t = arr2(&[[0.0f64; 10]]);
        t[[0, 2]] = 1.0;
        assert!((sum_squared_error(y.view(), t.view()).unwrap() - 0.0975).abs() < 1e-12);
        let expected = 0.510825457099338;
        assert!((cross_entropy_error(y.view(), t.view()).unwrap() - expected).abs() < 1e-12);
        let label = arr1(&[2usize]);
        assert!((cross_entropy_error(y.view(), label.view()).unwrap() - expected).abs() < 1e-12);
        assert!(cross_entropy_error(y.view(), arr1(&[10usize]).view()).is_err());
    }

    #[test]
    fn views_of_any_layout_are_taken() {
        let x = arr2(&[[-1.0f32, 2.0, 3.0], [4.0, -5.0, 6.0]]);
        let y = relu(x.t()).unwrap();
        assert_eq!(y, arr2(&[[0.0, 4.0], [2.0, 0.0], [3.0, 6.0]]));
    }
}
