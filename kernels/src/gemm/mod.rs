//! Matrix multiplication.

pub(crate) mod blocking;
pub(crate) mod driver;
mod epilogue;
mod macrokernel;
mod microkernel;
pub(crate) mod packing;
pub(crate) mod panels;

pub(crate) use epilogue::General;
pub use epilogue::{Bias, Epilogue};
pub(crate) use macrokernel::{Block, Output};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::Pool;
use crate::view::{MatMut, MatRef};
use driver::{Left, Product};
use packing::Dense;

/// Multiply-adds below which waking a thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;

/// C = α·A·B + β·C, A of m×k, B of k×n, C of m×n, any strides (so a transpose is a view, [`MatRef::t`]).
///
/// β = 0 never reads C. NaN and infinities propagate as IEEE 754 says.
///
/// # Errors
/// [`Error::Shape`] where the sizes do not fit.
pub fn gemm<T: Element>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
) -> Result<()> {
    gemm_with(alpha, a, b, beta, c, Epilogue::default())
}

/// [`gemm`] with an [`Epilogue`] fused in: C = relu(α·A·B + β·C + bias).
///
/// # Errors
/// [`Error::Shape`] where the sizes do not fit, [`Error::Length`] where the bias has another length.
pub fn gemm_with<T: Element>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) -> Result<()> {
    const OP: &str = "gemm";
    let ([m, k], [k_b, n]) = (a.shape(), b.shape());
    if k != k_b || c.shape() != [m, n] {
        let problem = format!(
            "A is {m}×{k} and B {k_b}×{n}, C is {}×{}: expected m×k, k×n and m×n",
            c.rows(),
            c.cols()
        );
        return Err(Error::Shape { op: OP, problem });
    }
    match epilogue.bias {
        Bias::None => {}
        Bias::PerRow(bias) => check_len(OP, "bias (one for each row)", bias, m)?,
        Bias::PerColumn(bias) => check_len(OP, "bias (one for each column)", bias, n)?,
    }
    let arch = Arch::current()?;
    let pool = Pool::for_work(m.saturating_mul(n).saturating_mul(k), PARALLEL_WORK)?;
    let output = Output { start: c.as_mut_ptr(), strides: c.strides() };
    // Lanes run along C's columns, so those should be contiguous; where the rows are, Cᵀ = Bᵀ·Aᵀ.
    let transposed = c.strides()[1].abs() > c.strides()[0].abs();
    let (size, rows, columns, c, epilogue) = if transposed {
        ([n, m, k], Dense(b.t()), Dense(a), output.t(), epilogue.t())
    } else {
        ([m, n, k], Dense(a), Dense(b.t()), output, epilogue)
    };
    let finish = General { alpha, beta, epilogue };
    let product = Product { size, a: Left::Source(&rows), b: &columns, c, finish };
    // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
    unsafe { product.compute(arch, pool) };
    Ok(())
}
