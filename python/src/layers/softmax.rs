//! `SoftmaxWithLoss`.

use kasoku_kernels::softmax::{Target, softmax_cross_entropy, softmax_cross_entropy_backward};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{Float, Input, Output, Precision, compute, with_float};
use crate::error::Result;
use crate::functions::{EPSILON, labels};

/// (softmax(x), its cross-entropy with t) for x (N, M) and t of N labels, or one-hot in x's shape; `None` for other shapes
/// and types.
#[pyfunction]
pub(crate) fn softmax_with_loss_forward<'py>(
    x: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, PyAny>, f64)>> {
    let Some(precision) = Precision::of_array(x) else { return Ok(None) };
    with_float!(precision, T => forward::<T>(x, t))
}

fn forward<'py, T: Float>(
    x: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, PyAny>, f64)>> {
    let py = x.py();
    let x = Input::<T>::new(x)?;
    let &[rows, classes] = x.shape() else { return Ok(None) };
    let Some(labels) = labels(t, rows, classes)? else { return Ok(None) };
    let mut y = Output::<T>::new(py, &[rows, classes])?;
    let (x, y_slice) = (x.slice()?, y.slice_mut());
    let loss = compute(py, 8 * x.len(), || {
        softmax_cross_entropy(x, classes, Target::Labels(&labels), T::of(EPSILON), y_slice)
    })?;
    Ok(Some((y.into_array().into_any(), loss.as_f64())))
}

/// (y − t)/N; `None` for other shapes and types than `softmax_with_loss_forward` takes.
#[pyfunction]
pub(crate) fn softmax_with_loss_backward<'py>(
    y: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some(precision) = Precision::of_array(y) else { return Ok(None) };
    with_float!(precision, T => backward::<T>(y, t))
}

fn backward<'py, T: Float>(
    y: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let py = y.py();
    let y_array = Input::<T>::new(y)?;
    let &[rows, classes] = y_array.shape() else { return Ok(None) };
    let mut dx = Output::<T>::new(py, &[rows, classes])?;
    let (slice, dx_slice) = (y_array.slice()?, dx.slice_mut());
    if same_shape(y, t) {
        let t = Input::<T>::new(t)?;
        let target = Target::OneHot(t.slice()?);
        compute(py, slice.len(), || {
            softmax_cross_entropy_backward(slice, classes, target, rows, dx_slice)
        })?;
    } else {
        let Some(labels) = labels(t, rows, classes)? else { return Ok(None) };
        let target = Target::Labels(&labels);
        compute(py, slice.len(), || {
            softmax_cross_entropy_backward(slice, classes, target, rows, dx_slice)
        })?;
    }
    Ok(Some(dx.into_array().into_any()))
}

/// Whether both are arrays of one shape.
pub(crate) fn same_shape(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> bool {
    match (a.cast::<PyUntypedArray>(), b.cast::<PyUntypedArray>()) {
        (Ok(a), Ok(b)) => a.shape() == b.shape(),
        _ => false,
    }
}
