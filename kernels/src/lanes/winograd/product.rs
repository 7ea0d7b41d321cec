//! The products at the positions.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::simd::Vector;

/// Rows of a micro-tile at most: times two registers 12 sums, and three registers more are needed.
pub(super) const ROWS: usize = 6;

/// How A lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum A {
    /// Micro-tile by micro-tile of rows, and each column by column.
    Packed,
    /// Row by row, so many elements apart.
    Rows(usize),
}

/// C = A·B at each of some positions. All sizes and strides are in elements, but for the registers of a row.
#[derive(Clone, Copy)]
pub(super) struct Products<T> {
    pub(super) positions: usize,
    /// Of A and C.
    pub(super) rows: usize,
    /// Columns of A and rows of B.
    pub(super) depth: usize,
    /// Of a row of B and C.
    pub(super) registers: usize,
    pub(super) a: *const T,
    pub(super) a_layout: A,
    pub(super) a_position: usize,
    pub(super) b: *const T,
    /// From position to position, row to row and register to register.
    pub(super) b_strides: [usize; 3],
    pub(super) c: *mut T,
    /// From position to position and row to row; the registers are side by side.
    pub(super) c_strides: [usize; 2],
    /// Whether the products are added to C.
    pub(super) accumulate: bool,
}

impl<T: Element> Products<T> {
    /// # Safety
    /// - A, B and C must be valid at the places that sizes and strides say, C for writing too, and nobody else may touch C.
    /// - The registers must be those of `arch`.
    pub(super) unsafe fn run(self, arch: Arch) {
        struct Run<T>(Products<T>);
        impl<T: Element> WithSimd for Run<T> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `run`, which alone makes a Run.
                unsafe {
                    match self.0.a_layout {
                        A::Packed => self.0.all::<S, true>(simd, 1),
                        A::Rows(stride) => self.0.all::<S, false>(simd, stride),
                    }
                }
            }
        }
        arch.dispatch(Run(self));
    }

    /// # Safety
    /// As [`Products::run`].
    #[inline(always)]
    unsafe fn all<S: Simd, const PACKED: bool>(&self, simd: S, a_row: usize) {
        let lanes = Vector::<T, S>::len();
        for position in 0..self.positions {
            let a = self.a.wrapping_add(position * self.a_position);
            // All rows meet two registers of B while these are in L1.
            for register in (0..self.registers).step_by(2) {
                let offset = position * self.b_strides[0] + register * self.b_strides[2];
                let b = self.b.wrapping_add(offset);
                let c = self.c.wrapping_add(position * self.c_strides[0] + register * lanes);
                let pair = register + 1 < self.registers;
                for [row, end] in micro_tiles(self.rows) {
                    let a = a.wrapping_add(row * if PACKED { self.depth } else { a_row });
                    let c = c.wrapping_add(row * self.c_strides[1]);
                    macro_rules! tile {
                        ($($rows:literal)*) => {
                            match end - row {
                                // SAFETY: the caller's promise.
                                $($rows if pair => unsafe { self.tile::<S, PACKED, $rows, 2>(simd, a, a_row, b, c) },
                                // SAFETY: the caller's promise.
                                $rows => unsafe { self.tile::<S, PACKED, $rows, 1>(simd, a, a_row, b, c) },)*
                                _ => unreachable!("heights of micro_tiles"),
                            }
                        };
                    }
                    tile!(6 4 2 1);
                }
            }
        }
    }

    /// # Safety
    /// As [`Products::run`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const PACKED: bool, const R: usize, const V: usize>(
        &self,
        simd: S,
        a: *const T,
        a_row: usize,
        b: *const T,
        c: *mut T,
    ) {
        let lanes = Vector::<T, S>::len();
        let ([_, b_row, b_register], [_, c_row]) = (self.b_strides, self.c_strides);
        let mut sums = [[Vector::zero(simd); V]; R];
        let mut rows = [a; R];
        for r in 0..R {
            rows[r] = a.wrapping_add(r * a_row);
        }
        for d in 0..self.depth {
            // SAFETY: the caller's promise.
            unsafe {
                let mut b_here = [Vector::zero(simd); V];
                for j in 0..V {
                    b_here[j] = Vector::load_ptr(simd, b.add(d * b_row + j * b_register));
                }
                for r in 0..R {
                    let a = if PACKED { a.add(d * R + r) } else { rows[r].add(d) };
                    let a = Vector::splat(simd, *a);
                    for j in 0..V {
                        sums[r][j] = a.mul_add(b_here[j], sums[r][j]);
                    }
                }
            }
        }
        for r in 0..R {
            for j in 0..V {
                let c = c.wrapping_add(r * c_row + j * lanes);
                // SAFETY: the caller's promise.
                unsafe {
                    let sum = sums[r][j];
                    let sum = if self.accumulate { sum + Vector::load_ptr(simd, c) } else { sum };
                    sum.store_ptr(c);
                }
            }
        }
    }
}

/// The first row of each micro-tile of so many rows, and the one after its last.
pub(super) fn micro_tiles(rows: usize) -> impl Iterator<Item = [usize; 2]> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = rows - first;
        // Twice 4 is better than 6 and 2.
        let most = if left == 8 { 4 } else { left.min(ROWS) };
        let height = [6, 4, 2, 1].into_iter().find(|&height| height <= most)?;
        first += height;
        Some([first - height, first])
    })
}
