//! The cross-entropy of some rows, and its gradient.

use pulp::{Simd, WithSimd};

use super::Target;
use crate::element::Element;
use crate::exp::Functions;
use crate::simd::{MAX_LANES, Vector};

/// What the logarithm of a probability is taken from.
#[derive(Clone, Copy)]
pub(super) enum Scores<'a, T> {
    /// ln(y + epsilon) of probabilities y.
    Probabilities { y: &'a [T], epsilon: T },
    /// x − log-sum-exp(x): the exact logarithm of softmax.
    Logits { x: &'a [T], log_sums: &'a [T] },
}

/// The sum over rows of −Σ t·ln y, over the classes whose t is not 0.
pub(super) struct CrossEntropy<'a, T> {
    pub(super) scores: Scores<'a, T>,
    pub(super) classes: usize,
    pub(super) target: Target<'a, T>,
}

impl<T: Element> WithSimd for CrossEntropy<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self { scores, classes, target } = self;
        match (target, scores) {
            (Target::Labels(labels), Scores::Logits { x, log_sums }) => {
                let rows = labels.iter().zip(x.chunks_exact(classes)).zip(log_sums);
                rows.map(|((&label, x), &log_sum)| (log_sum - x[label]).as_f64()).sum()
            }
            (Target::Labels(labels), Scores::Probabilities { y, epsilon }) => {
                let mut sum = 0.0;
                let lanes = Vector::<T, S>::len();
                for (labels, y) in labels.chunks(lanes).zip(y.chunks(lanes * classes)) {
                    let mut right = [T::one(); MAX_LANES];
                    for (lane, &label) in labels.iter().enumerate() {
                        right[lane] = y[lane * classes + label] + epsilon;
                    }
                    let logs = Vector::load(simd, &right).log().to_array();
                    logs[..labels.len()].iter().for_each(|log| sum -= log.as_f64());
                }
                sum
            }
            (Target::OneHot(t), Scores::Logits { x, log_sums }) => {
                let rows = t.chunks_exact(classes).zip(x.chunks_exact(classes));
                let losses = rows.zip(log_sums).map(|((t, x), &log_sum)| {
                    let losses = t.iter().zip(x).map(|(&t, &x)| (t, log_sum - x));
                    let losses = losses.map(|(t, loss)| if t == T::zero() { t } else { t * loss });
                    losses.fold(0.0, |sum, loss| sum + loss.as_f64())
                });
                losses.sum()
            }
            (Target::OneHot(t), Scores::Probabilities { y, epsilon }) => {
                let (lanes, zero) = (Vector::<T, S>::len(), Vector::zero(simd));
                let mut sum = zero;
                for (t, y) in t.chunks(lanes).zip(y.chunks(lanes)) {
                    let t = Vector::load_partial(simd, t);
                    let y = Vector::load_partial(simd, y) + Vector::splat(simd, epsilon);
                    sum = sum - t.eq(zero).select(zero, t * y.log());
                }
                sum.sum().as_f64()
            }
        }
    }
}

/// dx = (y − t)/batch.
pub(super) struct Gradient<'a, T> {
    pub(super) y: &'a [T],
    pub(super) classes: usize,
    pub(super) target: Target<'a, T>,
    pub(super) batch: T,
    pub(super) dx: &'a mut [T],
}

impl<T: Element> WithSimd for Gradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { y, classes, target, batch, dx } = self;
        let lanes = Vector::<T, S>::len();
        let by = Vector::splat(simd, batch);
        match target {
            Target::Labels(labels) => {
                for (dx, y) in dx.chunks_mut(lanes).zip(y.chunks(lanes)) {
                    let share = Vector::load_partial(simd, y) / by;
                    store(share, dx);
                }
                for (row, &label) in labels.iter().enumerate() {
                    let at = row * classes + label;
                    dx[at] = (y[at] - T::one()) / batch;
                }
            }
            Target::OneHot(t) => {
                for (dx, (y, t)) in dx.chunks_mut(lanes).zip(y.chunks(lanes).zip(t.chunks(lanes))) {
                    let share =
                        (Vector::load_partial(simd, y) - Vector::load_partial(simd, t)) / by;
                    store(share, dx);
                }
            }
        }
    }
}

/// All of `x`, or as much as `to` holds.
#[inline(always)]
fn store<T: Element, S: Simd>(x: Vector<T, S>, to: &mut [T]) {
    if to.len() == Vector::<T, S>::len() { x.store(to) } else { x.store_partial(to) }
}
