//! Rows to lanes: a block of as many short rows as a register has lanes, turned so that each column
//! is a register, and back.
//!
//! A perfect shuffle, the first half of a block with the second by turns, moves the highest bit of a
//! row's number below that of the column. As many shuffles as the number has bits transpose the block,
//! whatever its width.

use pulp::Simd;

use crate::element::Element;
use crate::simd::Vector;

/// Rows of this many elements can be turned where registers hold more than one.
pub(crate) const MIN_WIDTH: usize = 2;

/// The first half of `from` with the second by turns.
#[inline(always)]
fn shuffle<T: Element, S: Simd>(simd: S, from: &[T], to: &mut [T]) {
    let (lanes, half) = (Vector::<T, S>::len(), from.len() / 2);
    let (left, right) = from.split_at(half);
    let mut at = 0;
    while at < half {
        // The last register again takes some of what the one before took.
        let start = at.min(half - lanes);
        let [first, second] =
            Vector::load(simd, &left[start..]).interleave(Vector::load(simd, &right[start..]));
        let (to_first, to_second) = to[2 * start..][..2 * lanes].split_at_mut(lanes);
        first.store(to_first);
        second.store(to_second);
        at += lanes;
    }
}

/// The inverse of [`shuffle`].
#[inline(always)]
fn unshuffle<T: Element, S: Simd>(simd: S, from: &[T], to: &mut [T]) {
    let (lanes, half) = (Vector::<T, S>::len(), from.len() / 2);
    let (left, right) = to[..2 * half].split_at_mut(half);
    let mut at = 0;
    while at < half {
        let start = at.min(half - lanes);
        let (first, second) = from[2 * start..][..2 * lanes].split_at(lanes);
        let [even, odd] = Vector::load(simd, first).deinterleave(Vector::load(simd, second));
        even.store(&mut left[start..]);
        odd.store(&mut right[start..]);
        at += lanes;
    }
}

/// Turns `rows`, one for each lane, into columns of one register each: they are in the first buffer
/// on return. Both buffers have the length of `rows`.
#[inline(always)]
pub(crate) fn rows_to_lanes<T: Element, S: Simd>(simd: S, rows: &[T], buffers: &mut [&mut [T]; 2]) {
    shuffle(simd, rows, buffers[0]);
    for _ in 1..Vector::<T, S>::len().trailing_zeros() {
        let [from, to] = buffers;
        shuffle(simd, from, to);
        buffers.swap(0, 1);
    }
}

/// The inverse of [`rows_to_lanes`], of the first buffer.
#[inline(always)]
pub(crate) fn lanes_to_rows<T: Element, S: Simd>(
    simd: S,
    buffers: &mut [&mut [T]; 2],
    rows: &mut [T],
) {
    for _ in 1..Vector::<T, S>::len().trailing_zeros() {
        let [from, to] = buffers;
        unshuffle(simd, from, to);
        buffers.swap(0, 1);
    }
    unshuffle(simd, buffers[0], rows);
}
