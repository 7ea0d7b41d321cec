//! Samples and what they should be, from NumPy's arrays to a network's.

use kasoku_nn::Tensor;
use kasoku_nn::functions::Labels;
use kasoku_nn::networks::Batch;
use ndarray::{Array1, Array2, ArrayView, ArrayViewD, Axis, IxDyn};
use numpy::{
    PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::array::{Float, Input, Shape};
use crate::error::{Error, Result};

/// Samples in the network's own type: NumPy's array where it can be read as it lies, or a copy.
pub(super) enum Samples<'py, T: Float> {
    All(Input<'py, T>),
    Selected(Tensor<T>),
}

impl<'py, T: Float> Samples<'py, T> {
    /// The samples of `x` in `rows` (`None`: all).
    ///
    /// # Errors
    /// `TypeError` for what is no number, `ValueError` for a scalar, `IndexError` where there is no such row.
    pub(super) fn new(x: &Bound<'py, PyAny>, rows: Option<&[usize]>) -> Result<Self> {
        let x = Input::<T>::new(&numbers("x", x)?)?;
        let &[count, ..] = x.shape() else {
            return Err(Error::value("x: expected a batch of samples, got a number"));
        };
        let Some(rows) = rows else { return Ok(Self::All(x)) };
        check_rows("x", rows, count)?;
        Ok(Self::Selected(view(&x)?.select(Axis(0), rows).into_shared()))
    }

    pub(super) fn batch(&self) -> Result<Batch<'_, T>> {
        Ok(match self {
            Self::All(x) => view(x)?.into(),
            Self::Selected(x) => x.clone().into(),
        })
    }
}

fn view<'a, T: Float>(x: &'a Input<'_, T>) -> Result<ArrayViewD<'a, T>> {
    ArrayView::from_shape(IxDyn(x.shape()), x.slice()?)
        .map_err(|error| Error::value(error.to_string()))
}

/// `object` as an array of real numbers of any type.
fn numbers<'py>(what: &str, object: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    let array = match object.cast::<PyUntypedArray>() {
        Ok(array) => array.clone().into_any(),
        Err(_) => object.py().import("numpy")?.call_method1("asarray", (object,))?,
    };
    let dtype = array.cast::<PyUntypedArray>().map_err(PyErr::from)?.dtype();
    if !b"fiub".contains(&dtype.kind()) {
        return Err(Error::type_error(format!("{what}: expected real numbers, got dtype {dtype}")));
    }
    Ok(array)
}

fn check_rows(what: &str, rows: &[usize], count: usize) -> Result<()> {
    match rows.iter().find(|&&row| row >= count) {
        Some(row) => {
            let message = format!("{what}: index {row} is out of bounds for {count} samples");
            Err(PyIndexError::new_err(message).into())
        }
        None => Ok(()),
    }
}

/// What a batch should be: a label for each sample, or a row of probabilities.
pub(super) enum Target<T> {
    Labels(Array1<usize>),
    OneHot(Array2<T>),
}

impl<T: Float> Target<T> {
    /// `t` as the book takes it: one-hot where it has a number for each of `classes` classes of each of `count` samples, labels of any
    /// integer type otherwise; of them the `rows`.
    ///
    /// # Errors
    /// `ValueError` where there are more or fewer than the samples, `TypeError` for labels that are no integers, `IndexError` for a
    /// negative one.
    pub(super) fn new(
        t: &Bound<'_, PyAny>,
        count: usize,
        classes: usize,
        rows: Option<&[usize]>,
    ) -> Result<Self> {
        let array = numbers("t", t)?;
        let shape: Vec<usize> = array.getattr("shape")?.extract()?;
        let size: usize = shape.iter().product();
        if size == count * classes && (shape.len() > 1 || size != count) {
            let t = Input::<T>::new(&array)?;
            let view = ArrayView::from_shape((count, classes), t.slice()?)
                .map_err(|error| Error::value(error.to_string()))?;
            return Ok(Self::OneHot(match rows {
                Some(rows) => {
                    check_rows("t", rows, count)?;
                    view.select(Axis(0), rows)
                }
                None => view.to_owned(),
            }));
        }
        if size != count {
            return Err(Error::value(format!(
                "t: shape {} does not fit {count} samples of {classes} classes: expected labels ({count},) or one-hot ({count},{classes})",
                Shape(&shape)
            )));
        }
        let dtype = array.cast::<PyUntypedArray>().map_err(PyErr::from)?.dtype();
        if dtype.kind() == b'f' {
            return Err(Error::type_error(format!("t: labels are integers, not {dtype}")));
        }
        let array = match array.cast::<PyArrayDyn<i64>>() {
            Ok(array) => array.clone(),
            Err(_) => array
                .call_method1("astype", ("int64",))?
                .cast_into::<PyArrayDyn<i64>>()
                .map_err(PyErr::from)?,
        };
        let array = array.try_readonly().map_err(|error| Error::runtime(error.to_string()))?;
        let labels = array.as_array();
        let label = |(row, &label): (usize, &i64)| {
            usize::try_from(label).map_err(|_| {
                let message =
                    format!("t: label {label} of row {row} is out of range for {classes} classes");
                Error::from(PyIndexError::new_err(message))
            })
        };
        let labels: Result<Vec<usize>> = match rows {
            Some(rows) => {
                check_rows("t", rows, count)?;
                let flat = labels.flatten();
                rows.iter().map(|&row| label((row, &flat[row]))).collect()
            }
            None => labels.iter().enumerate().map(label).collect(),
        };
        Ok(Self::Labels(labels?.into()))
    }

    pub(super) fn labels(&self) -> Labels<'_, T> {
        match self {
            Self::Labels(labels) => labels.view().into(),
            Self::OneHot(rows) => rows.view().into(),
        }
    }
}
