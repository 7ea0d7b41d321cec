//! `kasoku._core.networks`: the book's networks, whole in Rust.

use pyo3::prelude::*;

/// The book's networks, whole in Rust.
#[pymodule]
pub(crate) mod networks {}
