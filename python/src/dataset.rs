//! `kasoku._core.dataset`: MNIST and the digits the program draws itself.

use pyo3::prelude::*;

/// MNIST and the digits the program draws itself.
#[pymodule]
pub(crate) mod dataset {}
