//! Twins of [`mod@crate::batch_norm`].

use crate::batch_norm::BatchStatistics;
use crate::element::Element;

/// The indices of channel `c` in an array of `shape`.
fn channel([batch, channels, inner]: [usize; 3], c: usize) -> impl Iterator<Item = usize> {
    (0..batch).flat_map(move |n| (0..inner).map(move |i| (n * channels + c) * inner + i))
}

/// [`crate::batch_norm::batch_norm_forward`] by the definition.
pub fn batch_norm_forward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    beta: &[T],
    epsilon: T,
    y: &mut [T],
    statistics: BatchStatistics<'_, T>,
) {
    let count = T::of((shape[0] * shape[2]) as f64);
    for c in 0..shape[1] {
        let mean = channel(shape, c).map(|i| x[i]).sum::<T>() / count;
        let var = channel(shape, c).map(|i| (x[i] - mean) * (x[i] - mean)).sum::<T>() / count;
        let inv_std = T::one() / (var + epsilon).sqrt();
        for i in channel(shape, c) {
            y[i] = gamma[c] * ((x[i] - mean) * inv_std) + beta[c];
        }
        statistics.mean[c] = mean;
        statistics.var[c] = var;
        statistics.inv_std[c] = inv_std;
    }
}

/// [`crate::batch_norm::batch_norm_inference`] by the definition.
#[allow(clippy::too_many_arguments)] // the operation's operands
pub fn batch_norm_inference<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    var: &[T],
    epsilon: T,
    y: &mut [T],
) {
    for c in 0..shape[1] {
        for i in channel(shape, c) {
            y[i] = gamma[c] * (x[i] - mean[c]) / (var[c] + epsilon).sqrt() + beta[c];
        }
    }
}

/// [`crate::batch_norm::batch_norm_backward`] by the definition: the chain rule, node by node, as in
/// the book's layer.
#[allow(clippy::too_many_arguments)] // the operation's operands
pub fn batch_norm_backward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    mean: &[T],
    inv_std: &[T],
    dy: &[T],
    dx: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
) {
    let count = T::of((shape[0] * shape[2]) as f64);
    let two = T::of(2.0);
    for c in 0..shape[1] {
        let centred = |i: usize| x[i] - mean[c];
        dbeta[c] = channel(shape, c).map(|i| dy[i]).sum();
        dgamma[c] = channel(shape, c).map(|i| dy[i] * (centred(i) * inv_std[c])).sum();
        let dstd: T = channel(shape, c)
            .map(|i| -(gamma[c] * dy[i] * centred(i)) * inv_std[c] * inv_std[c])
            .sum();
        let dvar = dstd * inv_std[c] / two;
        for i in channel(shape, c) {
            dx[i] = gamma[c] * dy[i] * inv_std[c] + two / count * centred(i) * dvar;
        }
        let dmean: T = channel(shape, c).map(|i| dx[i]).sum();
        for i in channel(shape, c) {
            dx[i] -= dmean / count;
        }
    }
}
