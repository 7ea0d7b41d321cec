//! `kasoku._core`: the border between NumPy and the kernels.
//!
//! Thin by intent: an array is checked and borrowed, the interpreter is released, a kernel runs, its result is an array again.
//! Everything a reader of the book touches (layers, optimizers, functions) is Python, in `python/kasoku`.

mod array;
mod dataset;
mod error;
mod functions;
mod kernels;
mod layers;
mod networks;
mod optimizer;
mod out;
mod pair;
mod recycle;

use pyo3::prelude::*;

/// The Rust half of kasoku.
#[pymodule(gil_used = false)]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::dataset::dataset;
    #[pymodule_export]
    use super::functions::functions;
    #[pymodule_export]
    use super::kernels::kernels;
    #[pymodule_export]
    use super::layers::layers;
    #[pymodule_export]
    use super::networks::networks;
    #[pymodule_export]
    use super::optimizer::optimizer;

    /// Registers the submodules, so that `from kasoku._core.kernels import …` works too.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let modules = module.py().import("sys")?.getattr("modules")?;
        for name in ["dataset", "functions", "kernels", "layers", "networks", "optimizer"] {
            modules.set_item(format!("kasoku._core.{name}"), module.getattr(name)?)?;
        }
        Ok(())
    }
}
