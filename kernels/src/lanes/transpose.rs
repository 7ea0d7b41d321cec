//! Samples into lanes and back.

use super::count;
use crate::element::Element;
use crate::error::{Result, check_len};

/// Transposes samples, one after another as layers hold them, into lane groups: rows of `features` elements become (groups,
/// features, lanes). Lanes without a sample become 0.
///
/// # Errors
/// [`crate::Error::Length`] where `x` is not whole rows, or `lanes` not the groups that they fill.
pub fn gather<T: Element>(x: &[T], features: usize, lanes: &mut [T]) -> Result<()> {
    gather_with("lanes::gather", x, features, lanes, |x| x)
}

/// As [`gather`], from bytes: each becomes its value times `scale`.
///
/// # Errors
/// As [`gather`].
pub fn gather_bytes<T: Element>(
    x: &[u8],
    features: usize,
    scale: T,
    lanes: &mut [T],
) -> Result<()> {
    gather_with("lanes::gather_bytes", x, features, lanes, |x| T::of(f64::from(x)) * scale)
}

fn gather_with<T: Element, X: Copy>(
    op: &'static str,
    x: &[X],
    features: usize,
    to: &mut [T],
    convert: impl Fn(X) -> T,
) -> Result<()> {
    let lanes = count::<T>()?;
    let samples = x.len().checked_div(features).unwrap_or(0);
    check_len(op, "x (whole samples)", x, samples * features)?;
    check_len(op, "lanes", to, samples.div_ceil(lanes) * features * lanes)?;
    if features == 0 {
        return Ok(());
    }
    for (x, to) in x.chunks(features * lanes).zip(to.chunks_exact_mut(features * lanes)) {
        if x.len() < features * lanes {
            to.fill(T::zero());
        }
        for (lane, x) in x.chunks_exact(features).enumerate() {
            for (to, &x) in to[lane..].iter_mut().step_by(lanes).zip(x) {
                *to = convert(x);
            }
        }
    }
    Ok(())
}

/// The inverse of [`gather`]: the samples that `x` has room for.
///
/// # Errors
/// As [`gather`].
pub fn scatter<T: Element>(from: &[T], features: usize, x: &mut [T]) -> Result<()> {
    const OP: &str = "lanes::scatter";
    let lanes = count::<T>()?;
    let samples = x.len().checked_div(features).unwrap_or(0);
    check_len(OP, "x (whole samples)", x, samples * features)?;
    check_len(OP, "lanes", from, samples.div_ceil(lanes) * features * lanes)?;
    if features == 0 {
        return Ok(());
    }
    for (x, from) in x.chunks_mut(features * lanes).zip(from.chunks_exact(features * lanes)) {
        for (lane, x) in x.chunks_exact_mut(features).enumerate() {
            for (x, &from) in x.iter_mut().zip(from[lane..].iter().step_by(lanes)) {
                *x = from;
            }
        }
    }
    Ok(())
}
