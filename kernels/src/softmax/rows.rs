//! Softmax and log-sum-exp of rows. Few classes: rows in lanes, as many at a time as a register holds.
//! Many: lanes along the row, three passes over it (maximum, exponentials, scale) that stay in cache.

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::exp::Functions;
use crate::registers::Pair;
use crate::simd::{MAX_LANES, Vector};
use crate::transpose::{MIN_WIDTH, lanes_to_rows, rows_to_lanes};

/// Up to this many classes rows are turned into lanes: the turning costs six passes over the block in
/// L1, lanes along a row cost the rest of its last register and the sums across lanes.
const MAX_TURNED: usize = 32;

/// Scratch that [`Softmax`] needs.
pub(super) fn scratch_len(classes: usize) -> usize {
    if classes <= MAX_TURNED { 3 * MAX_LANES * classes } else { 0 }
}

/// Softmax of each row into `y`, the logarithm of its sum into `log_sums`; either may be empty.
pub(super) struct Softmax<'a, T> {
    pub(super) x: &'a [T],
    pub(super) classes: usize,
    pub(super) y: &'a mut [T],
    pub(super) log_sums: &'a mut [T],
    /// Of [`scratch_len`].
    pub(super) scratch: &'a mut [T],
}

impl<T: Element> WithSimd for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if Vector::<T, S>::len() > 1 && (MIN_WIDTH..=MAX_TURNED).contains(&self.classes) {
            self.turned(simd);
        } else {
            self.along_rows(simd);
        }
        for (log_sum, row) in self.log_sums.iter_mut().zip(self.x.chunks_exact(self.classes)) {
            if !log_sum.is_finite() {
                *log_sum = largest(row);
            }
        }
    }
}

/// The log-sum-exp of a row that holds NaN, or whose maximum is ±∞.
#[cold]
fn largest<T: Element>(row: &[T]) -> T {
    row.iter().fold(T::neg_infinity(), |max, &x| if x.is_nan() || x > max { x } else { max })
}

impl<T: Element> Softmax<'_, T> {
    #[inline(always)]
    fn turned<S: Simd>(&mut self, simd: S) {
        let (classes, lanes) = (self.classes, Vector::<T, S>::len());
        let block_len = lanes * classes;
        let (first, rest) = self.scratch.split_at_mut(block_len);
        let (second, rest) = rest.split_at_mut(block_len);
        let (rest, mut buffers) = (&mut rest[..block_len], [first, second]);
        for (block, x) in self.x.chunks(block_len).enumerate() {
            let whole = x.len() == block_len;
            if whole {
                rows_to_lanes(simd, x, &mut buffers);
            } else {
                rest[..x.len()].copy_from_slice(x);
                rest[x.len()..].fill(T::zero());
                rows_to_lanes(simd, rest, &mut buffers);
            }
            let log_sums = softmax_of_lanes(simd, buffers[0], !self.log_sums.is_empty());
            if !self.log_sums.is_empty() {
                log_sums.store_partial(&mut self.log_sums[block * lanes..]);
            }
            if self.y.is_empty() {
                continue;
            }
            let y = &mut self.y[block * block_len..];
            if whole {
                lanes_to_rows(simd, &mut buffers, &mut y[..block_len]);
            } else {
                lanes_to_rows(simd, &mut buffers, rest);
                y.copy_from_slice(&rest[..x.len()]);
            }
        }
    }

    #[inline(always)]
    fn along_rows<S: Simd>(&mut self, simd: S) {
        let classes = self.classes;
        for (row, x) in self.x.chunks_exact(classes).enumerate() {
            let max = Vector::splat(simd, max_of_row(simd, x));
            let sum = if self.y.is_empty() {
                exp_of_row(simd, x, max, &mut [])
            } else {
                let y = &mut self.y[row * classes..][..classes];
                let sum = exp_of_row(simd, x, max, y);
                scale(simd, y, T::one() / sum);
                sum
            };
            if !self.log_sums.is_empty() {
                let log_sum = max + Vector::splat(simd, sum).log();
                log_sum.store_partial(&mut self.log_sums[row..=row]);
            }
        }
    }
}

/// Softmax of the rows in the lanes of `columns`, in place; returns their log-sum-exp if `log`.
#[inline(always)]
fn softmax_of_lanes<T: Element, S: Simd>(simd: S, columns: &mut [T], log: bool) -> Vector<T, S> {
    let lanes = Vector::<T, S>::len();
    let mut max = Vector::load(simd, columns);
    for column in columns[lanes..].chunks_exact(lanes) {
        max = max.larger(Vector::load(simd, column));
    }
    let mut sum = Vector::zero(simd);
    let mut pairs = columns.chunks_exact_mut(2 * lanes);
    for pair in &mut pairs {
        let (left, right) = pair.split_at_mut(lanes);
        let x = [Vector::load(simd, left) - max, Vector::load(simd, right) - max];
        let Pair([first, second]) = Pair(x).exp();
        first.store(left);
        second.store(right);
        sum = sum + first + second;
    }
    let column = pairs.into_remainder();
    if !column.is_empty() {
        let exp = (Vector::load(simd, column) - max).exp();
        exp.store(column);
        sum = sum + exp;
    }
    // The sum is from 1 to the number of classes: its reciprocal is a normal number.
    let scale = Vector::splat(simd, T::one()) / sum;
    for column in columns.chunks_exact_mut(lanes) {
        (Vector::load(simd, column) * scale).store(column);
    }
    if log { max + sum.log() } else { max }
}

/// The largest of a row; NaN may be left out, or not.
#[inline(always)]
fn max_of_row<T: Element, S: Simd>(simd: S, x: &[T]) -> T {
    let lanes = Vector::<T, S>::len();
    let mut max = [Vector::splat(simd, T::neg_infinity()); 4];
    let mut blocks = x.chunks_exact(4 * lanes);
    for block in &mut blocks {
        for (max, x) in max.iter_mut().zip(block.chunks_exact(lanes)) {
            *max = max.larger(Vector::load(simd, x));
        }
    }
    for x in blocks.remainder().chunks(lanes) {
        max[0] = max[0].larger(Vector::load_padded(simd, x, T::neg_infinity()));
    }
    let max = max[0].larger(max[1]).larger(max[2].larger(max[3]));
    max.to_array()[..lanes].iter().copied().fold(T::neg_infinity(), T::max)
}

/// y = e^(x − max), where `y` is not empty; returns the sum.
#[inline(always)]
fn exp_of_row<T: Element, S: Simd>(simd: S, x: &[T], max: Vector<T, S>, y: &mut [T]) -> T {
    let lanes = Vector::<T, S>::len();
    let store = !y.is_empty();
    let mut sums = [Vector::zero(simd); 2];
    let whole = x.len() - x.len() % (2 * lanes);
    for (block, x) in x[..whole].chunks_exact(2 * lanes).enumerate() {
        let (left, right) = x.split_at(lanes);
        let x = [Vector::load(simd, left) - max, Vector::load(simd, right) - max];
        let Pair(exps) = Pair(x).exp();
        if store {
            let (left, right) = y[2 * lanes * block..][..2 * lanes].split_at_mut(lanes);
            exps[0].store(left);
            exps[1].store(right);
        }
        sums = [sums[0] + exps[0], sums[1] + exps[1]];
    }
    for (at, x) in x[whole..].chunks(lanes).enumerate() {
        // e^−∞ is 0.
        let exp = (Vector::load_padded(simd, x, T::neg_infinity()) - max).exp();
        if store {
            exp.store_partial(&mut y[whole + at * lanes..]);
        }
        sums[0] = sums[0] + exp;
    }
    (sums[0] + sums[1]).sum()
}

#[inline(always)]
fn scale<T: Element, S: Simd>(simd: S, y: &mut [T], factor: T) {
    let lanes = Vector::<T, S>::len();
    let mut registers = y.chunks_exact_mut(lanes);
    for y in &mut registers {
        (Vector::load(simd, y) * Vector::splat(simd, factor)).store(y);
    }
    registers.into_remainder().iter_mut().for_each(|y| *y *= factor);
}
