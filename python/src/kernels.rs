//! `kasoku._core.kernels`: the kernels on NumPy arrays.

use kasoku_kernels as kernels_crate;
use pyo3::prelude::*;

use crate::error::Result;

/// The kernels on NumPy arrays.
#[pymodule]
pub(crate) mod kernels {
    use super::*;

    /// Uses `threads` threads from the next kernel on; 0 goes back to the default.
    #[pyfunction]
    fn set_num_threads(threads: usize) {
        kernels_crate::set_num_threads(threads);
    }

    /// The number of threads kernels may use.
    #[pyfunction]
    fn num_threads() -> Result<usize> {
        Ok(kernels_crate::num_threads()?)
    }

    /// The instruction set kernels run with: 'scalar', 'v3' (AVX2), 'v4' (AVX-512) or 'neon'.
    #[pyfunction]
    fn instruction_set() -> Result<&'static str> {
        Ok(kernels_crate::arch::selected()?.name())
    }

    /// The instruction sets of this machine, narrowest first.
    #[pyfunction]
    fn instruction_sets() -> Vec<&'static str> {
        kernels_crate::arch::InstructionSet::available().iter().map(|set| set.name()).collect()
    }
}
