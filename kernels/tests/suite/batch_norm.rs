//! Batch normalisation against its definition in f64, and its gradients.

use super::common::*;
use kasoku_kernels::batch_norm::*;
use kasoku_kernels::{Element, Error, reference::batch_norm as twin};
use proptest::prelude::*;

/// Per feature and per channel, around the lanes and around the inner length up to which channels are
/// summed as columns; a batch of one, and channels of one element; channels for several tasks.
const SHAPES: [[usize; 3]; 18] = [
    [1, 1, 1],
    [1, 5, 1],
    [2, 33, 1],
    [100, 100, 1],
    [7, 64, 1],
    [9, 130, 1],
    [3, 0, 4],
    [4, 3, 2],
    [5, 17, 15],
    [5, 2, 16],
    [3, 4, 17],
    [2, 3, 49],
    [10, 3, 784],
    [1, 2, 1000],
    [300, 2, 70],
    [2000, 3, 1],
    [700, 101, 1],
    [300, 50, 5],
];

struct Operands<T> {
    x: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    dy: Vec<T>,
}

impl<T: Element> Operands<T> {
    /// x about `centre`.
    fn random([batch, channels, inner]: [usize; 3], centre: f64, seed: u64) -> Self {
        let len = batch * channels * inner;
        Self {
            x: random::<T>(len, seed).iter().map(|&x| x + T::of(centre)).collect(),
            gamma: random(channels, seed ^ 1),
            beta: random(channels, seed ^ 2),
            dy: random(len, seed ^ 3),
        }
    }

    fn wide(&self) -> Operands<f64> {
        let wide = |x: &[T]| x.iter().map(|x| x.as_f64()).collect();
        Operands {
            x: wide(&self.x),
            gamma: wide(&self.gamma),
            beta: wide(&self.beta),
            dy: wide(&self.dy),
        }
    }
}

/// y, mean, var and inv_std.
fn forward<T: Element>(shape: [usize; 3], operands: &Operands<T>, epsilon: f64) -> [Vec<T>; 4] {
    let Operands { x, gamma, beta, .. } = operands;
    let mut y = vec![T::nan(); x.len()];
    let [mut mean, mut var, mut inv_std] = [0; 3].map(|_| vec![T::nan(); shape[1]]);
    let statistics = BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
    batch_norm_forward(shape, x, gamma, beta, T::of(epsilon), &mut y, statistics).unwrap();
    [y, mean, var, inv_std]
}

fn exact(shape: [usize; 3], operands: &Operands<f64>, epsilon: f64) -> [Vec<f64>; 4] {
    let Operands { x, gamma, beta, .. } = operands;
    let mut y = vec![f64::NAN; x.len()];
    let [mut mean, mut var, mut inv_std] = [0; 3].map(|_| vec![f64::NAN; shape[1]]);
    let statistics = BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
    twin::batch_norm_forward(shape, x, gamma, beta, epsilon, &mut y, statistics);
    [y, mean, var, inv_std]
}

fn narrow<T: Element>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&x| T::of(x)).collect()
}

/// dx, dgamma and dbeta.
fn backward<T: Element>(
    shape: [usize; 3],
    operands: &Operands<T>,
    mean: &[T],
    inv_std: &[T],
) -> [Vec<T>; 3] {
    let Operands { x, gamma, dy, .. } = operands;
    let mut dx = vec![T::nan(); x.len()];
    let (mut dgamma, mut dbeta) = (vec![T::nan(); shape[1]], vec![T::nan(); shape[1]]);
    batch_norm_backward(shape, x, gamma, mean, inv_std, dy, &mut dx, &mut dgamma, &mut dbeta)
        .unwrap();
    [dx, dgamma, dbeta]
}

fn check<T: Element>(shape: [usize; 3], seed: u64) {
    const EPSILON: f64 = 0.01;
    let what = format!("{shape:?}");
    let operands = Operands::<T>::random(shape, 0.5, seed);
    let [y, mean, var, inv_std] = forward(shape, &operands, EPSILON);
    let [y_exact, mean_exact, var_exact, inv_std_exact] = exact(shape, &operands.wide(), EPSILON);
    // Roundings of a sum of M terms, each at most ε/2 of what has been added up, wander: they end
    // within √M·ε of the sum of the terms' sizes (six standard deviations), which one lost term exceeds.
    let count = (shape[0] * shape[2]) as f64;
    let sum = count.sqrt() + 4.0;
    let size = |size: f64| vec![T::of(size); shape[1]];
    assert_close_at(&mean, &narrow(&mean_exact), &size(2.5), sum, &what);
    // The terms are positive; the mean's own error, squared, joins them.
    let mean_error = 2.5 * sum * T::epsilon().as_f64();
    let squared = size(2.0 * 2.5 * mean_error);
    assert_close_at(&var, &narrow(&var_exact), &squared, sum + 3.0, &what);
    // Half the relative error of var + EPSILON.
    assert_close(&inv_std, &narrow(&inv_std_exact), sum / 2.0 + 4.0, &what);

    let wide = operands.wide();
    let as_f64 = |x: &[T]| x.iter().map(|x| x.as_f64()).collect::<Vec<_>>();
    let (mean, inv_std) = (as_f64(&mean), as_f64(&inv_std));
    let channel = |i: usize| i / shape[2] % shape[1];
    let x_hat = |i: usize| (wide.x[i] - mean[channel(i)]) * inv_std[channel(i)];
    // x̂ is as far off as its size, or the mean's, has epsilons.
    let x_hat_size = |i: usize| x_hat(i).abs() + 2.5 * inv_std[channel(i)];
    let sizes = |size: &dyn Fn(usize) -> f64| {
        (0..wide.x.len()).map(|i| T::of(size(i).abs())).collect::<Vec<_>>()
    };
    let y_sizes = sizes(&|i| {
        let c = channel(i);
        wide.gamma[c].abs() * x_hat_size(i) + wide.beta[c].abs()
    });
    assert_close_at(&y, &narrow(&y_exact), &y_sizes, sum + 8.0, &what);

    // The twin takes the same statistics.
    let [dx, dgamma, dbeta] = backward(shape, &operands, &narrow(&mean), &narrow(&inv_std));
    let [mut dx_exact, mut dgamma_exact, mut dbeta_exact] =
        [y.len(), shape[1], shape[1]].map(|len| vec![f64::NAN; len]);
    twin::batch_norm_backward(
        shape,
        &wide.x,
        &wide.gamma,
        &mean,
        &inv_std,
        &wide.dy,
        &mut dx_exact,
        &mut dgamma_exact,
        &mut dbeta_exact,
    );
    let (mut dbeta_size, mut dgamma_size) = (vec![0.0; shape[1]], vec![0.0; shape[1]]);
    for (i, dy) in wide.dy.iter().enumerate() {
        dbeta_size[channel(i)] += dy.abs();
        dgamma_size[channel(i)] += (dy * x_hat(i)).abs();
    }
    assert_close_at(&dbeta, &narrow(&dbeta_exact), &narrow(&dbeta_size), sum, &what);
    assert_close_at(&dgamma, &narrow(&dgamma_exact), &narrow(&dgamma_size), sum + 3.0, &what);
    // The twin's way to dx is another: that Σ x̂ vanishes is true only up to the mean's error.
    let dx_sizes = sizes(&|i| {
        let c = channel(i);
        let means = dbeta_size[c] / count + x_hat_size(i) * dgamma_size[c] / count;
        wide.gamma[c] * inv_std[c] * (wide.dy[i].abs() + means)
    });
    assert_close_at(&dx, &narrow(&dx_exact), &dx_sizes, sum + 8.0, &what);
}

#[test]
fn they_agree_with_their_definitions() {
    for shape in SHAPES {
        check::<f32>(shape, 1);
        check::<f64>(shape, 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_at_any_shape(
        batch in 1usize..6, channels in 0usize..70, inner in 1usize..40, seed: u64,
    ) {
        check::<f32>([batch, channels, inner], seed);
        check::<f64>([batch, channels, inner], seed);
        check::<f32>([batch, channels, 1], seed);
    }
}

/// A batch in parts of `part` samples is the batch.
fn check_parts<T: Element>(shape @ [batch, channels, inner]: [usize; 3], part: usize) {
    let what = format!("{shape:?} in parts of {part}");
    let operands = Operands::<T>::random(shape, 0.5, 3);
    let Operands { x, gamma, beta, dy } = &operands;
    let [y, mean, var, inv_std] = forward(shape, &operands, 0.01);
    let [dx, dgamma, dbeta] = backward(shape, &operands, &mean, &inv_std);
    let image = channels * inner;
    let parts = || x.chunks(part * image).zip(dy.chunks(part * image));
    let shape_of = |x: &[T]| [x.len() / image, channels, inner];
    let len = batch.div_ceil(part) * 2 * channels;
    let (mut moments, mut sums) = (vec![T::nan(); len], vec![T::nan(); len]);
    let to = moments.chunks_mut(2 * channels).zip(sums.chunks_mut(2 * channels));
    for ((x, dy), (moments, sums)) in parts().zip(to) {
        parts::moments(shape_of(x), x, moments).unwrap();
        parts::gradients(shape_of(x), x, dy, [&mean, &inv_std], sums).unwrap();
    }
    let (mut own_mean, mut own_var) = (mean.clone(), var.clone());
    let elements = [batch * inner, part * inner];
    parts::batch_moments(&moments, elements, &mut own_mean, &mut own_var).unwrap();
    // Both are as far from the definition as `check` allows.
    let bound = 2.0 * ((batch * inner) as f64).sqrt() + 16.0;
    let size = vec![T::of(2.5); channels];
    assert_close_at(&own_mean, &mean, &size, bound, &what);
    assert_close_at(&own_var, &var, &vec![T::of(6.25); channels], bound, &what);
    let sum = |from: usize| -> Vec<T> {
        let columns = |c: usize| sums.chunks(2 * channels).map(move |sums| sums[from + c]);
        (0..channels).map(|c| columns(c).sum()).collect()
    };
    let size = |term: f64| vec![T::of(term * (batch * inner) as f64); channels];
    assert_close_at(&sum(0), &dbeta, &size(1.0), bound, &what);
    assert_close_at(&sum(channels), &dgamma, &size(25.0), bound, &what);

    let (mut own_y, mut own_dx) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    let count = T::of((batch * inner) as f64);
    let of = |constant: &dyn Fn(usize) -> T| (0..channels).map(constant).collect::<Vec<T>>();
    let scale = of(&|c| gamma[c] * inv_std[c]);
    let slope = of(&|c| inv_std[c] * (dgamma[c] / count));
    let shift = of(&|c| dbeta[c] / count);
    let to = own_y.chunks_mut(part * image).zip(own_dx.chunks_mut(part * image));
    for ((x, dy), (y, dx)) in parts().zip(to) {
        let constants = [gamma, &mean, &inv_std, beta].map(|constants| &constants[..]);
        parts::forward(shape_of(x), x, constants, false, y).unwrap();
        let constants = [&scale, &mean, &slope, &shift].map(|constants| &constants[..]);
        parts::backward(shape_of(x), x, dy, constants, dx).unwrap();
    }
    assert!(own_y == y && own_dx == dx, "{what}: the same bits");
}

#[test]
fn parts_of_a_batch_are_the_batch() {
    for shape in SHAPES.into_iter().filter(|shape| !shape.contains(&0)) {
        for part in [1, 2, 25, shape[0]] {
            check_parts::<f32>(shape, part);
            check_parts::<f64>(shape, part);
        }
    }
    let (x, c, mut moments) = ([1.0; 6], [1.0; 3], [7.0; 6]);
    assert!(parts::moments([2, 3, 1], &x[1..], &mut moments).is_err());
    assert!(parts::moments([2, 3, 1], &x, &mut moments[1..]).is_err());
    assert!(parts::batch_moments(&x, [3, 2], &mut [0.0; 3], &mut [0.0; 3]).is_err());
    assert!(parts::forward([2, 3, 1], &x, [&c, &c, &c[1..], &c], true, &mut moments).is_err());
    assert!(parts::gradients([2, 3, 1], &x, &x[1..], [&c, &c], &mut moments).is_err());
    assert!(parts::backward([2, 3, 1], &x, &x, [&c[1..], &c, &c, &c], &mut moments).is_err());
    assert!(moments == [7.0; 6], "a call that fails writes nothing");
}

#[test]
fn integers_normalise_exactly() {
    // Mean 2, variance 4, inv_std ½: every step is exact.
    for shape in [[32, 40, 1], [2, 3, 16], [4, 2, 8], [8, 1, 2]] {
        let len: usize = shape.iter().product();
        let side = |at: usize| (at / shape[2] / shape[1]).is_multiple_of(2);
        let x: Vec<f32> = (0..len).map(|at| if side(at) { 4.0 } else { 0.0 }).collect();
        let operands = Operands {
            gamma: vec![3.0; shape[1]],
            beta: vec![1.0; shape[1]],
            dy: vec![1.0; len],
            x: x.clone(),
        };
        let [y, mean, var, inv_std] = forward(shape, &operands, 0.0);
        assert!(mean.iter().all(|&mean| mean == 2.0), "{mean:?}");
        assert!(var.iter().all(|&var| var == 4.0) && inv_std.iter().all(|&inv| inv == 0.5));
        assert!(y.iter().zip(&x).all(|(&y, &x)| y == if x == 4.0 { 4.0 } else { -2.0 }), "{y:?}");
        let [dx, dgamma, dbeta] = backward(shape, &operands, &mean, &inv_std);
        assert!(dbeta.iter().all(|&d| d == (shape[0] * shape[2]) as f32));
        assert!(dgamma.iter().chain(&dx).all(|&d| d == 0.0));
    }
}

#[test]
fn a_large_mean_costs_no_digits() {
    for shape in [[200, 5, 1], [4, 5, 50]] {
        // Around 4096, where the f32 are 2⁻¹¹ apart: exact in f64, and the variance is 1 or so.
        let operands = Operands::<f32>::random(shape, 4096.0, 1);
        let [_, _, var, _] = forward(shape, &operands, 0.0);
        let [_, _, exact, _] = exact(shape, &operands.wide(), 0.0);
        // The mean is off by its own rounding, 2⁻¹² or so, whose square joins the variance.
        for (found, exact) in var.iter().zip(exact) {
            assert!((f64::from(*found) - exact).abs() < 1e-5, "{found}, expected {exact}");
        }
    }
}

#[test]
fn nan_and_infinities_stay_in_their_channel() {
    for shape in [[6, 20, 1], [3, 4, 20], [3, 4, 5]] {
        for special in [f32::NAN, f32::INFINITY] {
            let mut operands = Operands::<f32>::random(shape, 0.0, 1);
            operands.x[shape[2]] = special; // of channel 1
            let [y, mean, _, inv_std] = forward(shape, &operands, 0.01);
            let [dx, ..] = backward(shape, &operands, &mean, &inv_std);
            for (at, (y, dx)) in y.iter().zip(&dx).enumerate() {
                let inside = at / shape[2] % shape[1] == 1;
                assert_eq!((y.is_nan(), dx.is_nan()), (inside, inside), "{shape:?} {at}");
            }
        }
    }
}

#[test]
fn inference_takes_the_given_statistics() {
    for shape in SHAPES {
        let operands = Operands::<f32>::random(shape, 0.5, 4);
        let wide = operands.wide();
        let (mean, var) = (random::<f32>(shape[1], 5), random_positive::<f32>(shape[1], 6));
        let as_f64 = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let Operands { x, gamma, beta, .. } = &operands;
        let (mut y, mut exact) = (vec![f32::NAN; x.len()], vec![f64::NAN; x.len()]);
        batch_norm_inference(shape, x, gamma, beta, &mean, &var, 1e-3, &mut y).unwrap();
        twin::batch_norm_inference(
            shape,
            &wide.x,
            &wide.gamma,
            &wide.beta,
            &as_f64(&mean),
            &as_f64(&var),
            1e-3f32.into(),
            &mut exact,
        );
        // Six roundings of at most 2·4.5/√0.1 + 2.
        assert_close_at(&y, &narrow(&exact), &vec![31.0; x.len()], 6.0, "inference");
    }
    // A batch of none is nothing to do.
    let none: [f32; 0] = [];
    batch_norm_inference([0, 1, 4], &none, &[1.0], &[1.0], &[1.0], &[1.0], 0.1, &mut []).unwrap();
}

#[test]
fn gradients_are_those_of_the_forward() {
    for shape in [[5, 3, 1], [3, 2, 4], [2, 2, 17]] {
        let operands = Operands::<f64>::random(shape, 0.5, 7);
        let loss = |operands: &Operands<f64>| dot(&operands.dy, &forward(shape, operands, 0.1)[0]);
        let [_, mean, _, inv_std] = forward(shape, &operands, 0.1);
        let [dx, dgamma, dbeta] = backward(shape, &operands, &mean, &inv_std);
        let by = |from: &[f64], set: fn(&mut Operands<f64>, &[f64])| {
            numerical_gradient(from, |at| {
                let mut operands = operands.wide();
                set(&mut operands, at);
                loss(&operands)
            })
        };
        assert_gradient(&dx, &by(&operands.x, |o, x| o.x = x.to_vec()), "x");
        assert_gradient(&dgamma, &by(&operands.gamma, |o, x| o.gamma = x.to_vec()), "gamma");
        assert_gradient(&dbeta, &by(&operands.beta, |o, x| o.beta = x.to_vec()), "beta");
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    for shape in [[200, 500, 1], [20, 9, 784], [50, 300, 9]] {
        let operands = Operands::<f32>::random(shape, 0.5, 1);
        on_any_threads(|| {
            let forward = forward(shape, &operands, 0.1);
            let backward = backward(shape, &operands, &forward[1], &forward[3]);
            [forward.concat(), backward.concat()].concat()
        });
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_written() {
    let (x, c, mut y) = ([1f32; 12], [1f32; 3], [7f32; 12]);
    let [mut mean, mut var, mut inv_std] = [[7f32; 3]; 3];
    let mut forward = |shape, x: &[f32], gamma: &[f32], mean_len: usize| {
        let mean = &mut mean[..mean_len];
        let statistics = BatchStatistics { mean, var: &mut var, inv_std: &mut inv_std };
        batch_norm_forward(shape, x, gamma, &c, 0.1, &mut y, statistics).unwrap_err()
    };
    let error = forward([2, 3, 2], &x[1..], &c, 3);
    assert_eq!(error.to_string(), "batch_norm_forward: x has 11 elements, expected 12");
    let error = forward([2, 3, 2], &x, &c[1..], 3);
    assert!(matches!(error, Error::Length { operand: "gamma", expected: 3, found: 2, .. }));
    let error = forward([2, 3, 2], &x, &c, 2);
    assert!(matches!(error, Error::Length { operand: "mean", expected: 3, found: 2, .. }));
    assert!(matches!(forward([usize::MAX, 3, 2], &x, &c, 3), Error::Shape { .. }));
    assert_eq!((y, mean, var, inv_std), ([7.0; 12], [7.0; 3], [7.0; 3], [7.0; 3]));

    let none: [f32; 0] = [];
    for shape in [[0, 3, 2], [2, 3, 0]] {
        let statistics = BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
        let error = batch_norm_forward(shape, &none, &c, &c, 0.1, &mut [], statistics).unwrap_err();
        assert!(error.to_string().contains("over no elements"), "{error}");
    }
    let error = batch_norm_inference([2, 3, 2], &x, &c, &c, &c, &c[1..], 0.1, &mut y).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "var", .. }));
    let (mut dgamma, mut dbeta) = ([7f32; 3], [7f32; 2]);
    let error = batch_norm_backward([2, 3, 2], &x, &c, &c, &c, &x, &mut y, &mut dgamma, &mut dbeta);
    assert!(matches!(error.unwrap_err(), Error::Length { operand: "dbeta", .. }));
    assert_eq!((y, dgamma, dbeta), ([7.0; 12], [7.0; 3], [7.0; 2]));
}
