//! The naive loop of every operation: the oracle of the tests and the baseline of the benches.
//!
//! Nothing here is checked or fast; slices that do not fit panic.

pub mod activation;
pub mod batch_norm;
pub mod conv;
pub mod dropout;
pub mod gemm;
pub mod optimize;
pub mod pool;
pub mod reduce;
pub mod softmax;
