//! Dropout, its mask drawn from a counter: Philox4x32-10.
//!
//! Which element is kept depends on the key and the element's index only, so a mask need not be
//! stored, and is the same on any machine and any number of threads. Sources: Srivastava et al.,
//! "Dropout" (2014); Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).

use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::reference;

/// What a mask depends on. The same key gives the same mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DropoutKey {
    /// The seed of the whole run.
    pub seed: u64,
    /// The number of the training step.
    pub step: u64,
    /// The number of the layer in its network.
    pub layer: u32,
}

/// Elements that one key serves: 2³² blocks of four words.
const MAX_LEN: u64 = 1 << 34;

pub(crate) fn check<T>(op: &'static str, ratio: f64, x: &[T]) -> Result<()> {
    if !(0.0..=1.0).contains(&ratio) {
        let value = ratio.to_string();
        return Err(Error::Argument { op, name: "ratio", value, expected: "a number from 0 to 1" });
    }
    if x.len() as u64 > MAX_LEN {
        let problem = format!("{} elements are more than one key serves", x.len());
        return Err(Error::Shape { op, problem });
    }
    Ok(())
}

/// mask = true where the element is kept; each is dropped with probability `ratio` (to 2⁻³³).
///
/// # Errors
/// [`Error::Argument`] where `ratio` is not within 0..=1.
pub fn dropout_mask(key: DropoutKey, ratio: f64, mask: &mut [bool]) -> Result<()> {
    check("dropout_mask", ratio, mask)?;
    reference::dropout::dropout_mask(key, ratio, mask);
    Ok(())
}

/// y = x·scale where [`dropout_mask`] keeps, else 0. The book trains with scale 1 and multiplies by
/// 1 − ratio when testing; "inverted" dropout trains with scale 1/(1 − ratio).
///
/// # Errors
/// As [`dropout_mask`], and [`Error::Length`] where the slices differ in length.
pub fn dropout<T: Element>(
    key: DropoutKey,
    ratio: f64,
    scale: T,
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    check("dropout", ratio, x)?;
    check_len("dropout", "y", y, x.len())?;
    reference::dropout::dropout(key, ratio, scale, x, y);
    Ok(())
}

/// [`dropout`] in place: also its gradient, with the same key on dy.
///
/// # Errors
/// As [`dropout_mask`].
pub fn dropout_in_place<T: Element>(
    key: DropoutKey,
    ratio: f64,
    scale: T,
    x: &mut [T],
) -> Result<()> {
    check("dropout_in_place", ratio, x)?;
    let input = x.to_vec();
    reference::dropout::dropout(key, ratio, scale, &input, x);
    Ok(())
}
