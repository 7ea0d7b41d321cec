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

/// Registers of columns whose sums are held at a time: 100 floats of AVX2, which leaves 3 of its 16 registers.
const REGISTERS: usize = 13;
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
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = Vector::<T, S>::len();
        let columns = self.matrix.cols();
        let registers = columns.div_ceil(lanes);
        let strips = registers.div_ceil(REGISTERS).max(1);
        for strip in 0..strips {
            let [first, end] = [strip, strip + 1].map(|strip| registers * strip / strips);
            macro_rules! strip {
                ($($registers:literal)*) => {
                    match end - first {
                        $($registers => self.strip::<S, $registers>(simd, first * lanes),)*
                        _ => {}
                    }
                };
            }
            strip!(1 2 3 4 5 6 7 8 9 10 11 12 13);
        }
    }
}

impl<T: Element> Part<'_, T> {
    /// The sums of `R` registers of columns from `first` on, the last of which may reach beyond the matrix.
    #[inline(always)]
    fn strip<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let lanes = Vector::<T, S>::len();
        let [rows, columns] = self.matrix.shape();
        let last = columns - first - (R - 1) * lanes;
        // What a last register reads beyond its row are the next ones, which the last rows do not have.
        let masked = lanes.saturating_sub(last).div_ceil(columns);
        let unmasked = self.depth[1].min(rows.saturating_sub(masked)).max(self.depth[0]);
        let mask = Mask::first(simd, last.min(lanes));
        let row_step = self.row.strides()[1];
        let mut x = self.row.at(0, self.depth[0]);
        let mut b = self.matrix.at(self.depth[0], first);
        let mut sums = [Vector::<T, S>::zero(simd); R];
        for _ in self.depth[0]..unmasked {
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
        for _ in unmasked..self.depth[1] {
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
            sums[r].store(&mut self.sums[first + r * lanes..]);
        }
    }
}
