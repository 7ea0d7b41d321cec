//! A matrix times a vector, where the matrix lies row by row: a dot product for each row, lanes along the depth. The matrix is
//! read once, so nothing is packed. (A vector times such a matrix: `row.rs`.)

use pulp::{Scalar, Simd, WithSimd};

use super::blocking::Blocking;
use super::driver::TASK_WORK;
use super::epilogue::General;
use super::macrokernel::Output;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::simd::{Mask, Vector};
use crate::view::MatRef;
use crate::workspace::with_scratch;

/// Depth below which the sums over lanes cost more than the products.
const SHORTEST: usize = 16;
/// Rows at a time, with two registers of sums each: 8 chains, and each register of the vector is loaded once for all of them.
const ROWS: usize = 4;

/// Whether `matrix` lies row by row, as [`compute`] wants it.
pub(super) fn is_row_by_row<T: Element>(matrix: &MatRef<'_, T>) -> bool {
    matrix.strides()[1] == 1 && matrix.cols() >= SHORTEST
}

/// C = finish(matrix · vector) for m×k and k×1.
///
/// # Safety
/// - The rows of `matrix` must be contiguous, and as long as `vector`.
/// - `c` must be valid for m×1 elements, for this call alone, and no two of them the same.
/// - A bias must have m elements (per row) or one (per column).
pub(super) unsafe fn compute<T: Element>(
    arch: Arch,
    pool: Pool,
    matrix: MatRef<'_, T>,
    vector: MatRef<'_, T>,
    c: Output<T>,
    finish: General<'_, T>,
) {
    let ([rows, depth], task) = (matrix.shape(), TASK_WORK.div_ceil(matrix.cols()));
    with_scratch(depth, |x| {
        x.iter_mut().enumerate().for_each(|(d, x)| *x = vector.get(d, 0));
        let x = &*x;
        // In the blocks of every other product, so that C gets the same sums in the same steps.
        let kc = Blocking::of::<T>(arch, depth).kc;
        pool.for_each(rows.div_ceil(task), |index| {
            let rows = [index * task, rows.min((index + 1) * task)];
            for start in (0..depth).step_by(kc) {
                let end = depth.min(start + kc);
                let finish = finish.of_block(start == 0, end == depth);
                arch.dispatch(Dots { matrix, start, x: &x[start..end], c, finish, rows });
            }
        });
    });
}

struct Dots<'a, T> {
    matrix: MatRef<'a, T>,
    /// The first depth of this block, and the vector over it.
    start: usize,
    x: &'a [T],
    c: Output<T>,
    finish: General<'a, T>,
    /// The first row, and the one after the last.
    rows: [usize; 2],
}

impl<T: Element> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [first, end] = self.rows;
        let whole = first + (end - first) / ROWS * ROWS;
        // SAFETY: promised to `compute`, which alone makes Dots, of disjoint rows.
        unsafe {
            for row in (first..whole).step_by(ROWS) {
                self.dots::<S, ROWS>(simd, row);
            }
            for row in whole..end {
                self.dots::<S, 1>(simd, row);
            }
        }
    }
}

impl<T: Element> Dots<'_, T> {
    /// # Safety
    /// - The `R` rows from `row` on must lie within the matrix and C, and be this thread's alone.
    #[inline(always)]
    unsafe fn dots<S: Simd, const R: usize>(&self, simd: S, row: usize) {
        let (lanes, depth) = (Vector::<T, S>::len(), self.x.len());
        let lines: [_; R] = std::array::from_fn(|i| self.matrix.at(row + i, self.start));
        let mut sums = [[Vector::zero(simd); 2]; R];
        let mut d = 0;
        // SAFETY: `d` and the registers from it on lie within the depth; the last one's lanes do.
        unsafe {
            while d + 2 * lanes <= depth {
                for half in 0..2 {
                    let at = d + half * lanes;
                    let x = Vector::load_ptr(simd, self.x.as_ptr().add(at));
                    for (sums, line) in sums.iter_mut().zip(lines) {
                        let a = Vector::load_ptr(simd, line.add(at));
                        sums[half] = a.mul_add(x, sums[half]);
                    }
                }
                d += 2 * lanes;
            }
            for half in 0..2 {
                let mask = Mask::first(simd, (depth - d).min(lanes));
                let x = Vector::load_masked(simd, mask, self.x.as_ptr().wrapping_add(d));
                for (sums, line) in sums.iter_mut().zip(lines) {
                    let a = Vector::load_masked(simd, mask, line.wrapping_add(d));
                    sums[half] = a.mul_add(x, sums[half]);
                }
                d += (depth - d).min(lanes);
            }
        }
        for (i, [even, odd]) in sums.into_iter().enumerate() {
            let sum = Vector::splat(Scalar::new(), (even + odd).sum());
            // SAFETY: an element of C, the caller's promise; its row and column are within a bias.
            unsafe {
                let c = self.c.at(row + i, 0);
                self.finish.finish(Scalar::new(), sum, c, row + i, 0).store_ptr(c);
            }
        }
    }
}
