//! `kasoku._core.layers`: what the layers of `kasoku.layers` call, forward beside backward.
//!
//! A function returns `None` for what it leaves to NumPy: operands that need no floats, or layouts that no kernel takes.

mod activation;
pub(crate) mod affine;
mod batch_norm;
pub(crate) mod convolution;
mod dropout;
pub(crate) mod pooling;
mod softmax;

use pyo3::prelude::*;

/// What the layers of `kasoku.layers` call.
#[pymodule]
pub(crate) mod layers {
    #[pymodule_export]
    use super::activation::{relu_backward, relu_forward, sigmoid_backward, sigmoid_forward};
    #[pymodule_export]
    use super::affine::{affine_backward, affine_forward};
    #[pymodule_export]
    use super::batch_norm::{batch_norm_backward, batch_norm_forward, batch_norm_inference};
    #[pymodule_export]
    use super::convolution::{convolution_backward, convolution_forward};
    #[pymodule_export]
    use super::dropout::{dropout_forward, dropout_mask};
    #[pymodule_export]
    use super::pooling::{pooling_backward, pooling_forward};
    #[pymodule_export]
    use super::softmax::{softmax_with_loss_backward, softmax_with_loss_forward};
}
