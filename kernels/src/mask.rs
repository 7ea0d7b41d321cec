//! Masks, as NumPy keeps them: one byte an element.

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::parallel::Pool;

/// Elements a task takes.
const PART_LEN: usize = 8 * 1024;

/// Below this many elements waking a thread costs more than the work.
const PARALLEL_LEN: usize = 32 * 1024;

/// Runs the loop it holds, compiled for the machine's instruction set: plain loops, which vectorise by themselves.
struct Loop<F>(F);

impl<F: FnOnce()> WithSimd for Loop<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        (self.0)();
    }
}

/// y = max(x, 0) as [`crate::activation::relu`], and mask = x ≤ 0, which NaN is not (chapter 5).
///
/// # Errors
/// [`crate::Error::Length`] where the slices differ in length.
pub fn relu<T: Element>(x: &[T], y: &mut [T], mask: &mut [bool]) -> Result<()> {
    const OP: &str = "mask::relu";
    check_len(OP, "y", y, x.len())?;
    check_len(OP, "mask", mask, x.len())?;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    pool.for_each_part((y, mask, x), PART_LEN, |_, (y, mask, x)| {
        arch.dispatch(Loop(
            #[inline(always)]
            || {
                for ((y, mask), &x) in y.iter_mut().zip(mask).zip(x) {
                    *mask = x <= T::zero();
                    *y = if *mask { T::zero() } else { x };
                }
            },
        ));
    });
    Ok(())
}

/// x ← 0 where the mask is true.
///
/// # Errors
/// [`crate::Error::Length`] where the slices differ in length.
pub fn clear<T: Element>(mask: &[bool], x: &mut [T]) -> Result<()> {
    check_len("mask::clear", "mask", mask, x.len())?;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    pool.for_each_part((x, mask), PART_LEN, |_, (x, mask)| {
        arch.dispatch(Loop(
            #[inline(always)]
            || {
                for (x, &mask) in x.iter_mut().zip(mask) {
                    *x = if mask { T::zero() } else { *x };
                }
            },
        ));
    });
    Ok(())
}

/// y = x·mask, the mask counted as 1 and 0 (so ∞ and NaN leave NaN where it is false).
///
/// # Errors
/// [`crate::Error::Length`] where the slices differ in length.
pub fn multiply<T: Element>(mask: &[bool], x: &[T], y: &mut [T]) -> Result<()> {
    const OP: &str = "mask::multiply";
    check_len(OP, "mask", mask, x.len())?;
    check_len(OP, "y", y, x.len())?;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    pool.for_each_part((y, x, mask), PART_LEN, |_, (y, x, mask)| {
        arch.dispatch(Loop(
            #[inline(always)]
            || {
                for ((y, &x), &mask) in y.iter_mut().zip(x).zip(mask) {
                    *y = x * if mask { T::one() } else { T::zero() };
                }
            },
        ));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every<T: Element>() {
        let numbers = [f64::NEG_INFINITY, -2.0, -0.0, 0.0, f64::MIN_POSITIVE, 1.5, f64::INFINITY];
        let with_nan: Vec<T> = numbers.iter().chain(&[f64::NAN]).map(|&x| T::of(x)).collect();
        let x = with_nan.repeat(9);
        let (mut y, mut mask) = (vec![T::nan(); x.len()], vec![true; x.len()]);
        relu(&x, &mut y, &mut mask).unwrap();
        let mut cleared = x.clone();
        clear(&mask, &mut cleared).unwrap();
        let mut product = vec![T::nan(); x.len()];
        multiply(&mask, &x, &mut product).unwrap();
        for (i, &x) in x.iter().enumerate() {
            assert_eq!(mask[i], x <= T::zero(), "{x}");
            let (kept, gone) = (if mask[i] { T::zero() } else { x }, T::of(f64::from(mask[i])));
            for (found, expected) in [(y[i], kept), (cleared[i], kept), (product[i], x * gone)] {
                assert!(found == expected || (found.is_nan() && expected.is_nan()), "{x}");
            }
        }
    }

    #[test]
    fn masks_follow_their_definitions() {
        every::<f32>();
        every::<f64>();
    }

    #[test]
    fn lengths_that_differ_are_refused() {
        assert!(relu(&[1f32; 3], &mut [0.0; 3], &mut [false; 2]).is_err());
        assert!(clear(&[true; 2], &mut [0f32; 3]).is_err());
        assert!(multiply(&[true; 3], &[0f32; 3], &mut [0.0; 2]).is_err());
    }
}
