//! One micro-tile of C: the loop that does all the arithmetic.

use pulp::Simd;

use super::epilogue::Finish;
use crate::element::Element;
use crate::simd::Vector;

/// Where a tile lies in C.
#[derive(Clone, Copy)]
pub(super) struct At<T> {
    /// Its first element; columns are contiguous.
    pub(super) c: *mut T,
    pub(super) row_stride: isize,
    /// Its first row and column within C, for the bias.
    pub(super) row: usize,
    pub(super) col: usize,
}

/// C[ROWS × NR] = finish(A panel · B panel) for one tile.
///
/// # Safety
/// - `a` must be valid for reading `depth` steps of `a_step` elements, of which the first ROWS are used
///   (ROWS ≤ a_step), and `b` for `depth` steps of NR = VECTORS registers.
/// - `at.c` must be valid for writing (and, where `finish` reads C, for reading) ROWS rows of NR elements,
///   `at.row_stride` apart, and no other thread may touch them.
/// - `at.row` and `at.col` must satisfy [`Finish::finish`].
#[inline(always)]
pub(super) unsafe fn microkernel<T, S, F, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    depth: usize,
    mut a: *const T,
    a_step: usize,
    mut b: *const T,
    at: At<T>,
    finish: &F,
) where
    T: Element,
    S: Simd,
    F: Finish<T>,
{
    let lanes = Vector::<T, S>::len();
    let mut sums = [[Vector::zero(simd); VECTORS]; ROWS];
    for _ in 0..depth {
        // SAFETY: the panels hold `depth` steps, the caller's promise.
        unsafe {
            let b_step: [_; VECTORS] =
                std::array::from_fn(|j| Vector::load_ptr(simd, b.add(j * lanes)));
            for (i, row) in sums.iter_mut().enumerate() {
                let a_i = Vector::splat(simd, *a.add(i));
                for (sum, b_j) in row.iter_mut().zip(b_step) {
                    *sum = a_i.mul_add(b_j, *sum);
                }
            }
            a = a.add(a_step);
            b = b.add(VECTORS * lanes);
        }
    }
    for (i, row) in sums.into_iter().enumerate() {
        let c_row = at.c.wrapping_offset(i as isize * at.row_stride);
        for (j, sum) in row.into_iter().enumerate() {
            // SAFETY: row i and register j of the tile, the caller's promise.
            unsafe {
                let c = c_row.add(j * lanes);
                finish.finish(simd, sum, c, at.row + i, at.col + j * lanes).store_ptr(c);
            }
        }
    }
}
