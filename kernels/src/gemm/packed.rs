//! Operands packed once, for callers whose weights stay.

use super::blocking::Blocking;
use super::driver::{Operand, Product, pack_left, pack_right};
use super::epilogue::{Epilogue, General};
use super::output::Output;
use super::packing::{Dense, packed_len};
use super::plan::Plan;
use super::{check, work_and_pool};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::Pool;
use crate::view::{MatMut, MatRef};

/// A of m×k in the order the kernel reads it, for the instruction set that was selected when it was made.
#[derive(Debug, Clone)]
pub struct PackedA<T> {
    panels: Vec<T>,
    shape: [usize; 2],
    arch: Arch,
}

/// B of k×n in the order the kernel reads it, for the instruction set that was selected when it was made.
#[derive(Debug, Clone)]
pub struct PackedB<T> {
    panels: Vec<T>,
    shape: [usize; 2],
    arch: Arch,
}

impl<T: Element> PackedA<T> {
    /// Packs `a`, any strides.
    ///
    /// # Errors
    /// [`crate::Error::InstructionSet`] where `KASOKU_SIMD` names one the machine lacks.
    pub fn new(a: MatRef<'_, T>) -> Result<Self> {
        let (arch, shape) = (Arch::current()?, a.shape());
        let mr = Blocking::of::<T>(arch, shape[1]).mr;
        let mut panels = vec![T::zero(); packed_len(shape[0], mr, shape[1])];
        pack_left(arch, Pool::SERIAL, &Dense(a), shape, &mut panels);
        Ok(Self { panels, shape, arch })
    }

    /// `[m, k]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }
}

impl<T: Element> PackedB<T> {
    /// Packs `b`, any strides.
    ///
    /// # Errors
    /// [`crate::Error::InstructionSet`] where `KASOKU_SIMD` names one the machine lacks.
    pub fn new(b: MatRef<'_, T>) -> Result<Self> {
        let (arch, shape) = (Arch::current()?, b.shape());
        let nr = Blocking::of::<T>(arch, shape[0]).nr;
        let mut panels = vec![T::zero(); packed_len(shape[1], nr, shape[0])];
        pack_right(arch, Pool::SERIAL, &Dense(b.t()), shape, &mut panels);
        Ok(Self { panels, shape, arch })
    }

    /// `[k, n]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }
}

/// [`super::gemm_with`] with A packed before. C's rows should be contiguous; tiles are copied to others by way of the stack.
///
/// # Errors
/// As [`super::gemm_with`].
pub fn gemm_packed_a<T: Element>(
    alpha: T,
    a: &PackedA<T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) -> Result<()> {
    let size @ [m, _, k] = check(a.shape, b.shape(), c.shape(), epilogue)?;
    let (_, pool) = work_and_pool::<T>(size)?;
    let columns = Dense(b.t());
    let plan = Plan::of_right(m, b, &Blocking::of::<T>(a.arch, k));
    let product = Product {
        size,
        a: Operand::<T, Dense<'_, T>>::Packed(&a.panels),
        b: if plan { Operand::Source(&columns) } else { Operand::InPlace(b) },
        c: Output { start: c.as_mut_ptr(), strides: c.strides() },
        finish: General::new(alpha, beta, epilogue),
        last: None,
    };
    // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
    unsafe { product.compute(a.arch, pool) };
    Ok(())
}

/// [`super::gemm_with`] with B packed before. C's rows should be contiguous; tiles are copied to others by way of the stack.
///
/// # Errors
/// As [`super::gemm_with`].
pub fn gemm_packed_b<T: Element>(
    alpha: T,
    a: MatRef<'_, T>,
    b: &PackedB<T>,
    beta: T,
    mut c: MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) -> Result<()> {
    let size @ [_, n, k] = check(a.shape(), b.shape, c.shape(), epilogue)?;
    let (_, pool) = work_and_pool::<T>(size)?;
    let (rows, blocking) = (Dense(a), Blocking::of::<T>(b.arch, k));
    let product = Product {
        size,
        a: if Plan::of_left(a, n, &blocking) {
            Operand::Source(&rows)
        } else {
            Operand::InPlace(a)
        },
        b: Operand::<T, Dense<'_, T>>::Packed(&b.panels),
        c: Output { start: c.as_mut_ptr(), strides: c.strides() },
        finish: General::new(alpha, beta, epilogue),
        last: None,
    };
    // SAFETY: `c` is an exclusive view without repeated elements, the epilogue was checked.
    unsafe { product.compute(b.arch, pool) };
    Ok(())
}
