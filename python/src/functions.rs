//! `kasoku._core.functions`: the functions of chapters 3 and 4.
//!
//! A function returns `None` for what it leaves to NumPy: anything but arrays of `float32` and `float64`.

use kasoku_kernels::softmax::{Target, cross_entropy, softmax_rows};
use kasoku_kernels::{activation, reduce};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::array::{Float, Input, Output, Precision, compute, convert, with_float};
use crate::error::Result;

/// Added to a probability before its logarithm is taken.
pub(crate) const EPSILON: f64 = 1e-7;

/// Work that a transcendental function is, in multiply-adds.
pub(crate) const ELEMENTARY_WORK: usize = 8;

/// What is computed element by element.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Function {
    Relu,
    Sigmoid,
    Tanh,
    Exp,
    Log,
}

impl Function {
    pub(crate) fn compute<T: Float>(self, py: Python<'_>, x: &[T], y: &mut [T]) -> Result<()> {
        let function = match self {
            Self::Relu => activation::relu,
            Self::Sigmoid => activation::sigmoid,
            Self::Tanh => activation::tanh,
            Self::Exp => activation::exp,
            Self::Log => activation::log,
        };
        compute(py, ELEMENTARY_WORK * x.len(), || function(x, y))
    }
}

/// The function of x, in C order.
pub(crate) fn apply<'py>(
    function: Function,
    x: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some(precision) = Precision::of_array(x) else { return Ok(None) };
    with_float!(precision, T => {
        let py = x.py();
        let x = Input::<T>::new(x)?;
        let mut y = Output::<T>::new(py, x.shape())?;
        function.compute(py, x.slice()?, y.slice_mut())?;
        Ok(Some(y.into_array().into_any()))
    })
}

/// softmax(x) over the last axis.
fn softmax_of<'py, T: Float>(x: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
    let py = x.py();
    let x = Input::<T>::new(x)?;
    let Some(&classes @ 1..) = x.shape().last() else { return Ok(None) };
    let mut y = Output::<T>::new(py, x.shape())?;
    let (x, y_slice) = (x.slice()?, y.slice_mut());
    compute(py, ELEMENTARY_WORK * x.len(), || softmax_rows(x, classes, y_slice))?;
    Ok(Some(y.into_array().into_any()))
}

/// The class of each row: `t` itself where it holds one label a row, the first largest of each row where it is one-hot
/// (as many elements as there are scores); `None` for another shape.
///
/// # Errors
/// `IndexError` for labels that are no class.
pub(crate) fn labels(
    t: &Bound<'_, PyAny>,
    rows: usize,
    classes: usize,
) -> Result<Option<Vec<usize>>> {
    let Ok(array) = t.cast::<PyUntypedArray>() else { return Ok(None) };
    if array.shape() == [rows, classes] && classes > 0 {
        let t = Input::<f64>::new(t)?;
        let mut labels = vec![0; rows];
        reduce::argmax_rows(t.slice()?, classes, &mut labels)?;
        return Ok(Some(labels));
    }
    if array.shape() != [rows] || rows == rows * classes {
        return Ok(None);
    }
    match numpy::PyArrayDescrMethods::kind(&array.dtype()) {
        b'i' | b'u' => {}
        b'f' => {
            let message = "arrays used as indices must be of integer (or boolean) type";
            return Err(PyIndexError::new_err(message).into());
        }
        _ => return Ok(None),
    }
    let t = convert::<i64>(t)?;
    let t = numpy::PyArrayMethods::try_readonly(&t).map_err(PyErr::from)?;
    let label = |(row, &label): (usize, &i64)| {
        usize::try_from(label).ok().filter(|&label| label < classes).ok_or_else(|| {
            PyIndexError::new_err(format!(
                "label {label} of row {row}: index {label} is out of bounds for axis 1 with size {classes}"
            ))
        })
    };
    let labels = t.as_slice().map_err(PyErr::from)?.iter().enumerate().map(label);
    Ok(Some(labels.collect::<PyResult<_>>()?))
}

fn cross_entropy_of<T: Float>(y: &Bound<'_, PyAny>, t: &Bound<'_, PyAny>) -> Result<Option<f64>> {
    let py = y.py();
    let y = Input::<T>::new(y)?;
    let (1.., &[rows, classes]) = (y.shape().iter().product::<usize>(), y.shape()) else {
        return Ok(None);
    };
    let Some(labels) = labels(t, rows, classes)? else { return Ok(None) };
    let y = y.slice()?;
    let target = Target::Labels(&labels);
    let loss =
        compute(py, ELEMENTARY_WORK * rows, || cross_entropy(y, classes, target, T::of(EPSILON)))?;
    Ok(Some(loss.as_f64()))
}

/// The functions of chapters 3 and 4.
#[pymodule]
pub(crate) mod functions {
    use super::*;

    /// max(x, 0).
    #[pyfunction]
    fn relu<'py>(x: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
        apply(Function::Relu, x)
    }

    /// 1/(1 + e⁻ˣ).
    #[pyfunction]
    fn sigmoid<'py>(x: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
        apply(Function::Sigmoid, x)
    }

    /// softmax(x) over the last axis.
    #[pyfunction]
    fn softmax<'py>(x: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
        let Some(precision) = Precision::of_array(x) else { return Ok(None) };
        with_float!(precision, T => softmax_of::<T>(x))
    }

    /// The mean over the rows of y (N, M) of −ln(y[row, label] + 1e-7).
    #[pyfunction]
    fn cross_entropy_error(y: &Bound<'_, PyAny>, t: &Bound<'_, PyAny>) -> Result<Option<f64>> {
        let Some(precision) = Precision::of_array(y) else { return Ok(None) };
        with_float!(precision, T => cross_entropy_of::<T>(y, t))
    }
}
