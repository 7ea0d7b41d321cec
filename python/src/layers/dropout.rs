//! `Dropout`.

use kasoku_kernels::dropout::{DropoutKey, dropout_mask as draw};
use kasoku_kernels::mask;
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::softmax::same_shape;
use crate::array::{Input, Output, Precision, compute, with_float};
use crate::error::Result;

/// x·mask for a mask of booleans in x's shape, or `None` for other shapes and types.
#[pyfunction]
pub(crate) fn dropout_forward<'py>(
    x: &Bound<'py, PyAny>,
    mask: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some(precision) = Precision::of_array(x) else { return Ok(None) };
    let Ok(mask_array) = mask.cast::<PyArrayDyn<bool>>() else { return Ok(None) };
    if !same_shape(x, mask) || !mask_array.is_c_contiguous() {
        return Ok(None);
    }
    let py = x.py();
    let mask = mask_array.try_readonly().map_err(PyErr::from)?;
    let mask = mask.as_slice().map_err(PyErr::from)?;
    with_float!(precision, T => {
        let x = Input::<T>::new(x)?;
        let mut y = Output::<T>::new(py, x.shape())?;
        let (x, y_slice) = (x.slice()?, y.slice_mut());
        compute(py, x.len(), || mask::multiply(mask, x, y_slice))?;
        Ok(Some(y.into_array().into_any()))
    })
}

/// A mask of the given shape from kasoku's own generator: false with probability `ratio`, the same for the same seed and step.
#[pyfunction]
pub(crate) fn dropout_mask<'py>(
    py: Python<'py>,
    shape: Vec<usize>,
    ratio: f64,
    seed: u64,
    step: u64,
) -> Result<Bound<'py, PyArrayDyn<bool>>> {
    let mut mask = Output::<bool>::new(py, &shape)?;
    let slice = mask.slice_mut();
    compute(py, 4 * slice.len(), || draw(DropoutKey { seed, step, layer: 0 }, ratio, slice))?;
    Ok(mask.into_array())
}
