//! `cargo bench -p kasoku-benches --bench elementwise`: activations, normalisation, dropout, reductions and parameter updates against
//! the naive loops, one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::shapes::VECTORS;
use kasoku_benches::{bytes_group, criterion, random, versus};
use kasoku_kernels::activation::{exp, log, relu, relu_backward, sigmoid, tanh};
use kasoku_kernels::batch_norm::{
    BatchStatistics, batch_norm_backward, batch_norm_forward, batch_norm_inference,
};
use kasoku_kernels::dropout::{DropoutKey, dropout, dropout_in_place, dropout_mask};
use kasoku_kernels::optimize::{Adam, Momentum, Sgd};
use kasoku_kernels::reduce::{accuracy, argmax_rows, sum, sum_axis, sum_squares};
use kasoku_kernels::{Element, reference, set_num_threads};

fn activations<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (name, len) in VECTORS {
        let x: Vec<T> = random::<T>(len).iter().map(|&x| x + T::of(1.5)).collect();
        let (mut y, mut y_naive) = (x.clone(), x.clone());
        let bytes = 2 * len * size_of::<T>();
        type Unary<T, R> = fn(&[T], &mut [T]) -> R;
        let ops: [(&str, Unary<T, _>, Unary<T, ()>); 5] = [
            ("relu", relu, reference::activation::relu),
            ("exp", exp, reference::activation::exp),
            ("log", log, reference::activation::log),
            ("sigmoid", sigmoid, reference::activation::sigmoid),
            ("tanh", tanh, reference::activation::tanh),
        ];
        for (op, ours, naive) in ops {
            let title = format!("{op} {} {name}", T::NAME);
            let group = bytes_group::<T>(criterion, title, bytes);
            versus(group, || ours(&x, &mut y), || naive(&x, &mut y_naive));
        }
        versus(
            bytes_group::<T>(criterion, format!("relu backward {} {name}", T::NAME), bytes * 3 / 2),
            || relu_backward(&x, &mut y),
            || reference::activation::relu_backward(&x, &mut y_naive),
        );
        let key = DropoutKey { seed: 1, step: 2, layer: 3 };
        versus(
            bytes_group::<T>(criterion, format!("dropout {} {name}", T::NAME), bytes),
            || dropout(key, 0.5, T::one(), &x, &mut y),
            || reference::dropout::dropout(key, 0.5, T::one(), &x, &mut y_naive),
        );
        versus(
            bytes_group::<T>(criterion, format!("dropout in place {} {name}", T::NAME), bytes),
            || dropout_in_place(key, 0.5, T::one(), &mut y),
            || reference::dropout::dropout(key, 0.5, T::one(), &x, &mut y_naive),
        );
    }
}

fn masks(criterion: &mut Criterion) {
    set_num_threads(1);
    let key = DropoutKey { seed: 1, step: 2, layer: 3 };
    for (name, len) in VECTORS {
        let (mut mask, mut mask_naive) = (vec![false; len], vec![false; len]);
        versus(
            bytes_group::<f32>(criterion, format!("dropout mask {name}"), len),
            || dropout_mask(key, 0.5, &mut mask),
            || reference::dropout::dropout_mask(key, 0.5, &mut mask_naive),
        );
    }
}

fn reductions<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (name, len) in VECTORS {
        let x = random::<T>(len);
        let bytes = len * size_of::<T>();
        let title = |op: &str| format!("{op} {} {name}", T::NAME);
        let group = bytes_group::<T>(criterion, title("sum"), bytes);
        versus(group, || sum(&x), || reference::reduce::sum(&x));
        let group = bytes_group::<T>(criterion, title("sum of squares"), bytes);
        versus(group, || sum_squares(&x), || reference::reduce::sum_squares(&x));

        let shape = [1, len / 64, 64];
        let (mut sums, mut sums_naive) = (random::<T>(64), random::<T>(64));
        versus(
            bytes_group::<T>(criterion, title("sum over rows of 64"), bytes),
            || sum_axis(shape, &x, &mut sums),
            || reference::reduce::sum_axis(shape, &x, &mut sums_naive),
        );
        let (mut classes, mut classes_naive) = (vec![0; len / 16], vec![0; len / 16]);
        versus(
            bytes_group::<T>(criterion, title("argmax of rows of 16"), bytes),
            || argmax_rows(&x, 16, &mut classes),
            || reference::reduce::argmax_rows(&x, 16, &mut classes_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("accuracy of rows of 16"), bytes),
            || accuracy(&x, 16, &classes),
            || reference::reduce::accuracy(&x, 16, &classes),
        );
    }
}

fn normalisation<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    // A hidden layer per feature as in the book, and a convolution's output per channel.
    for (name, shape) in [("100x100", [100, 100, 1]), ("10x16x28x28", [10, 16, 784])] {
        let [_, channels, _] = shape;
        let x = random::<T>(shape.iter().product());
        let (gamma, beta) = (random::<T>(channels), random::<T>(channels));
        let epsilon = T::of(1e-6);
        let (mut y, mut y_naive) = (x.clone(), x.clone());
        let [mut mean, mut var, mut inv_std] = [gamma.clone(), gamma.clone(), gamma.clone()];
        let [mut mean_naive, mut var_naive, mut inv_std_naive] =
            [gamma.clone(), gamma.clone(), gamma.clone()];
        let bytes = 2 * x.len() * size_of::<T>();
        let title = |op: &str| format!("{op} {} {name}", T::NAME);
        versus(
            bytes_group::<T>(criterion, title("batch norm forward"), bytes),
            || {
                let statistics =
                    BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
                batch_norm_forward(shape, &x, &gamma, &beta, epsilon, &mut y, statistics)
            },
            || {
                let statistics = BatchStatistics {
                    mean: &mut mean_naive,
                    var: &mut var_naive,
                    inv_std: &mut inv_std_naive,
                };
                reference::batch_norm::batch_norm_forward(
                    shape,
                    &x,
                    &gamma,
                    &beta,
                    epsilon,
                    &mut y_naive,
                    statistics,
                )
            },
        );
        let var = vec![T::one(); channels];
        versus(
            bytes_group::<T>(criterion, title("batch norm inference"), bytes),
            || batch_norm_inference(shape, &x, &gamma, &beta, &mean, &var, epsilon, &mut y),
            || {
                reference::batch_norm::batch_norm_inference(
                    shape,
                    &x,
                    &gamma,
                    &beta,
                    &mean,
                    &var,
                    epsilon,
                    &mut y_naive,
                )
            },
        );
        let dy = random::<T>(x.len());
        let (mut dgamma, mut dbeta) = (gamma.clone(), beta.clone());
        let (mut dgamma_naive, mut dbeta_naive) = (gamma.clone(), beta.clone());
        versus(
            bytes_group::<T>(criterion, title("batch norm backward"), bytes * 3 / 2),
            || {
                batch_norm_backward(
                    shape,
                    &x,
                    &gamma,
                    &mean,
                    &inv_std,
                    &dy,
                    &mut y,
                    &mut dgamma,
                    &mut dbeta,
                )
            },
            || {
                reference::batch_norm::batch_norm_backward(
                    shape,
                    &x,
                    &gamma,
                    &mean,
                    &inv_std,
                    &dy,
                    &mut y_naive,
                    &mut dgamma_naive,
                    &mut dbeta_naive,
                )
            },
        );
    }
}

fn updates<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (name, len) in VECTORS {
        let g = random::<T>(len);
        let [mut p, mut m, mut v] = [g.clone(), g.clone(), vec![T::one(); len]];
        let [mut p_naive, mut m_naive, mut v_naive] = [p.clone(), m.clone(), v.clone()];
        let bytes = len * size_of::<T>();
        let title = |op: &str| format!("{op} {} {name}", T::NAME);
        let (lr, weight_decay) = (T::of(1e-3), T::zero());

        let sgd = Sgd { lr, weight_decay };
        versus(
            bytes_group::<T>(criterion, title("SGD"), 3 * bytes),
            || sgd.update(&mut p, &g),
            || reference::optimize::sgd(&sgd, &mut p_naive, &g),
        );
        let momentum = Momentum { lr, momentum: T::of(0.9), weight_decay };
        versus(
            bytes_group::<T>(criterion, title("Momentum"), 5 * bytes),
            || momentum.update(&mut p, &g, &mut m),
            || reference::optimize::momentum(&momentum, &mut p_naive, &g, &mut m_naive),
        );
        let (beta1, beta2, epsilon) = (T::of(0.9), T::of(0.999), T::of(1e-7));
        let adam = Adam { lr, beta1, beta2, epsilon, weight_decay };
        versus(
            bytes_group::<T>(criterion, title("Adam"), 7 * bytes),
            || adam.update(1, &mut p, &g, &mut m, &mut v),
            || reference::optimize::adam(&adam, 1, &mut p_naive, &g, &mut m_naive, &mut v_naive),
        );
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = activations::<f32>, activations::<f64>, masks, reductions::<f32>, reductions::<f64>,
        normalisation::<f32>, normalisation::<f64>, updates::<f32>, updates::<f64>
}
criterion_main!(benches);
