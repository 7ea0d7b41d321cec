//! Strides, paddings and sizes, as Python gives them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// (vertical, horizontal), from one integer for both or a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair(pub(crate) [usize; 2]);

impl Pair {
    pub(crate) const ZERO: Self = Self([0, 0]);
    pub(crate) const ONE: Self = Self([1, 1]);
}

impl<'a, 'py> FromPyObject<'a, 'py> for Pair {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let numbers = match object.extract::<i64>() {
            Ok(both) => [both, both],
            Err(_) => object.extract::<[i64; 2]>().map_err(|_| {
                PyTypeError::new_err(format!(
                    "expected an integer or a pair of them, got {}",
                    *object
                ))
            })?,
        };
        match numbers.map(usize::try_from) {
            [Ok(vertical), Ok(horizontal)] => Ok(Self([vertical, horizontal])),
            _ => Err(PyValueError::new_err(format!("sizes can't be negative, got {}", *object))),
        }
    }
}
