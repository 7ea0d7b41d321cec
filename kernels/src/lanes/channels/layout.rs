//! Channels into lanes and back.

use crate::element::Element;
use crate::error::{Result, check_len};
use crate::lanes;

/// How the input of a convolution lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// (channels, height, width), as the layers have it.
    Planes,
    /// (registers, height, width, lanes).
    Lanes,
}

impl Input {
    /// Elements side by side that belong to the same pixel.
    pub(super) fn pixel(self, lanes: usize) -> usize {
        match self {
            Self::Planes => 1,
            Self::Lanes => lanes,
        }
    }
}

/// Transposes a sample of `[channels, pixels]`, as layers hold it, into (registers, pixels, lanes): as [`lanes::gather`] does with
/// samples. Lanes without a channel become 0.
///
/// # Errors
/// [`crate::Error::Length`] where x does not have the shape, or `lanes` not its registers.
pub fn gather<T: Element>(x: &[T], shape: [usize; 2], lanes: &mut [T]) -> Result<()> {
    check("lanes::channels::gather", x, shape, lanes)?;
    lanes::gather(x, shape[1], lanes)
}

/// The inverse of [`gather`].
///
/// # Errors
/// As [`gather`].
pub fn scatter<T: Element>(lanes: &[T], shape: [usize; 2], x: &mut [T]) -> Result<()> {
    check("lanes::channels::scatter", x, shape, lanes)?;
    lanes::scatter(lanes, shape[1], x)
}

fn check<T: Element>(
    op: &'static str,
    x: &[T],
    [channels, pixels]: [usize; 2],
    lanes: &[T],
) -> Result<()> {
    check_len(op, "x", x, channels * pixels)?;
    check_len(op, "lanes", lanes, channels.next_multiple_of(lanes::count::<T>()?) * pixels)
}
