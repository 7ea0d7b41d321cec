//! C, and how tiles get there from the stack and back: where its last column cuts them off, or its rows run the other way.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::panels::Columns;
use crate::element::Element;
use crate::simd::{MAX_LANES, Mask, Vector};

/// C while tasks write to it, each to tiles of its own.
#[derive(Clone, Copy)]
pub struct Output<T> {
    pub(crate) start: *mut T,
    pub(crate) strides: [isize; 2],
}

// SAFETY: tasks write disjoint tiles; whoever hands an Output to them guarantees it.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    /// Cᵀ.
    pub(super) fn t(self) -> Self {
        let [row_stride, col_stride] = self.strides;
        Self { strides: [col_stride, row_stride], ..self }
    }

    pub(super) fn at(self, row: usize, col: usize) -> *mut T {
        let [row_stride, col_stride] = self.strides;
        self.start.wrapping_offset(row as isize * row_stride + col as isize * col_stride)
    }
}

impl<T: Copy> Output<T> {
    /// The same from (row, col) on.
    pub(super) fn from(self, row: usize, col: usize) -> Self {
        Self { start: self.at(row, col), ..self }
    }
}

/// Where a tile lies in C: rows `row_stride` apart, and a register's worth of columns for each of V.
#[derive(Clone, Copy)]
pub(super) struct At<T, C> {
    pub(super) first_row: *mut T,
    pub(super) row_stride: isize,
    /// Where each register begins, from `first_row`.
    pub(super) columns: C,
    /// The tile's first row and column within C, for the bias.
    pub(super) row: usize,
    pub(super) col: usize,
}

impl<T, C: Columns> At<T, C> {
    /// The address of register `j` of row `i`.
    #[inline(always)]
    pub(super) fn register(&self, i: usize, j: usize, lanes: usize) -> *mut T {
        let row = self.first_row.wrapping_offset(i as isize * self.row_stride);
        row.wrapping_add(self.columns.at(j, lanes))
    }
}

/// Copies `ROWS` × `cols` cells, of whatever strides.
///
/// # Safety
/// - Both must be valid for `ROWS` × `cols` elements, apart from each other.
#[inline(always)]
pub(super) unsafe fn copy_cells<T: Element, S: Simd, const ROWS: usize>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    cols: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (from.strides, to.strides) {
            ([_, 1], [_, 1]) => copy_rows(simd, from, to, [ROWS, cols]),
            _ => turn_cells::<T, S, ROWS>(simd, from, to, cols),
        }
    }
}

/// [`copy_cells`] where some are columns: a function of its own, one for many kernels.
///
/// # Safety
/// As [`copy_cells`].
#[inline(never)]
unsafe fn turn_cells<T: Element, S: Simd, const ROWS: usize>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    cols: usize,
) {
    struct Turn<T, const ROWS: usize> {
        from: Output<T>,
        to: Output<T>,
        cols: usize,
    }
    impl<T: Element, const ROWS: usize> WithSimd for Turn<T, ROWS> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { from, to, cols } = self;
            // SAFETY: promised to `turn_cells`, which alone makes a Turn.
            unsafe {
                match (from.strides, to.strides) {
                    ([_, 1], [1, _]) => turn_squares(simd, from, to, [ROWS, cols]),
                    ([1, _], [_, 1]) => turn_squares(simd, from.t(), to.t(), [cols, ROWS]),
                    _ => copy_each(from, to, [ROWS, cols]),
                }
            }
        }
    }
    simd.vectorize(Turn::<T, ROWS> { from, to, cols });
}

/// [`copy_cells`] of contiguous rows, in registers. The last one is masked where that is one instruction, else it overlaps the one
/// before it.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn copy_rows<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    [rows, cols]: [usize; 2],
) {
    let lanes = T::lanes::<S>();
    let whole = cols / lanes;
    let last = Mask::first(simd, cols % lanes);
    // SAFETY: the caller's promise.
    unsafe {
        if cols < lanes && !Vector::<T, S>::HAS_MASKED_STORES {
            return copy_each(from, to, [rows, cols]);
        }
        for i in 0..rows {
            for register in 0..whole {
                let j = register * lanes;
                Vector::load_ptr(simd, from.at(i, j)).store_ptr(to.at(i, j));
            }
            if Vector::<T, S>::HAS_MASKED_STORES {
                let (from, to) = (from.at(i, whole * lanes), to.at(i, whole * lanes));
                Vector::load_masked(simd, last, from).store_masked(last, to);
            } else if !cols.is_multiple_of(lanes) {
                let j = cols - lanes;
                Vector::load_ptr(simd, from.at(i, j)).store_ptr(to.at(i, j));
            }
        }
    }
}

/// [`copy_cells`] of contiguous rows to contiguous columns: square by square, of which the last overlap those before them.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn turn_squares<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    [rows, cols]: [usize; 2],
) {
    let side = T::SIDE;
    for i in (0..rows).step_by(side) {
        for j in (0..cols).step_by(side) {
            // SAFETY: the caller's promise; a square ends with the last row and the last column at most.
            unsafe {
                let turned = cols >= side && to.strides[1] > 0 && {
                    let (i, j) = (i.min(rows.saturating_sub(side)), j.min(cols - side));
                    turn_square(simd, from.from(i, j), to.from(i, j), rows.min(side))
                };
                if !turned {
                    let (from, to) = (from.from(i, j), to.from(i, j));
                    copy_each(from, to, [side.min(rows - i), side.min(cols - j)]);
                }
            }
        }
    }
}

/// One square of [`turn_squares`], or its first `rows` rows, if they are half of it and more: then by way of the stack, from where
/// their columns are copied as two halves of one, which overlap.
///
/// # Safety
/// As [`copy_cells`], for `rows` × SIDE elements; `to` must have a positive stride.
#[inline(always)]
unsafe fn turn_square<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    rows: usize,
) -> bool {
    let (side, half) = (T::SIDE, T::SIDE / 2);
    let (row, step) = (from.strides[0], to.strides[1] as usize);
    let mut on_stack = MaybeUninit::<[T; MAX_LANES * MAX_LANES]>::uninit();
    let square = on_stack.as_mut_ptr().cast::<T>();
    // SAFETY: the caller's promise; a square fits the largest registers' square.
    unsafe {
        if rows == side {
            return T::transpose(simd, from.start, row, side, to.start, step);
        }
        if rows < half || !T::transpose(simd, from.start, row, rows, square, side) {
            return false;
        }
        for j in 0..side {
            for first in [0, rows - half] {
                let (from, to) = (square.add(j * side + first), to.start.add(j * step + first));
                from.copy_to_nonoverlapping(to, half);
            }
        }
    }
    true
}

/// [`copy_cells`] one by one.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn copy_each<T: Element>(from: Output<T>, to: Output<T>, [rows, cols]: [usize; 2]) {
    for i in 0..rows {
        for j in 0..cols {
            // SAFETY: the caller's promise.
            unsafe { *to.at(i, j) = *from.at(i, j) };
        }
    }
}
