//! A matrix times a vector, or a few, where the matrix lies row by row: dot products with each row, lanes along the depth. The
//! matrix is read once, so nothing is packed. (A vector times such a matrix: `row.rs`.)
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::blocking::Blocking;
use super::driver::{TASK_WORK, piece};
use super::epilogue::General;
use super::output::{At, Output};
use super::panels::{Columns, Rows, SideBySide, Walk};
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::simd::{Mask, Vector};
use crate::view::MatRef;
use crate::workspace::with_scratch;

/// Vectors at most.
pub(super) const VECTORS: usize = 4;
/// Rows of the matrix for each vector, from which several are worth their copies; from so many on their number decides nothing.
const ROWS_FOR_EACH: usize = 4;
pub(super) const MANY_ROWS: usize = VECTORS * ROWS_FOR_EACH;

/// Whether the rows of `matrix` are contiguous, and each a register and more, as [`compute`] wants them.
pub(super) fn is_row_by_row<T: Element>(matrix: &MatRef<'_, T>, lanes: usize) -> bool {
    matrix.strides()[1] == 1 && matrix.cols() >= lanes
}

/// The instruction set with whose registers dot products with the rows of `matrix` are worth their sums over lanes, if there is one:
/// for `count` vectors a row has as many registers.
pub(super) fn arch_for<T: Element>(
    arch: Arch,
    matrix: &MatRef<'_, T>,
    count: usize,
) -> Option<Arch> {
    if !(1..=VECTORS).contains(&count) {
        return None;
    }
    let depth_of_each = matrix.cols() / count;
    let arch = arch.for_rows_of::<T>(depth_of_each);
    let lanes = arch.lanes::<T>();
    (depth_of_each >= lanes && is_row_by_row(matrix, lanes)).then_some(arch)
}

/// The same where a tile could take `count` columns of C as they are: they leave lanes of its registers unused, and rows are so many
/// that the vectors are worth their copies.
pub(super) fn arch_for_few_columns<T: Element>(
    arch: Arch,
    matrix: &MatRef<'_, T>,
    count: usize,
) -> Option<Arch> {
    let is_worth_it = matrix.rows() >= count * ROWS_FOR_EACH;
    arch_for(arch, matrix, count).filter(|arch| is_worth_it && count < arch.lanes::<T>())
}

/// C = finish(matrix · vectors) for m×k and k×n, n of 1 to [`VECTORS`].
///
/// # Safety
/// - The rows of `matrix` must be contiguous, a register and more, and as long as the columns of `vectors`.
/// - `c` must be valid for m×n elements, for this call alone, and no two of them the same.
/// - A bias must have m elements (per row) or n (per column).
pub(super) unsafe fn compute<T: Element>(
    arch: Arch,
    pool: Pool,
    matrix: MatRef<'_, T>,
    vectors: MatRef<'_, T>,
    c: Output<T>,
    finish: General<'_, T>,
) {
    let ([rows, depth], count) = (matrix.shape(), vectors.cols());
    let tasks = (rows * depth * count / TASK_WORK).max(1);
    with_scratch(count * depth, |x| {
        for (column, x) in x.chunks_exact_mut(depth).enumerate() {
            let mut from = vectors.at(0, column);
            for x in x {
                // SAFETY: an element of the view, which is as deep as `x` is long.
                *x = unsafe { *from };
                from = from.wrapping_offset(vectors.strides()[0]);
            }
        }
        let x = &*x;
        // In the blocks of every other product, so that C gets the same sums in the same steps.
        let kc = Blocking::of::<T>(arch, depth).kc;
        pool.for_each(tasks, |index| {
            let rows = piece(rows, 1, index, tasks);
            for start in (0..depth).step_by(kc) {
                let depth = [start, depth.min(start + kc)];
                let finish = finish.of_block(start == 0, depth[1] == matrix.cols());
                arch.dispatch(Dots { matrix, x, depth, c, finish, rows: rows.clone() });
            }
        });
    });
}

struct Dots<'a, T> {
    matrix: MatRef<'a, T>,
    /// The vectors, one after another.
    x: &'a [T],
    /// The first step of the block's depth, and the one after the last.
    depth: [usize; 2],
    c: Output<T>,
    finish: General<'a, T>,
    rows: Range<usize>,
}

impl<T: Element> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Range { start: mut row, end } = self.rows;
        // As many rows as make 8 chains and more, as far as registers go: of 16, sums of 3 by 4 leave too few for what is loaded. Each
        // register of a vector is loaded once for all rows.
        macro_rules! rows {
            ($vectors:literal: $($rows:literal)*) => {{
                $(while end - row >= $rows {
                    // SAFETY: promised to `compute`, which alone makes Dots, of disjoint rows.
                    unsafe { self.dots::<S, $rows, $vectors>(simd, row) };
                    row += $rows;
                })*
            }};
        }
        match self.x.len() / self.matrix.cols() {
            1 => rows!(1: 8 4 2 1),
            2 => rows!(2: 4 2 1),
            3 => rows!(3: 4 2 1),
            VECTORS if const { S::REGISTER_COUNT < 32 } => rows!(4: 2 1),
            VECTORS => rows!(4: 4 2 1),
            count => unreachable!("{count} vectors"),
        }
    }
}

impl<T: Element> Dots<'_, T> {
    /// # Safety
    /// - The `R` rows from `row` on must lie within the matrix and C, and be this thread's alone.
    #[inline(always)]
    unsafe fn dots<S: Simd, const R: usize, const C: usize>(&self, simd: S, row: usize) {
        let (lanes, [start, end]) = (Vector::<T, S>::len(), self.depth);
        let mut lines = Rows::new(self.matrix.at(row, start), self.matrix.strides()[0]);
        let mut vectors: [_; C] =
            std::array::from_fn(|j| self.x[j * self.matrix.cols() + start..].as_ptr());
        let mut sums = [[Vector::zero(simd); C]; R];
        macro_rules! step {
            ($load:expr) => {{
                let mut x = [Vector::zero(simd); C];
                for j in 0..C {
                    x[j] = $load(vectors[j]);
                }
                for i in 0..R {
                    let a = $load(Walk::<T, R>::at(&lines, i, 0));
                    for j in 0..C {
                        sums[i][j] = a.mul_add(x[j], sums[i][j]);
                    }
                }
            }};
        }
        for _ in 0..(end - start) / lanes {
            // SAFETY: whole registers, within the depth.
            unsafe { step!(|from| Vector::load_ptr(simd, from)) };
            Walk::<T, R>::advance(&mut lines, lanes);
            vectors = vectors.map(|x| x.wrapping_add(lanes));
        }
        let left = (end - start) % lanes;
        if left > 0 {
            // The last register, but for what has been added up: a masked load takes some 20 cycles on AMD's first Zen.
            let (back, zero) = (lanes - left, Vector::zero(simd));
            let done = Mask::first(simd, back);
            // SAFETY: it ends with the depth, of a register and more.
            unsafe {
                step!(|from: *const T| {
                    done.select(zero, Vector::load_ptr(simd, from.wrapping_sub(back)))
                });
            }
        }
        for j in 0..C {
            let sums = std::array::from_fn(|i| [Vector::splat(Scalar::new(), sums[i][j].sum())]);
            let c = self.c.from(row, j);
            let at = At {
                first_row: c.start,
                row_stride: c.strides[0],
                columns: SideBySide::side_by_side(0, 1),
                row,
                col: j,
            };
            // SAFETY: R elements of C, the caller's promise; their rows and column are within a bias.
            unsafe { self.finish.store_tile::<_, _, R, 1>(Scalar::new(), sums, at) };
        }
    }
}
