//! `Relu` and `Sigmoid`.

use kasoku_kernels::{activation, mask};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::softmax::same_shape;
use crate::array::{Float, InOut, Input, Output, Precision, compute, with_float};
use crate::error::Result;
use crate::functions::{Function, apply};

/// (max(x, 0), x ≤ 0), or `None` for other arrays than `float32` and `float64`.
#[pyfunction]
pub(crate) fn relu_forward<'py>(
    x: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let Some(precision) = Precision::of_array(x) else { return Ok(None) };
    with_float!(precision, T => relu::<T>(x).map(Some))
}

fn relu<'py, T: Float>(x: &Bound<'py, PyAny>) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = x.py();
    let x = Input::<T>::new(x)?;
    let (mut y, mut mask) = (Output::<T>::new(py, x.shape())?, Output::<bool>::new(py, x.shape())?);
    let (x, y_slice, mask_slice) = (x.slice()?, y.slice_mut(), mask.slice_mut());
    compute(py, x.len(), || mask::relu(x, y_slice, mask_slice))?;
    Ok((y.into_array().into_any(), mask.into_array().into_any()))
}

/// dout ← 0 where the mask is true; false, and nothing done, where NumPy should do it.
#[pyfunction]
pub(crate) fn relu_backward(mask: &Bound<'_, PyAny>, dout: &Bound<'_, PyAny>) -> Result<bool> {
    let Some(precision) = Precision::of_array(dout) else { return Ok(false) };
    with_float!(precision, T => clear::<T>(mask, dout))
}

fn clear<T: Float>(mask: &Bound<'_, PyAny>, dout: &Bound<'_, PyAny>) -> Result<bool> {
    let Ok(mask) = mask.cast::<PyArrayDyn<bool>>() else { return Ok(false) };
    let Some(mut dout) = InOut::<T>::new(dout)? else { return Ok(false) };
    if !mask.is_c_contiguous() || mask.shape() != dout.shape() {
        return Ok(false);
    }
    let py = mask.py();
    let mask = mask.try_readonly().map_err(PyErr::from)?;
    let (mask, dout) = (mask.as_slice().map_err(PyErr::from)?, dout.slice_mut()?);
    compute(py, dout.len(), || mask::clear(mask, dout))?;
    Ok(true)
}

/// 1/(1 + e⁻ˣ), or `None` for other arrays than `float32` and `float64`.
#[pyfunction]
pub(crate) fn sigmoid_forward<'py>(x: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
    apply(Function::Sigmoid, x)
}

/// dout·(1 − y)·y, or `None` where y and dout are not floats of one shape and type.
#[pyfunction]
pub(crate) fn sigmoid_backward<'py>(
    y: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let precision = Precision::of_array(y);
    let (Some(precision), true) = (precision, precision == Precision::of_array(dout)) else {
        return Ok(None);
    };
    if !same_shape(y, dout) {
        return Ok(None);
    }
    with_float!(precision, T => {
        let py = y.py();
        let (y, dout) = (Input::<T>::new(y)?, Input::<T>::new(dout)?);
        let mut dx = Output::<T>::new(py, y.shape())?;
        let (y, dout, dx_slice) = (y.slice()?, dout.slice()?, dx.slice_mut());
        compute(py, y.len(), || {
            dx_slice.copy_from_slice(dout);
            activation::sigmoid_backward(y, dx_slice)
        })?;
        Ok(Some(dx.into_array().into_any()))
    })
}
