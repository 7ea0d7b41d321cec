//! A column times a row: every product is used once, and all the time goes into writing C, row by row. (The gradient by the weights
//! of a single sample is such a product.)

use pulp::{Scalar, Simd, WithSimd};

use super::driver::TASK_WORK;
use super::epilogue::General;
use super::output::Output;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::simd::Vector;
use crate::view::MatRef;

/// Whether C, of rows as `row` is, can be written in registers: `row` must be contiguous, and fill one.
pub(super) fn is_in_registers<T: Element>(
    row: &MatRef<'_, T>,
    c: &Output<T>,
    lanes: usize,
) -> bool {
    row.rows() == 1 && row.strides()[1] == 1 && c.strides[1] == 1 && row.cols() >= lanes
}

/// C = finish(column · row) for m×1 and 1×n.
///
/// # Safety
/// - `row` and `c` must be such that [`is_in_registers`] holds.
/// - `c` must be valid for m×n elements, for this call alone, and no two of them the same.
/// - A bias must have m elements (per row) or n (per column).
pub(super) unsafe fn compute<T: Element>(
    arch: Arch,
    pool: Pool,
    column: MatRef<'_, T>,
    row: MatRef<'_, T>,
    c: Output<T>,
    finish: General<'_, T>,
) {
    let (m, task) = (column.rows(), TASK_WORK.div_ceil(row.cols()));
    pool.for_each(m.div_ceil(task), |index| {
        let rows = [index * task, m.min((index + 1) * task)];
        arch.dispatch(Rows { column, row, c, finish, rows });
    });
}

struct Rows<'a, T> {
    column: MatRef<'a, T>,
    row: MatRef<'a, T>,
    c: Output<T>,
    finish: General<'a, T>,
    /// The first row, and the one after the last.
    rows: [usize; 2],
}

impl<T: Element> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { column, row, c, ref finish, rows } = self;
        let (lanes, n) = (Vector::<T, S>::len(), row.cols());
        let last = n - n % lanes;
        // SAFETY: promised to `compute`, which alone makes Rows, of disjoint rows; registers end with the row at most.
        unsafe {
            for i in rows[0]..rows[1] {
                let scale = *column.at(i, 0);
                let a = Vector::splat(simd, scale);
                macro_rules! products {
                    ($col:expr) => {
                        a.mul_add(Vector::load_ptr(simd, row.at(0, $col)), Vector::zero(simd))
                    };
                }
                if finish.is_plain() {
                    for col in (0..last).step_by(lanes) {
                        products!(col).store_ptr(c.at(i, col));
                    }
                    if last < n {
                        // From further left: what was there is written again with the same bits.
                        products!(n - lanes).store_ptr(c.at(i, n - lanes));
                    }
                    continue;
                }
                for col in (0..last).step_by(lanes) {
                    let c = c.at(i, col);
                    finish.store(simd, products!(col), c, i, col);
                }
                for col in last..n {
                    let one = Scalar::new();
                    let b = Vector::splat(one, *row.at(0, col));
                    let sum = Vector::splat(one, scale).mul_add(b, Vector::zero(one));
                    let c = c.at(i, col);
                    finish.store(one, sum, c, i, col);
                }
            }
        }
    }
}
