//! Channels into lanes and back.

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::lanes::count;
use crate::lanes::transpose::Turn;

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

/// Transposes a sample of (channels, height, width), as layers hold it, into (registers, height, width, lanes). Lanes without a
/// channel become 0.
///
/// # Errors
/// [`crate::Error::Length`] where x does not have the shape, or `lanes` not its registers.
pub fn gather<T: Element>(x: &[T], [channels, pixels]: [usize; 2], lanes: &mut [T]) -> Result<()> {
    let (arch, count) = (Arch::current()?, count::<T>()?);
    check("lanes::channels::gather", x, [channels, pixels], lanes, count)?;
    let (plane, register) = (pixels.max(1), (pixels * count).max(1));
    for (x, to) in x.chunks(count * plane).zip(lanes.chunks_exact_mut(register)) {
        if x.len() < register {
            to.fill(T::zero());
        }
        arch.dispatch(Turn {
            from: x,
            row: pixels,
            to,
            step: count,
            size: [x.len() / plane, pixels],
        });
    }
    Ok(())
}

/// The inverse of [`gather`].
///
/// # Errors
/// As [`gather`].
pub fn scatter<T: Element>(lanes: &[T], [channels, pixels]: [usize; 2], x: &mut [T]) -> Result<()> {
    let (arch, count) = (Arch::current()?, count::<T>()?);
    check("lanes::channels::scatter", x, [channels, pixels], lanes, count)?;
    let (plane, register) = (pixels.max(1), (pixels * count).max(1));
    for (x, from) in x.chunks_mut(count * plane).zip(lanes.chunks_exact(register)) {
        let size = [pixels, x.len() / plane];
        arch.dispatch(Turn { from, row: count, to: x, step: pixels, size });
    }
    Ok(())
}

fn check<T>(
    op: &'static str,
    x: &[T],
    [channels, pixels]: [usize; 2],
    lanes: &[T],
    count: usize,
) -> Result<()> {
    check_len(op, "x", x, channels * pixels)?;
    check_len(op, "lanes", lanes, channels.next_multiple_of(count) * pixels)
}
