//! The naive loop of every operation: the oracle of the tests and the baseline of the benches.
//!
//! Nothing here is checked or fast; slices that do not fit panic.

pub mod conv;
pub mod gemm;
