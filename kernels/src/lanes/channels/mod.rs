//! Channels in lanes: one sample at a time, for predictions.
//!
//! An activation of a sample lies as (registers, height, width, L): a register holds the same pixel of L = [`super::count`]
//! channels, the first L in the first register and so on. The last one's lanes that no channel fills hold nothing of meaning, and
//! nobody reads them. What treats every plane alike does not care what its lanes are: [`super::Pooling`] of as many planes as
//! there are registers, or a ReLU. A convolution does, since it sums over channels: it broadcasts one channel's pixel, wherever
//! that lies, and multiplies it with registers of filters. So here weights lie in lanes, and are prepared once for as long as they
//! stay the same.

mod convolution;
mod direct;
mod layout;

pub use convolution::Convolution;
pub use layout::{Input, gather, scatter};

use crate::parallel::Start;

/// Registers of filters that a micro-tile takes, where there are as many.
pub(super) const REGISTERS: usize = 2;

/// What the convolution of a sample reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a, T> {
    pub(super) x: &'a [T],
    /// In whole registers.
    pub(super) bias: &'a [T],
    pub(super) filters: &'a [T],
    /// Whether sums of 0 or less become 0 as they are stored.
    pub(super) relu: bool,
    pub(super) y: Start<T>,
}

/// The first register of each group of filters, and the one after its last.
pub(super) fn register_groups(registers: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..registers).step_by(REGISTERS).map(move |first| [first, registers.min(first + REGISTERS)])
}

/// `count` things in as few parts of at most `most` as there must be, all of nearly the same size: the first of each, and the one
/// after its last.
#[inline(always)]
pub(super) fn evenly(count: usize, most: usize) -> impl Iterator<Item = [usize; 2]> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| share(count, part, parts))
}

/// From which to before which of `count` things a part of `parts` takes.
#[inline(always)]
pub(super) fn share(count: usize, part: usize, parts: usize) -> [usize; 2] {
    let (each, left) = (count / parts, count % parts);
    [part, part + 1].map(|part| part * each + part.min(left))
}
