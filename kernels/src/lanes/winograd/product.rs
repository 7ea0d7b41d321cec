//! The products at the positions.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::simd::Vector;

/// Rows of a micro-tile at most: times two registers 12 sums, and three registers more are needed.
const ROWS: usize = 6;

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
    /// From position to position and row to row.
    pub(super) a_strides: [usize; 2],
    pub(super) b: *const T,
    /// From position to position, row to row and register to register.
    pub(super) b_strides: [usize; 3],
    pub(super) c: *mut T,
    /// From position to position and row to row; the registers are side by side.
    pub(super) c_strides: [usize; 2],
    /// Whether the products are added to C.
    pub(super) accumulate: bool,
    /// Columns of A whose products are summed before they are added to the others.
    pub(super) stretch: usize,
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
                unsafe { self.0.all(simd) }
            }
        }
        arch.dispatch(Run(self));
    }

    /// # Safety
    /// As [`Products::run`].
    #[inline(always)]
    unsafe fn all<S: Simd>(&self, simd: S) {
        let lanes = Vector::<T, S>::len();
        // Offsets whose relation is hidden: else the compiler adds the stride from row to row, on ports that the multiply-adds need.
        let mut rows = [0; ROWS];
        for r in 0..ROWS {
            rows[r] = r * self.a_strides[1];
        }
        let rows = std::hint::black_box(rows);
        let counts = micro_tiles(self.rows);
        for position in 0..self.positions {
            let a = self.a.wrapping_add(position * self.a_strides[0]);
            // All rows meet two registers of B while these are in L1.
            for register in (0..self.registers).step_by(2) {
                let offset = position * self.b_strides[0] + register * self.b_strides[2];
                let b = self.b.wrapping_add(offset);
                let c = self.c.wrapping_add(position * self.c_strides[0] + register * lanes);
                let pair = register + 1 < self.registers;
                let (mut a, mut c) = (a, c);
                macro_rules! tiles {
                    ($($height:literal $rows:literal)*) => {
                        $(for _ in 0..counts[$height] {
                            // SAFETY: the caller's promise.
                            unsafe {
                                if pair {
                                    self.tile::<S, $rows, 2>(simd, a, b, c, rows);
                                } else {
                                    self.tile::<S, $rows, 1>(simd, a, b, c, rows);
                                }
                            }
                            a = a.wrapping_add($rows * self.a_strides[1]);
                            c = c.wrapping_add($rows * self.c_strides[1]);
                        })*
                    };
                }
                tiles!(0 6 1 4 2 2 3 1);
            }
        }
    }

    /// # Safety
    /// As [`Products::run`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        a: *const T,
        b: *const T,
        c: *mut T,
        rows: [usize; ROWS],
    ) {
        let lanes = Vector::<T, S>::len();
        let ([_, b_row, b_register], [_, c_row]) = (self.b_strides, self.c_strides);
        let mut first = 0;
        while first < self.depth {
            let end = self.depth.min(first + self.stretch);
            let mut sums = [[Vector::zero(simd); V]; R];
            for d in first..end {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut b_here = [Vector::zero(simd); V];
                    for j in 0..V {
                        b_here[j] = Vector::load_ptr(simd, b.add(d * b_row + j * b_register));
                    }
                    for r in 0..R {
                        let a = Vector::splat(simd, *a.add(d + rows[r]));
                        for j in 0..V {
                            sums[r][j] = a.mul_add(b_here[j], sums[r][j]);
                        }
                    }
                }
            }
            let accumulate = self.accumulate || first > 0;
            for r in 0..R {
                for j in 0..V {
                    let (sum, c) = (sums[r][j], c.wrapping_add(r * c_row + j * lanes));
                    // SAFETY: the caller's promise.
                    unsafe {
                        let sum = if accumulate { sum + Vector::load_ptr(simd, c) } else { sum };
                        sum.store_ptr(c);
                    }
                }
            }
            first = end;
        }
    }
}

/// How many micro-tiles of 6, 4, 2 and 1 rows so many rows are cut into.
fn micro_tiles(rows: usize) -> [usize; 4] {
    // Twice 4 is better than 6 and 2.
    let six = rows / ROWS - usize::from(rows % ROWS == 2 && rows > 2);
    let left = rows - six * ROWS;
    [six, left / 4, left % 4 / 2, left % 2]
}
