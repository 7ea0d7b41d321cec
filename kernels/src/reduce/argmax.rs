//! The index of the largest of each row: rows in lanes where they are short, else lanes along the row.

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::simd::{MAX_LANES, Vector};
use crate::transpose::{MIN_WIDTH, rows_to_lanes};
use crate::workspace;

/// Up to this many classes rows are turned into lanes.
const MAX_TURNED: usize = 32;

/// Runs `body` with the scratch that [`ArgmaxRows`] needs.
pub(super) fn with_scratch<T: Element, R>(classes: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    let len = if classes <= MAX_TURNED { 3 * MAX_LANES * classes } else { 0 };
    workspace::with_scratch(len, body)
}

/// out = the class of the largest score of each row.
pub(super) struct ArgmaxRows<'a, T> {
    pub(super) x: &'a [T],
    pub(super) classes: usize,
    pub(super) out: &'a mut [usize],
    /// Of [`with_scratch`].
    pub(super) scratch: &'a mut [T],
}

impl<T: Element> WithSimd for ArgmaxRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, classes, out, scratch } = self;
        let lanes = Vector::<T, S>::len();
        if lanes == 1 || !(MIN_WIDTH..=MAX_TURNED).contains(&classes) {
            for (out, row) in out.iter_mut().zip(x.chunks_exact(classes)) {
                *out = argmax_of_row(simd, row);
            }
            return;
        }
        let block_len = lanes * classes;
        let (first, rest) = scratch.split_at_mut(block_len);
        let (second, rest) = rest.split_at_mut(block_len);
        let (rest, mut buffers) = (&mut rest[..block_len], [first, second]);
        for (x, out) in x.chunks(block_len).zip(out.chunks_mut(lanes)) {
            if x.len() == block_len {
                rows_to_lanes(simd, x, &mut buffers);
            } else {
                rest[..x.len()].copy_from_slice(x);
                rest[x.len()..].fill(T::zero());
                rows_to_lanes(simd, rest, &mut buffers);
            }
            let [_, classes] = largest_registers(simd, buffers[0]);
            for (out, class) in out.iter_mut().zip(classes.to_array()) {
                *out = class.low_bits() as usize;
            }
        }
    }
}

/// Lane by lane, the first largest of the registers of `x`, and the number of its register as
/// [`Element::of_bits`].
#[inline(always)]
fn largest_registers<T: Element, S: Simd>(simd: S, x: &[T]) -> [Vector<T, S>; 2] {
    let lanes = Vector::<T, S>::len();
    let mut best = Vector::load(simd, x);
    let mut at = Vector::splat(simd, T::of_bits(0));
    for (register, x) in x.chunks_exact(lanes).enumerate() {
        // The first does not beat itself.
        let x = Vector::load(simd, x);
        let wins = x.beats(best);
        best = wins.select(x, best);
        at = wins.select(Vector::splat(simd, T::of_bits(register as u32)), at);
    }
    [best, at]
}

/// The largest number of registers whose place a lane can hold.
const MAX_REGISTERS: usize = u32::MAX as usize;

#[inline(always)]
fn argmax_of_row<T: Element, S: Simd>(simd: S, row: &[T]) -> usize {
    let lanes = Vector::<T, S>::len();
    let mut best = 0;
    if row.len() >= lanes && row.len() / lanes <= MAX_REGISTERS {
        let [values, registers] = largest_registers(simd, row).map(Vector::to_array);
        best = registers[0].low_bits() as usize * lanes;
        for lane in 1..lanes {
            let (x, at) = (values[lane], registers[lane].low_bits() as usize * lanes + lane);
            let tie = x == row[best] || (x.is_nan() && row[best].is_nan());
            if beats(x, row[best]) || (tie && at < best) {
                best = at;
            }
        }
        let rest = row.len() - row.len() % lanes;
        for at in rest..row.len() {
            if beats(row[at], row[best]) {
                best = at;
            }
        }
        return best;
    }
    for at in 1..row.len() {
        if beats(row[at], row[best]) {
            best = at;
        }
    }
    best
}

/// As [`Vector::beats`].
#[inline(always)]
fn beats<T: Element>(x: T, best: T) -> bool {
    x > best || (x.is_nan() && !best.is_nan())
}
