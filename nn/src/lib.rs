//! The networks of "Deep Learning from Scratch" in safe Rust.
#![forbid(unsafe_code)]

pub mod data;
mod engine;
mod error;
pub mod functions;
pub mod gradient;
pub mod init;
#[cfg(all(debug_assertions, not(test)))]
#[doc(hidden)]
pub mod instances;
pub mod layers;
pub mod networks;
pub mod optimizers;
mod shares;
mod tensor;
pub mod trainer;
pub mod weights;

pub use error::{Error, Result};
pub use kasoku_kernels as kernels;
pub use kasoku_kernels::Element;
pub use ndarray;
pub use tensor::Tensor;

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
