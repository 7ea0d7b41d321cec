//! `cargo bench -p kasoku-benches --bench softmax`: softmax and the loss on it against the naive loops, one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::{bytes_group, criterion, random, versus};
use kasoku_kernels::reference::softmax as naive;
use kasoku_kernels::softmax::{
    Target, cross_entropy, log_sum_exp_rows, softmax_cross_entropy, softmax_cross_entropy_backward,
    softmax_rows,
};
use kasoku_kernels::{Element, set_num_threads};

/// Rows × classes: a batch of MNIST, a test set of it, and a vocabulary.
const SHAPES: [(usize, usize); 3] = [(100, 10), (10_000, 10), (100, 10_000)];

fn softmax<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (rows, classes) in SHAPES {
        let x = random::<T>(rows * classes);
        let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
        let one_hot: Vec<T> = (0..x.len())
            .map(|at| if at % classes == labels[at / classes] { T::one() } else { T::zero() })
            .collect();
        let targets = [("", Target::Labels(&labels)), (" one-hot", Target::OneHot(&one_hot))];
        let epsilon = T::of(1e-7);
        let (mut y, mut y_naive) = (x.clone(), x.clone());
        let (mut sums, mut sums_naive) = (random::<T>(rows), random::<T>(rows));
        let bytes = 2 * x.len() * size_of::<T>();
        let title = |op: &str| format!("{op} {} {rows}x{classes}", T::NAME);

        versus(
            bytes_group::<T>(criterion, title("softmax"), bytes),
            || softmax_rows(&x, classes, &mut y),
            || naive::softmax_rows(&x, classes, &mut y_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("log-sum-exp"), bytes / 2),
            || log_sum_exp_rows(&x, classes, &mut sums),
            || naive::log_sum_exp_rows(&x, classes, &mut sums_naive),
        );
        let mut probabilities = x.clone();
        naive::softmax_rows(&x, classes, &mut probabilities);
        for (kind, target) in targets {
            let read = match target {
                Target::Labels(_) => rows * size_of::<usize>(),
                Target::OneHot(_) => bytes / 2,
            };
            let title = |op: &str| title(&format!("{op}{kind}"));
            versus(
                bytes_group::<T>(criterion, title("softmax + cross-entropy"), bytes + read),
                || softmax_cross_entropy(&x, classes, target, epsilon, &mut y),
                || naive::softmax_cross_entropy(&x, classes, target, epsilon, &mut y_naive),
            );
            // By labels it reads one of each row.
            let touched = match target {
                Target::Labels(_) => read + rows * size_of::<T>(),
                Target::OneHot(_) => bytes,
            };
            versus(
                bytes_group::<T>(criterion, title("cross-entropy"), touched),
                || cross_entropy(&probabilities, classes, target, epsilon),
                || naive::cross_entropy(&probabilities, classes, target, epsilon),
            );
            versus(
                bytes_group::<T>(
                    criterion,
                    title("softmax + cross-entropy backward"),
                    bytes + read,
                ),
                || softmax_cross_entropy_backward(&probabilities, classes, target, rows, &mut y),
                || {
                    naive::softmax_cross_entropy_backward(
                        &probabilities,
                        classes,
                        target,
                        rows,
                        &mut y_naive,
                    )
                },
            );
        }
    }
}

criterion_group! { name = benches; config = criterion(); targets = softmax::<f32>, softmax::<f64> }
criterion_main!(benches);
