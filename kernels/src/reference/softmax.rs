//! Twins of [`mod@crate::softmax`].

use crate::element::Element;
use crate::softmax::Target;

fn log_sum_exp<T: Element>(row: &[T]) -> T {
    // `Float::max` drops a NaN; the sum below brings it back.
    let max = row.iter().copied().fold(T::neg_infinity(), T::max);
    if max.is_infinite() {
        return row.iter().fold(max, |max, &x| if x.is_nan() { x } else { max });
    }
    max + row.iter().map(|&x| (x - max).exp()).sum::<T>().ln()
}

/// [`crate::softmax::softmax_rows`] by the definition.
pub fn softmax_rows<T: Element>(x: &[T], classes: usize, y: &mut [T]) {
    for (x, y) in x.chunks(classes).zip(y.chunks_mut(classes)) {
        let max = x.iter().copied().fold(T::neg_infinity(), T::max);
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - max).exp();
        }
        let sum: T = y.iter().copied().sum();
        for y in y {
            *y /= sum;
        }
    }
}

/// [`crate::softmax::log_sum_exp_rows`] by the definition.
pub fn log_sum_exp_rows<T: Element>(x: &[T], classes: usize, out: &mut [T]) {
    for (out, row) in out.iter_mut().zip(x.chunks(classes)) {
        *out = log_sum_exp(row);
    }
}

/// The target as one number for each row and class.
fn one_hot<T: Element>(target: Target<'_, T>, classes: usize) -> Vec<T> {
    match target {
        Target::OneHot(t) => t.to_vec(),
        Target::Labels(labels) => labels
            .iter()
            .flat_map(|&label| (0..classes).map(move |class| T::of(f64::from(class == label))))
            .collect(),
    }
}

/// The mean over rows of Σ t·term, where t is not 0.
fn mean<T: Element>(classes: usize, target: Target<'_, T>, term: impl Fn(usize, usize) -> T) -> T {
    let t = one_hot(target, classes);
    let mut sum = T::zero();
    for (index, &t) in t.iter().enumerate() {
        if t != T::zero() {
            sum += t * term(index / classes, index);
        }
    }
    sum / T::of((t.len() / classes) as f64)
}

/// [`crate::softmax::cross_entropy`] by the definition.
pub fn cross_entropy<T: Element>(y: &[T], classes: usize, target: Target<'_, T>, epsilon: T) -> T {
    mean(classes, target, |_, index| -(y[index] + epsilon).ln())
}

/// [`crate::softmax::softmax_cross_entropy`] by the definition.
pub fn softmax_cross_entropy<T: Element>(
    x: &[T],
    classes: usize,
    target: Target<'_, T>,
    epsilon: T,
    y: &mut [T],
) -> T {
    softmax_rows(x, classes, y);
    if epsilon != T::zero() {
        return cross_entropy(y, classes, target, epsilon);
    }
    mean(classes, target, |row, index| {
        log_sum_exp(&x[row * classes..(row + 1) * classes]) - x[index]
    })
}

/// [`crate::softmax::softmax_cross_entropy_backward`] by the definition.
pub fn softmax_cross_entropy_backward<T: Element>(
    y: &[T],
    classes: usize,
    target: Target<'_, T>,
    batch: usize,
    dx: &mut [T],
) {
    let batch = T::of(batch as f64);
    for ((dx, &y), t) in dx.iter_mut().zip(y).zip(one_hot(target, classes)) {
        *dx = (y - t) / batch;
    }
}
