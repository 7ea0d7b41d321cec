//! The last columns of C, where whole registers leave a few: a register that holds no more takes as long as a full one, and a
//! tile of 50 columns as long as one of 56. As vectors of their own they cost what they are.

use std::ops::RangeInclusive;

use super::blocking::Blocking;
use super::caches::Caches;
use super::driver::{Operand, Product};
use super::epilogue::General;
use super::gemv;
use super::output::Output;
use super::packing::Dense;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::view::MatRef;

/// At most so many columns, and this share of a register.
const MOST: usize = gemv::VECTORS;
const SHARE: usize = 2;
/// Depth from which a row's dot products take less than its part of a register, and up to which its rows are still in L2 when the
/// products come to them.
const DEPTHS_FOR_DOTS: RangeInclusive<usize> = 128..=1024;

/// A's share of L3, up to which it is worth another pass.
const SHARE_OF_L3: usize = 8;

/// How many of the `n` columns of A·B are left to [`compute`].
pub(super) fn count<T: Element>(a: &MatRef<'_, T>, n: usize, blocking: &Blocking) -> usize {
    let left = n % blocking.lanes;
    let few = left <= MOST && left * SHARE <= blocking.lanes && n > blocking.lanes;
    if few && (is_for_dots(a) || is_column_by_column(a)) { left } else { 0 }
}

/// Whether dot products with the rows of `a` are worth their sums over lanes, which add up in another order than a register does: so
/// the number of rows has no say, and a row is the same in every block.
fn is_for_dots<T: Element>(a: &MatRef<'_, T>) -> bool {
    gemv::is_row_by_row(a) && DEPTHS_FOR_DOTS.contains(&a.cols())
}

/// Whether lanes can run along the columns of `a` instead, which are in a cache when they are read again.
fn is_column_by_column<T: Element>(a: &MatRef<'_, T>) -> bool {
    let bytes = a.rows().saturating_mul(a.cols()).saturating_mul(size_of::<T>());
    a.strides()[0] == 1
        && a.cols() >= gemv::SHORTEST
        && bytes <= Caches::of_machine().l3 / SHARE_OF_L3
}

/// C = finish(A·B), of up to [`MOST`] columns, in the blocks of the columns before them.
///
/// # Safety
/// - A must be one that [`count`] accepts, of as many columns as B has rows.
/// - `c` must be valid for their product, for this call alone, and no two of its elements the same.
/// - A bias must have an element for each row, or each column.
pub(super) unsafe fn compute<T: Element>(
    arch: Arch,
    pool: Pool,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    c: Output<T>,
    finish: General<'_, T>,
    blocking: Blocking,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if is_for_dots(&a) {
            return gemv::compute(arch, pool, a, b, c, finish);
        }
        // Cᵀ = Bᵀ·Aᵀ, with A where it is.
        Product {
            size: [b.cols(), a.rows(), a.cols()],
            a: Operand::<T, Dense<'_, T>>::InPlace(b.t()),
            b: Operand::<T, Dense<'_, T>>::InPlace(a.t()),
            c: c.t(),
            finish: finish.t(),
        }
        .compute_in(arch, pool, blocking);
    }
}
