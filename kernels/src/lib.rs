//! SIMD kernels for neural networks on CPUs: slices in, slices out.
//!
//! Every operation is a safe function that checks its operands once and returns an [`Error`] where
//! they do not fit, never a panic; each has a naive twin in [`mod@reference`] that the tests hold it to. All are generic over
//! [`Element`] (`f32` and `f64`), run with the widest instruction set of the machine ([`arch`]) on a
//! thread pool of their own ([`num_threads`]), and give the same bits on any number of threads.

pub mod activation;
pub mod arch;
pub mod batch_norm;
pub mod conv;
mod crew;
pub mod dropout;
mod element;
mod error;
mod exp;
pub mod gemm;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod instances;
pub mod lanes;
mod map;
pub mod mask;
pub mod optimize;
mod parallel;
pub mod pool;
pub mod probe;
pub mod reduce;
pub mod reference;
mod registers;
pub mod rows;
mod simd;
pub mod softmax;
mod threads;
mod transpose;
mod view;
mod workspace;

pub use element::Element;
pub use error::{Error, Result};
pub use threads::{num_threads, set_num_threads};
pub use view::{MatMut, MatRef};
