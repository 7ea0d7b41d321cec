//! Matrix multiplication.

pub(crate) mod blocking;
pub(crate) mod caches;
mod compiled;
pub(crate) mod driver;
mod epilogue;
mod gemv;
mod leftover;
mod macrokernel;
mod microkernel;
mod outer;
mod output;
mod packed;
pub(crate) mod packing;
pub(crate) mod panels;
mod plan;
mod row;
mod split;
pub(crate) mod transpose;

pub(crate) use compiled::BlockKernels;
pub(crate) use epilogue::General;
pub use epilogue::{Bias, Epilogue};
pub(crate) use macrokernel::Block;
pub(crate) use output::Output;
pub use packed::{PackedA, PackedB, gemm_packed_a, gemm_packed_b};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::Pool;
use crate::view::{MatMut, MatRef};
use blocking::{Blocking, kc};
use driver::{Operand, Product};
use leftover::AlongColumns;
use packing::Dense;
use panels::Strided;
use plan::Plan;

/// Multiply-adds (of f32; one of f64 is two) below which a second thread costs more than it saves, even one that is awake: 100³ takes
/// 0.6 of its time on two of an AMD, whose cores meet within half a microsecond; on Intels that takes up to 3.
const SHARED_WORK: usize = 1 << 19;
/// Four times as many are worth waking one that sleeps.
const PARALLEL_WORK: usize = 1 << 20;
/// Multiply-adds above which it is worth planning what to pack, and how to cut C: that takes a tenth of a microsecond.
const PLANNED_WORK: usize = 1 << 16;

/// The multiply-adds of a product of `[m, n, k]`, and the threads that they are worth.
fn work_and_pool<T>([m, n, k]: [usize; 3]) -> Result<(usize, Pool)> {
    let work = m.saturating_mul(n).saturating_mul(k);
    let in_f32 = work.saturating_mul(size_of::<T>() / size_of::<f32>());
    Ok((work, Pool::for_short_work(in_f32, SHARED_WORK, PARALLEL_WORK)?))
}

/// C = α·A·B + β·C, A of m×k, B of k×n, C of m×n, any strides (so a transpose is a view, [`MatRef::t`]).
///
/// β = 0 never reads C. NaN and infinities propagate as IEEE 754 says. Rows of C of two elements and more, where those are contiguous,
/// have the same bits in every product of 16 rows and more with the same B.
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
    let [m, n, k] = check(a.shape(), b.shape(), c.shape(), epilogue)?;
    let arch = Arch::current()?;
    let (work, pool) = work_and_pool::<T>([m, n, k])?;
    let c = Output { start: c.as_mut_ptr(), strides: c.strides() };
    let call = Call { size: [m, n, k], a, b, c, finish: General::new(alpha, beta, epilogue) };
    // Lanes run along C's columns, so those should be contiguous; where the rows are, or there is but one column, Cᵀ = Bᵀ·Aᵀ.
    let mut call = call.turned_if(n == 1 || (m > 1 && c.strides[1].abs() > c.strides[0].abs()));
    // B would be packed for a few rows of C.
    let for_rows = gemv::arch_for(arch, &call.b.t(), call.size[0]);
    let for_few = for_rows.or_else(|| gemv::arch_for_few_columns(arch, &call.a, call.size[1]));
    if let Some(arch) = for_few {
        let Call { a, b, c, finish, .. } = call.turned_if(for_rows.is_some());
        // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
        unsafe { gemv::compute(arch, pool, a, b, c, finish) };
        return Ok(());
    }
    let last = leftover::for_dots(arch, &call.a, call.size);
    if last > 0 {
        let Call { a, b, c, finish, .. } = call.split_off_cols(last);
        // SAFETY: the last columns of C, an exclusive view without repeated elements; the epilogue was checked.
        unsafe { gemv::compute(arch, pool, a, b, c, finish) };
    }
    let row_stride = call.c.strides[0];
    let is_better_turned = plan::is_better_turned(&call.a, &call.b, row_stride, arch.lanes::<T>());
    let mut call = call.turned_if(is_better_turned);
    if call.size[0] == 1 && row::is_dense(&call.b) {
        let Call { a, b, c, finish, .. } = call;
        // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
        return unsafe { row::compute(arch, a, b, c, finish) };
    }
    // Rows rarely begin with a line of the cache, and registers of 512 bits would straddle two of them each time.
    let narrow = arch.of_256_bits();
    if outer::is_in_registers(&call.b, &call.c, narrow.lanes::<T>()) {
        let Call { a, b, c, finish, .. } = call;
        // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
        unsafe { outer::compute(narrow, pool, a, b, c, finish) };
        return Ok(());
    }
    if work <= PLANNED_WORK && call.size[2] <= kc::<T>() && call.b.strides()[1] == 1 {
        let Call { size: [m, n, k], a, b, c, finish } = call;
        let (left, right) = (Strided::rows(a, 0, 0), Strided::columns(b, 0, 0));
        let block = Block { left, right, depth: k, rows: m, cols: n, row: 0, col: 0, c };
        // SAFETY: operands in place, which hold the block; `c` is an exclusive view without repeated elements, the epilogue was
        // checked.
        unsafe { block.compute(arch, finish) };
        return Ok(());
    }
    let last = leftover::for_columns(arch, &call.a, call.size);
    let last = (last > 0).then(|| {
        let Call { a, b, c, finish, .. } = call.split_off_cols(last);
        AlongColumns { a, b, c, finish }
    });
    let Call { size: size @ [_, _, k], a, b, c, finish } = call;
    let blocking = Blocking::of::<T>(arch, k);
    let (rows, columns) = (Dense(a), Dense(b.t()));
    let plan = Plan::of(a, b, &blocking);
    let blocking = Blocking { mc: plan.mc, ..blocking };
    let a = if plan.pack_a { Operand::Source(&rows) } else { Operand::InPlace(a) };
    let b = if plan.pack_b { Operand::Source(&columns) } else { Operand::InPlace(b) };
    let product = Product { size, a, b, c, finish, last };
    // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
    unsafe { product.compute_in(arch, pool, blocking) };
    Ok(())
}

/// A product whose operands fit.
struct Call<'a, T> {
    /// `[m, n, k]`.
    size: [usize; 3],
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    c: Output<T>,
    finish: General<'a, T>,
}

impl<T: Element> Call<'_, T> {
    /// Cᵀ = Bᵀ·Aᵀ, if `turned`.
    fn turned_if(self, turned: bool) -> Self {
        let Self { size: [m, n, k], a, b, c, finish } = self;
        match turned {
            true => Self { size: [n, m, k], a: b.t(), b: a.t(), c: c.t(), finish: finish.t() },
            false => self,
        }
    }

    /// Leaves this without its last columns, which the result has.
    fn split_off_cols(&mut self, last: usize) -> Self {
        let [m, n, k] = self.size;
        let first = n - last;
        let (left, right) = self.b.split_cols(first);
        (self.size, self.b) = ([m, first, k], left);
        let (c, finish) = (self.c.from(0, first), self.finish.starting_at_col(first));
        Self { size: [m, last, k], a: self.a, b: right, c, finish }
    }
}

/// `[m, n, k]`, where they fit.
fn check<T>(
    [m, k]: [usize; 2],
    [k_b, n]: [usize; 2],
    [m_c, n_c]: [usize; 2],
    epilogue: Epilogue<'_, T>,
) -> Result<[usize; 3]> {
    const OP: &str = "gemm";
    if k != k_b || [m_c, n_c] != [m, n] {
        let problem =
            format!("A is {m}×{k} and B {k_b}×{n}, C is {m_c}×{n_c}: expected m×k, k×n and m×n");
        return Err(Error::Shape { op: OP, problem });
    }
    match epilogue.bias {
        Bias::None => {}
        Bias::PerRow(bias) => check_len(OP, "bias (one for each row)", bias, m)?,
        Bias::PerColumn(bias) => check_len(OP, "bias (one for each column)", bias, n)?,
    }
    Ok([m, n, k])
}
