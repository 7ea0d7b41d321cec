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
    let (arch, group) = (Arch::current()?, (features * count).max(1));
    for (x, to) in x.chunks(group).zip(lanes.chunks_exact_mut(group)) {
        if x.len() < group {
            to.fill(T::zero());
        }
        let size = [x.len() / features, features];
        arch.dispatch(Turn { from: x, row: features, to, step: count, size });
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
    let (arch, group) = (Arch::current()?, (features * count).max(1));
    for (x, from) in x.chunks_mut(group).zip(lanes.chunks_exact(group)) {
        let size = [features, x.len() / features];
        arch.dispatch(Turn { from, row: count, to: x, step: features, size });
    }
    Ok(())
}

fn check<T>(op: &'static str, x: &[T], features: usize, lanes: &[T], count: usize) -> Result<()> {
    let samples = x.len().checked_div(features).unwrap_or(0);
    check_len(op, "x (whole samples)", x, samples * features)?;
    check_len(op, "lanes", lanes, samples.div_ceil(count) * features * count)
}

/// `to[c·step + r]` = `from[r·row + c]` for all rows r and columns c.
pub(super) struct Turn<'a, T> {
    pub(super) from: &'a [T],
    pub(super) row: usize,
    pub(super) to: &'a mut [T],
    pub(super) step: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
}

impl<T: Element> WithSimd for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { from, row, to, step, size: [rows, columns] } = self;
        // In squares, where the instruction set turns them in registers.
        let [full_rows, full_columns] = [rows, columns].map(|len| len - len % T::SIDE);
        let mut turned = true;
        for r in (0..full_rows).step_by(T::SIDE) {
            for c in (0..full_columns).step_by(T::SIDE) {
                let from = &from[r * row + c..][..(T::SIDE - 1) * row + T::SIDE];
                let to = &mut to[c * step + r..][..(T::SIDE - 1) * step + T::SIDE];
                // SAFETY: the slices hold a square each.
                turned &= unsafe {
                    T::transpose(simd, from.as_ptr(), row as isize, T::SIDE, to.as_mut_ptr(), step)
                };
            }
        }
        for r in 0..rows {
            let first = if turned && r < full_rows { full_columns } else { 0 };
            for c in first..columns {
                to[c * step + r] = from[r * row + c];
            }
        }
    }
}
