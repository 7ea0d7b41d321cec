//! Samples into lanes and back.

use pulp::{Simd, WithSimd};

use super::count;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len};

/// Transposes samples, one after another as layers hold them, into lane groups: rows of `features` elements become (groups,
/// features, lanes). Lanes without a sample become 0.
///
/// # Errors
/// [`crate::Error::Length`] where `x` is not whole rows, or `lanes` not the groups that they fill.
pub fn gather<T: Element>(x: &[T], features: usize, lanes: &mut [T]) -> Result<()> {
    const OP: &str = "lanes::gather";
    let count = count::<T>()?;
    check(OP, x, features, lanes, count)?;
    for (x, to) in x.chunks(features * count).zip(lanes.chunks_exact_mut(features * count)) {
        if x.len() < features * count {
            to.fill(T::zero());
        }
        Arch::current()?.dispatch(Gather { x, features, to, lanes: count });
    }
    Ok(())
}

/// The inverse of [`gather`]: the samples that `x` has room for.
///
/// # Errors
/// As [`gather`].
pub fn scatter<T: Element>(lanes: &[T], features: usize, x: &mut [T]) -> Result<()> {
    const OP: &str = "lanes::scatter";
    let count = count::<T>()?;
    check(OP, x, features, lanes, count)?;
    for (x, from) in x.chunks_mut(features * count).zip(lanes.chunks_exact(features * count)) {
        Arch::current()?.dispatch(Scatter { from, features, x, lanes: count });
    }
    Ok(())
}

fn check<T>(op: &'static str, x: &[T], features: usize, lanes: &[T], count: usize) -> Result<()> {
    let samples = x.len().checked_div(features).unwrap_or(0);
    check_len(op, "x (whole samples)", x, samples * features)?;
    check_len(op, "lanes", lanes, samples.div_ceil(count) * features * count)
}

/// The squares that [`crate::gemm::transpose::Transpose`] turns: of how many samples, and up to which feature.
fn squares<T: Element>(samples: usize, features: usize) -> [usize; 2] {
    [samples, features].map(|len| len - len % T::SIDE)
}

/// One group: `to` has a register for each feature.
struct Gather<'a, T> {
    x: &'a [T],
    features: usize,
    to: &'a mut [T],
    lanes: usize,
}

impl<T: Element> WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, features, to, lanes } = self;
        let samples = x.len() / features;
        let [full_samples, full_features] = squares::<T>(samples, features);
        let mut turned = true;
        for sample in (0..full_samples).step_by(T::SIDE) {
            for feature in (0..full_features).step_by(T::SIDE) {
                let from = &x[sample * features + feature..][..(T::SIDE - 1) * features + T::SIDE];
                let to = &mut to[feature * lanes + sample..][..(T::SIDE - 1) * lanes + T::SIDE];
                // SAFETY: the slices hold a square each.
                turned &= unsafe {
                    let row = features as isize;
                    T::transpose(simd, from.as_ptr(), row, T::SIDE, to.as_mut_ptr(), lanes)
                };
            }
        }
        for (sample, x) in x.chunks_exact(features).enumerate() {
            let first = if turned && sample < full_samples { full_features } else { 0 };
            let to = to.get_mut(first * lanes + sample..).unwrap_or_default();
            to.iter_mut().step_by(lanes).zip(&x[first..]).for_each(|(to, &x)| *to = x);
        }
    }
}

/// One group, the other way.
struct Scatter<'a, T> {
    from: &'a [T],
    features: usize,
    x: &'a mut [T],
    lanes: usize,
}

impl<T: Element> WithSimd for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { from, features, x, lanes } = self;
        let samples = x.len() / features;
        let [full_samples, full_features] = squares::<T>(samples, features);
        let mut turned = true;
        for feature in (0..full_features).step_by(T::SIDE) {
            for sample in (0..full_samples).step_by(T::SIDE) {
                let from = &from[feature * lanes + sample..][..(T::SIDE - 1) * lanes + T::SIDE];
                let to =
                    &mut x[sample * features + feature..][..(T::SIDE - 1) * features + T::SIDE];
                // SAFETY: the slices hold a square each.
                turned &= unsafe {
                    let row = lanes as isize;
                    T::transpose(simd, from.as_ptr(), row, T::SIDE, to.as_mut_ptr(), features)
                };
            }
        }
        for (sample, x) in x.chunks_exact_mut(features).enumerate() {
            let first = if turned && sample < full_samples { full_features } else { 0 };
            let from = from.get(first * lanes + sample..).unwrap_or_default();
            x[first..].iter_mut().zip(from.iter().step_by(lanes)).for_each(|(x, &from)| *x = from);
        }
    }
}
