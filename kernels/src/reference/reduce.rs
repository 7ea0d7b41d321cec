//! Twins of [`mod@crate::reduce`].

use crate::element::Element;

/// [`crate::reduce::sum`] by the definition, from the first to the last.
pub fn sum<T: Element>(x: &[T]) -> T {
    x.iter().copied().sum()
}

/// [`crate::reduce::sum_squares`] by the definition, from the first to the last.
pub fn sum_squares<T: Element>(x: &[T]) -> T {
    x.iter().map(|&x| x * x).sum()
}

/// [`crate::reduce::sum_axis`] by the definition.
pub fn sum_axis<T: Element>([outer, len, inner]: [usize; 3], x: &[T], y: &mut [T]) {
    y.fill(T::zero());
    for o in 0..outer {
        for l in 0..len {
            for i in 0..inner {
                y[o * inner + i] += x[(o * len + l) * inner + i];
            }
        }
    }
}

/// [`crate::reduce::argmax_rows`] by the definition.
pub fn argmax_rows<T: Element>(x: &[T], classes: usize, out: &mut [usize]) {
    for (out, row) in out.iter_mut().zip(x.chunks(classes)) {
        *out = 0;
        for (class, &x) in row.iter().enumerate() {
            let best = row[*out];
            if x > best || (x.is_nan() && !best.is_nan()) {
                *out = class;
            }
        }
    }
}

/// [`crate::reduce::accuracy`] by the definition.
pub fn accuracy<T: Element>(x: &[T], classes: usize, labels: &[usize]) -> f64 {
    let mut predicted = vec![0; labels.len()];
    argmax_rows(x, classes, &mut predicted);
    let right = predicted.iter().zip(labels).filter(|(p, label)| p == label).count();
    right as f64 / labels.len() as f64
}
