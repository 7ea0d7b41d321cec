//! `kasoku._core.networks`: the book's networks, whole in Rust.

mod batch;
mod block;
mod layer;
mod network;
mod optimizer;
mod shared;
mod steps;

use pyo3::prelude::*;

/// The book's networks, whole in Rust.
#[pymodule]
pub(crate) mod networks {
    #[pymodule_export]
    use super::network::Network;
    #[pymodule_export]
    use super::optimizer::Optimizer;
    #[pymodule_export]
    use super::steps::{Step, Steps};
}
