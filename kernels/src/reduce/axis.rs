//! Sums over the middle axis of (outer, len, inner): along rows, or of columns.
//!
//! Columns are added row by row, several registers of them at a time. A long axis is cut into pieces
//! by its shape; the sums of the pieces are added in their order.

use pulp::{Simd, WithSimd};

use super::{Identity, PARALLEL_LEN, PART_LEN, sum_slice};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Pool, Rows};
use crate::simd::Vector;
use crate::workspace::with_scratch;

/// Rows of a piece, at least: the sums of a piece are written and read again.
const MIN_PIECE: usize = 16;

pub(super) fn sum_axis<T: Element>(
    [outer, len, inner]: [usize; 3],
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    if x.is_empty() {
        y.fill(T::zero());
        return Ok(());
    }
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    if inner == 1 {
        let parts = (Rows::new(x, outer, len), y);
        pool.for_each_part(parts, PART_LEN / len, |_, (x, y)| {
            arch.dispatch(SumRows { x: x.data, y });
        });
        return Ok(());
    }
    let piece = (PART_LEN / inner).max(MIN_PIECE);
    let pieces = len.div_ceil(piece);
    if pieces == 1 {
        let matrix = len * inner;
        let parts = (Rows::new(x, outer, matrix), Rows::new(y, outer, inner));
        pool.for_each_part(parts, PART_LEN / matrix, |_, (x, y)| {
            arch.dispatch(SumColumns { x: x.data, len, y: y.data, inner });
        });
        return Ok(());
    }
    with_scratch(outer * pieces * inner, |sums| {
        let parts = Rows::new(&mut *sums, outer * pieces, inner);
        pool.for_each_part(parts, 1, |index, sums| {
            let first = index % pieces * piece;
            let rows = piece.min(len - first);
            let x = &x[(index / pieces * len + first) * inner..][..rows * inner];
            arch.dispatch(SumColumns { x, len: rows, y: sums.data, inner });
        });
        arch.dispatch(SumColumns { x: sums, len: pieces, y, inner });
    });
    Ok(())
}

/// The sum of each of the rows of x, one for each element of y.
struct SumRows<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> WithSimd for SumRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let len = self.x.len() / self.y.len();
        for (y, x) in self.y.iter_mut().zip(self.x.chunks_exact(len)) {
            *y = sum_slice(simd, x, Identity);
        }
    }
}

/// The sums of the columns of each of the matrices (len, inner) of x.
struct SumColumns<'a, T> {
    x: &'a [T],
    len: usize,
    y: &'a mut [T],
    inner: usize,
}

impl<T: Element> WithSimd for SumColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, len, y, inner } = self;
        let lanes = Vector::<T, S>::len();
        for (x, y) in x.chunks_exact(len * inner).zip(y.chunks_exact_mut(inner)) {
            let mut column = 0;
            while column + 8 * lanes <= inner {
                sum_registers::<T, S, 8>(simd, &x[column..], inner, &mut y[column..]);
                column += 8 * lanes;
            }
            while column + 2 * lanes <= inner {
                sum_registers::<T, S, 2>(simd, &x[column..], inner, &mut y[column..]);
                column += 2 * lanes;
            }
            while column < inner {
                let end = inner.min(column + lanes);
                let mut sum = Vector::zero(simd);
                for row in x.chunks_exact(inner) {
                    sum = sum + Vector::load_partial(simd, &row[column..end]);
                }
                sum.store_partial(&mut y[column..end]);
                column = end;
            }
        }
    }
}

/// The sums of the first `COUNT` registers of columns.
#[inline(always)]
fn sum_registers<T: Element, S: Simd, const COUNT: usize>(
    simd: S,
    x: &[T],
    inner: usize,
    y: &mut [T],
) {
    let lanes = Vector::<T, S>::len();
    let mut sums = [Vector::zero(simd); COUNT];
    for row in x.chunks(inner) {
        let row = &row[..COUNT * lanes];
        for register in 0..COUNT {
            sums[register] = sums[register] + Vector::load(simd, &row[register * lanes..]);
        }
    }
    for (register, sum) in sums.into_iter().enumerate() {
        sum.store(&mut y[register * lanes..]);
    }
}
