//! Dropout in lanes, with the masks of [`mod@crate::dropout`].

use super::count;
use crate::dropout::{DropoutKey, check};
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::reference::dropout::philox;

/// y = x where the mask of `key` keeps it, else 0; `x` and `y` are (groups, features, lanes).
///
/// The mask is that of a batch of samples one after another, of which the first one here is number `first`: the same elements are
/// kept as by [`crate::dropout::dropout`].
///
/// # Errors
/// [`crate::Error::Argument`] where `ratio` is not within 0..=1, [`crate::Error::Length`] where the slices are not `samples` samples.
pub fn dropout<T: Element>(
    key: DropoutKey,
    ratio: f64,
    features: usize,
    first: usize,
    samples: usize,
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    const OP: &str = "lanes::dropout";
    let lanes = count::<T>()?;
    check(OP, ratio, x)?;
    check_len(OP, "x", x, samples.div_ceil(lanes) * features * lanes)?;
    check_len(OP, "y", y, x.len())?;
    let dropped_below = (ratio * 2f64.powi(32)).round() as u64;
    let key_words = [key.seed as u32, (key.seed >> 32) as u32];
    if !samples.is_multiple_of(lanes) {
        let last = samples / lanes * features * lanes;
        y[last..].fill(T::zero());
    }
    for sample in 0..samples {
        let base = sample / lanes * features * lanes + sample % lanes;
        let start = (first + sample) * features;
        let mut index = start;
        while index < start + features {
            // A block of the counter serves four elements in a row.
            let counter = [(index / 4) as u32, key.layer, key.step as u32, (key.step >> 32) as u32];
            let words = philox(counter, key_words);
            for word in &words[index % 4..] {
                if index == start + features {
                    break;
                }
                let at = base + (index - start) * lanes;
                y[at] = if u64::from(*word) >= dropped_below { x[at] } else { T::zero() };
                index += 1;
            }
        }
    }
    Ok(())
}
