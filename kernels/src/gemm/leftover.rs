//! The last columns of C, where whole registers leave a few: a register that holds no more takes as long as a full one, and a
//! tile of 50 columns as long as one of 56. As vectors of their own they cost what they are.

use std::ops::Range;

use super::PLANNED_WORK;
use super::blocking::Blocking;
use super::epilogue::General;
use super::gemv;
use super::macrokernel::Block;
use super::output::Output;
use super::panels::Strided;
use crate::arch::Arch;
use crate::element::Element;
use crate::view::MatRef;

/// At most so many columns, and this share of a register.
const MOST: usize = gemv::VECTORS;
const SHARE: usize = 2;
/// Rows from which dot products with them are worth a call. No other number of rows may decide about them: they add up in another order
/// than a register does, and a row has to be the same in every product.
const ROWS_FOR_DOTS: usize = gemv::MANY_ROWS;
/// Depth, for each column, from which a row's dot products take less than its part of a register: it would be a panel of its own
/// behind whole panels, whose tiles load more than they add up, else the second half of one.
const DEPTH_BEHIND_PANELS: usize = 16;
const DEPTH_WITHIN_PANEL: usize = 24;
/// Depth up to which a row of A is still in L2 when the products come to it.
const MOST_DEPTH: usize = 1024;
/// Depth from which lanes along A's columns are worth a second product, where the first is worth planning.
const DEPTH_FOR_COLUMNS: usize = 16;

/// How many of the last columns of A·B, of `[m, n, k]`, are to be dot products with A's rows, by [`gemv::compute`].
pub(super) fn for_dots<T: Element>(arch: Arch, a: &MatRef<'_, T>, [m, n, k]: [usize; 3]) -> usize {
    let lanes = arch.lanes::<T>();
    let left = few_left(n, lanes);
    if left == 0 || m < ROWS_FOR_DOTS || k > MOST_DEPTH || !gemv::is_row_by_row(a, lanes) {
        return 0;
    }
    let depth = match (n - left).is_multiple_of(Blocking::of::<T>(arch, k).nr) {
        true => DEPTH_BEHIND_PANELS,
        false => DEPTH_WITHIN_PANEL,
    };
    if k >= left * depth { left } else { 0 }
}

/// How many are to be [`AlongColumns`] of A: those are contiguous. The sums are the same as in a tile.
pub(super) fn for_columns<T: Element>(
    arch: Arch,
    a: &MatRef<'_, T>,
    [m, n, k]: [usize; 3],
) -> usize {
    let work = m.saturating_mul(n).saturating_mul(k);
    let is_worth_it = a.strides()[0] == 1 && k >= DEPTH_FOR_COLUMNS && work > PLANNED_WORK;
    if is_worth_it { few_left(n, arch.lanes::<T>()) } else { 0 }
}

/// The columns that whole registers leave, if they are few.
fn few_left(n: usize, lanes: usize) -> usize {
    let left = n % lanes;
    if left <= MOST && left * SHARE <= lanes && n > lanes { left } else { 0 }
}

/// C = finish(A·B) with lanes along A's columns, Cᵀ = Bᵀ·Aᵀ with A where it is: the last columns of a product, of the rows that a task
/// has just read.
#[derive(Clone, Copy)]
pub(crate) struct AlongColumns<'a, T> {
    pub(super) a: MatRef<'a, T>,
    pub(super) b: MatRef<'a, T>,
    pub(super) c: Output<T>,
    pub(super) finish: General<'a, T>,
}

impl<T: Element> AlongColumns<'_, T> {
    /// These rows of C, over a block of the depth, whose finish this is.
    ///
    /// # Safety
    /// - A must be one that [`for_columns`] accepts, of as many columns as B has rows, and these within it.
    /// - These rows of C must be valid, for this call alone, and no two of their elements the same.
    /// - A bias must have an element for each row, or each column, of C.
    pub(super) unsafe fn compute(&self, arch: Arch, rows: Range<usize>, depth: Range<usize>) {
        let Self { a, b, c, finish } = *self;
        let block = Block {
            left: Strided::rows(b.t(), 0, depth.start),
            right: Strided::columns(a.t(), depth.start, rows.start),
            depth: depth.len(),
            rows: b.cols(),
            cols: rows.len(),
            row: 0,
            col: rows.start,
            c: c.t(),
        };
        // SAFETY: the caller's promises.
        unsafe { block.compute(arch, finish.t()) }
    }
}
