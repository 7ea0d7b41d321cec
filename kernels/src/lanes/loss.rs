//! Softmax and cross-entropy in lanes.

use pulp::{Simd, WithSimd};

use super::count;
use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::simd::Vector;
use crate::softmax::{Target, check_labels};

/// The loss of each sample, −Σ t·ln(softmax(x) + epsilon), and, in place of the scores x, its gradient by them divided by `batch`:
/// (softmax(x) − t)/batch, 0 in lanes without a sample.
///
/// `scores` is (groups, classes, lanes), `losses` and the target have a row for each sample.
///
/// # Errors
/// [`Error::Length`] and [`Error::Label`] where the target, or `scores`, does not fit the samples.
pub fn softmax_cross_entropy<T: Element>(
    scores: &mut [T],
    classes: usize,
    target: Target<'_, T>,
    epsilon: T,
    batch: usize,
    losses: &mut [T],
) -> Result<()> {
    const OP: &str = "lanes::softmax_cross_entropy";
    let (lanes, samples) = (count::<T>()?, losses.len());
    if classes == 0 {
        return Err(Error::Shape { op: OP, problem: "there are no classes".to_owned() });
    }
    check_len(OP, "scores", scores, samples.div_ceil(lanes) * classes * lanes)?;
    match target {
        Target::Labels(labels) => check_labels(OP, labels, samples, classes)?,
        Target::OneHot(t) => check_len(OP, "one-hot target", t, samples * classes)?,
    }
    let arch = Arch::current()?;
    let batch = T::of(batch as f64);
    let groups = scores.chunks_exact_mut(classes * lanes).zip(losses.chunks_mut(lanes));
    for (group, (scores, losses)) in groups.enumerate() {
        arch.dispatch(Softmax { scores });
        for (lane, loss) in losses.iter_mut().enumerate() {
            let sample = group * lanes + lane;
            *loss = T::zero();
            let mut lose = |class: usize, t: T| {
                let y = &mut scores[class * lanes + lane];
                *loss -= t * (*y + epsilon).ln();
                *y -= t;
            };
            match target {
                Target::Labels(labels) => lose(labels[sample], T::one()),
                Target::OneHot(t) => {
                    let t = &t[sample * classes..(sample + 1) * classes];
                    t.iter()
                        .enumerate()
                        .filter(|(_, t)| **t != T::zero())
                        .for_each(|(c, &t)| lose(c, t));
                }
            }
        }
        for scores in scores.chunks_exact_mut(lanes) {
            let (filled, empty) = scores.split_at_mut(losses.len());
            filled.iter_mut().for_each(|y| *y /= batch);
            empty.fill(T::zero());
        }
    }
    Ok(())
}

/// Softmax over the classes of one lane group, in place.
struct Softmax<'a, T> {
    scores: &'a mut [T],
}

impl<T: Element> WithSimd for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = Vector::<T, S>::len();
        let mut max = Vector::splat(simd, T::neg_infinity());
        for x in self.scores.chunks_exact(lanes) {
            max = max.larger(Vector::load(simd, x));
        }
        let mut sum = Vector::zero(simd);
        for x in self.scores.chunks_exact_mut(lanes) {
            let e = (Vector::load(simd, x) - max).exp();
            sum = sum + e;
            e.store(x);
        }
        for x in self.scores.chunks_exact_mut(lanes) {
            (Vector::load(simd, x) / sum).store(x);
        }
    }
}
