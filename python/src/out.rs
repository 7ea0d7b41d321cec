//! `out=`: where a caller wants a result.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::array::{Float, InOut, Output, Precision, Shape, is_writable};
use crate::error::{Error, Result};

/// A result on its way.
pub(crate) enum Out<'py, T: Float> {
    /// A new array.
    New(Output<'py, T>, Precision),
    /// The caller's, written where it lies.
    Direct(InOut<'py, T>, Bound<'py, PyAny>),
    /// The caller's, which has another type or layout, or is an input too: written when the result is complete.
    Copied(Output<'py, T>, Bound<'py, PyAny>),
}

impl<'py, T: Float> Out<'py, T> {
    /// A place for a result of `shape`. Inputs must be borrowed before, so that an `out` that overlaps them is noticed.
    ///
    /// # Errors
    /// `TypeError` where `out` is no array or its type cannot hold the result, `ValueError` where it has another shape or is
    /// read-only.
    pub(crate) fn new(
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        shape: &[usize],
        precision: Precision,
    ) -> Result<Self> {
        let Some(out) = out.filter(|out| !out.is_none()) else {
            return Ok(Self::New(Output::new(py, shape)?, precision));
        };
        let Ok(array) = out.cast::<PyUntypedArray>() else {
            return Err(Error::type_error("out must be an array"));
        };
        if array.shape() != shape {
            return Err(Error::value(format!(
                "out has shape {}, the result has shape {}",
                Shape(array.shape()),
                Shape(shape)
            )));
        }
        if !is_writable(array) {
            return Err(Error::value("output array is read-only"));
        }
        if !matches!(array.dtype().kind(), b'f' | b'c') {
            let (from, to) = (numpy::dtype::<T>(py), array.dtype());
            return Err(Error::type_error(format!(
                "Cannot cast output from {from:?} to {to:?} with casting rule 'same_kind'"
            )));
        }
        match InOut::new(out) {
            Ok(Some(direct)) => Ok(Self::Direct(direct, out.clone())),
            // An input too, most likely: NumPy allows that.
            Ok(None) | Err(_) => Ok(Self::Copied(Output::new(py, shape)?, out.clone())),
        }
    }

    pub(crate) fn slice_mut(&mut self) -> Result<&mut [T]> {
        match self {
            Self::New(output, _) | Self::Copied(output, _) => Ok(output.slice_mut()),
            Self::Direct(array, _) => array.slice_mut(),
        }
    }

    /// The result, or `out` that holds it now.
    pub(crate) fn finish(self) -> Result<Bound<'py, PyAny>> {
        static COPYTO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        match self {
            Self::New(output, precision) => precision.finish(output.into_array()),
            Self::Direct(_, out) => Ok(out),
            Self::Copied(output, out) => {
                let py = out.py();
                let same_kind = PyDict::new(py);
                same_kind.set_item("casting", "same_kind")?;
                COPYTO
                    .import(py, "numpy", "copyto")?
                    .call((&out, output.into_array()), Some(&same_kind))?;
                Ok(out)
            }
        }
    }
}
