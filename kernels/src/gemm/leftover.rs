//! The last columns of C, where whole registers leave a few: a register that holds no more takes as long as a full one, and a
//! tile of 50 columns as long as one of 56. As vectors of their own they cost what they are.

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
/// Multiply-adds of A·B below which a call costs more than the columns, as dot products or along the columns of A.
const WORK_FOR_DOTS: usize = 1 << 15;
const WORK_FOR_LANES: usize = 1 << 16;
/// Depth, for each column, from which a row's dot products take less than its part of a register: it would be a panel of its own
/// behind whole panels, whose tiles load more than they add up, else the second half of one.
const DEPTH_BEHIND_PANELS: usize = 8;
const DEPTH_WITHIN_PANEL: usize = 24;
/// Depth from which lanes along A's columns are worth a second product.
const DEPTH_FOR_LANES: usize = 16;
/// Depth up to which a row of A is still in L2 when the products come to it.
const MOST_DEPTH: usize = 1024;
/// A's share of L3, up to which it is worth another pass.
const SHARE_OF_L3: usize = 8;

/// How many of the last columns of A·B, of `[m, n, k]`, are left to [`compute`].
pub(super) fn count<T: Element>(arch: Arch, a: &MatRef<'_, T>, [m, n, k]: [usize; 3]) -> usize {
    let lanes = arch.lanes::<T>();
    let left = n % lanes;
    let few = (1..=MOST).contains(&left) && left * SHARE <= lanes && n > lanes;
    let work = m.saturating_mul(n).saturating_mul(k);
    if !few || work <= WORK_FOR_DOTS {
        return 0;
    }
    let depth = match (n - left).is_multiple_of(Blocking::of::<T>(arch, k).nr) {
        true => DEPTH_BEHIND_PANELS,
        false => DEPTH_WITHIN_PANEL,
    };
    let for_dots = gemv::is_row_by_row(a, lanes) && (left * depth..=MOST_DEPTH).contains(&k);
    if for_dots || (work > WORK_FOR_LANES && is_column_by_column(a)) { left } else { 0 }
}

/// Whether lanes can run along the columns of `a`, which are in a cache when they are read again.
fn is_column_by_column<T: Element>(a: &MatRef<'_, T>) -> bool {
    let bytes = a.rows().saturating_mul(a.cols()).saturating_mul(size_of::<T>());
    a.strides()[0] == 1
        && a.cols() >= DEPTH_FOR_LANES
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
) {
    // SAFETY: the caller's promises.
    unsafe {
        if gemv::is_row_by_row(&a, arch.lanes::<T>()) {
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
        .compute(arch, pool);
    }
}
