//! A row times a matrix that lies row by row: each element of the row times a row of the matrix, added up in registers. The
//! matrix is read once, from its first element to its last, as fast as the memory it lies in gives it.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Scalar, Simd, WithSimd};

use super::epilogue::General;
use super::output::Output;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::Pool;
use crate::simd::{MAX_LANES, Mask, Vector};
use crate::view::MatRef;
use crate::workspace::with_scratch;

/// Rows at a time that are added to sums in memory.
const ROWS: usize = 4;
/// Multiply-adds of a part of the depth, about 6 µs where the matrix comes from L3; less stays on the calling thread.
const PART_WORK: usize = 1 << 17;
/// Parts at most.
const PARTS: usize = 8;

/// Whether the rows of `matrix` lie one after another, as [`compute`] wants them.
pub(super) fn is_dense<T: Element>(matrix: &MatRef<'_, T>) -> bool {
    matrix.strides() == [matrix.cols() as isize, 1]
}

/// C = finish(row · matrix) for 1×k and k×n.
///
/// # Safety
/// - The rows of `matrix` must lie one after another, as many as `row` is long.
/// - `c` must be valid for 1×n elements, for this call alone, and no two of them the same.
/// - A bias must have one element (per row) or n (per column).
pub(super) unsafe fn compute<T: Element>(
    arch: Arch,
    row: MatRef<'_, T>,
    matrix: MatRef<'_, T>,
    c: Output<T>,
    finish: General<'_, T>,
) -> Result<()> {
    let [depth, columns] = matrix.shape();
    let work = depth * columns;
    let parts = work.div_ceil(PART_WORK).clamp(1, PARTS);
    let pool = Pool::for_work(work, PART_WORK + 1)?;
    // A last register may hold more lanes than there are columns.
    let width = columns + MAX_LANES;
    with_scratch(parts * width, |sums: &mut [T]| {
        pool.for_each_part(&mut *sums, width, |part, sums| {
            let depth = [part, part + 1].map(|part| depth * part / parts);
            arch.dispatch(Part { row, matrix, depth, sums });
        });
        for column in 0..columns {
            let mut sum = sums[column];
            for part in 1..parts {
                sum += sums[part * width + column];
            }
            let sum = Vector::splat(Scalar::new(), sum);
            // SAFETY: an element of C, the caller's promise; its column is within a bias.
            unsafe {
                let c = c.at(0, column);
                finish.store(Scalar::new(), sum, c, 0, column);
            }
        }
    });
    Ok(())
}

/// A part of the depth: its sums.
struct Part<'a, T> {
    row: MatRef<'a, T>,
    matrix: MatRef<'a, T>,
    /// From which to before which row of the matrix.
    depth: [usize; 2],
    sums: &'a mut [T],
}

impl<T: Element> WithSimd for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 100 floats of AVX2 are 13 of its 16 registers.
        macro_rules! in_registers {
            ($($registers:literal)*) => {
                match self.matrix.cols().div_ceil(Vector::<T, S>::len()) {
                    0 => {}
                    $($registers => self.in_registers::<S, $registers>(simd),)*
                    registers => self.in_memory(simd, registers),
                }
            };
        }
        in_registers!(1 2 3 4 5 6 7 8 9 10 11 12 13);
    }
}

impl<T: Element> Part<'_, T> {
    /// The row of the matrix from which on a last register, which reaches `beyond` its columns, is masked: what it reads there are the
    /// next rows, which the last ones do not have.
    fn first_masked(&self, beyond: usize) -> usize {
        let [rows, columns] = self.matrix.shape();
        let [start, end] = self.depth;
        rows.saturating_sub(beyond.div_ceil(columns)).clamp(start, end)
    }

    /// The sums of all columns, in `R` registers.
    #[inline(always)]
    fn in_registers<S: Simd, const R: usize>(self, simd: S) {
        let (lanes, columns) = (Vector::<T, S>::len(), self.matrix.cols());
        let beyond = R * lanes - columns;
        let first_masked = self.first_masked(beyond);
        let mask = Mask::first(simd, lanes - beyond);
        let row_step = self.row.strides()[1];
        let mut x = self.row.at(0, self.depth[0]);
        let mut b = self.matrix.at(self.depth[0], 0);
        let mut sums = [Vector::<T, S>::zero(simd); R];
        for _ in self.depth[0]..first_masked {
            // SAFETY: an element of the row, and registers that end within the matrix.
            unsafe {
                let scale = Vector::splat(simd, *x);
                for r in 0..R {
                    sums[r] = scale.mul_add(Vector::load_ptr(simd, b.add(r * lanes)), sums[r]);
                }
            }
            x = x.wrapping_offset(row_step);
            b = b.wrapping_add(columns);
        }
        for _ in first_masked..self.depth[1] {
            // SAFETY: an element of the row, and registers of a row of the matrix, the last one as far as it goes.
            unsafe {
                let scale = Vector::splat(simd, *x);
                for r in 0..R - 1 {
                    sums[r] = scale.mul_add(Vector::load_ptr(simd, b.add(r * lanes)), sums[r]);
                }
                let b = Vector::load_masked(simd, mask, b.add((R - 1) * lanes));
                sums[R - 1] = scale.mul_add(b, sums[R - 1]);
            }
            x = x.wrapping_offset(row_step);
            b = b.wrapping_add(columns);
        }
        for r in 0..R {
            sums[r].store(&mut self.sums[r * lanes..]);
        }
    }

    /// The sums of more columns, which stay in memory while [`ROWS`] rows at a time pass: the matrix is read on and on, as the hardware
    /// expects it, and not a strip of each row before the others.
    #[inline(always)]
    fn in_memory<S: Simd>(mut self, simd: S, registers: usize) {
        let (lanes, columns) = (Vector::<T, S>::len(), self.matrix.cols());
        let beyond = registers * lanes - columns;
        let first_masked = self.first_masked(beyond);
        let mask = Mask::first(simd, lanes - beyond);
        self.sums.fill(T::zero());
        let mut row = self.depth[0];
        while row + ROWS <= first_masked {
            // SAFETY: registers that end within the matrix.
            unsafe { self.add_rows::<S, ROWS>(simd, row, registers) };
            row += ROWS;
        }
        let last = (registers - 1) * lanes;
        for row in row..self.depth[1] {
            // SAFETY: registers of a row of the matrix, the last one as far as it goes.
            unsafe {
                self.add_rows::<S, 1>(simd, row, registers - 1);
                let scale = Vector::splat(simd, *self.row.at(0, row));
                let b = Vector::load_masked(simd, mask, self.matrix.at(row, last));
                let sums = &mut self.sums[last..];
                scale.mul_add(b, Vector::load(simd, sums)).store(sums);
            }
        }
    }

    /// Adds `N` rows of the matrix from `row` on to the sums of the first `registers`.
    ///
    /// # Safety
    /// - The rows must be of this part, and registers from their beginning on, within the matrix.
    #[inline(always)]
    unsafe fn add_rows<S: Simd, const N: usize>(&mut self, simd: S, row: usize, registers: usize) {
        let (lanes, columns) = (Vector::<T, S>::len(), self.matrix.cols());
        let mut scales = [Vector::<T, S>::zero(simd); N];
        for i in 0..N {
            // SAFETY: an element of the row, which is as long as the matrix is deep.
            scales[i] = Vector::splat(simd, unsafe { *self.row.at(0, row + i) });
        }
        let mut b = self.matrix.at(row, 0);
        for sums in self.sums.chunks_exact_mut(lanes).take(registers) {
            let mut sum = Vector::load(simd, sums);
            for i in 0..N {
                // SAFETY: the caller's promise.
                let b = unsafe { Vector::load_ptr(simd, b.wrapping_add(i * columns)) };
                sum = scales[i].mul_add(b, sum);
            }
            sum.store(sums);
            b = b.wrapping_add(lanes);
        }
    }
}
