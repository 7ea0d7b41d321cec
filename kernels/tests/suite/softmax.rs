//! Softmax and the loss on it against their definitions in f64, and their gradients.

use super::common::*;
use kasoku_kernels::softmax::*;
use kasoku_kernels::{Element, Error, reference::softmax as twin};
use proptest::prelude::*;

/// Classes around the lanes, around the width up to which rows are turned into lanes, and beyond.
const CLASSES: [usize; 14] = [1, 2, 3, 7, 8, 9, 10, 16, 17, 31, 32, 33, 100, 1003];
const ROWS: [usize; 8] = [0, 1, 3, 4, 7, 8, 17, 40];

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.as_f64()).collect()
}

fn narrow<T: Element>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&x| T::of(x)).collect()
}

/// Rows of probabilities.
fn random_targets<T: Element>(rows: usize, classes: usize, seed: u64) -> Vec<T> {
    let mut t = random_positive::<T>(rows * classes, seed);
    for row in t.chunks_mut(classes) {
        row[0] = T::zero(); // skipped, whatever the logarithm
        let sum: T = row.iter().copied().sum();
        row.iter_mut().for_each(|t| *t /= if sum > T::zero() { sum } else { T::one() });
    }
    t
}

/// Roundings between softmax and its exact value: of x − max (at most 4 here, so up to 4 ε), of exp,
/// its sum (a quarter of a row's elements after another, at worst), the reciprocal and the product.
fn softmax_epsilons(classes: usize) -> f64 {
    8.0 + classes as f64 / 2.0
}

fn check<T: Element>(rows: usize, classes: usize, seed: u64) {
    let what = format!("{rows} × {classes}");
    // One element in, so that no register is aligned.
    let x = random::<T>(rows * classes + 1, seed);
    let x = &x[1..];
    let epsilons = softmax_epsilons(classes);
    let (mut y, mut expected) = (vec![T::nan(); x.len() + 1], vec![0.0; x.len()]);
    softmax_rows(x, classes, &mut y[1..]).unwrap();
    twin::softmax_rows(&wide(x), classes, &mut expected);
    assert_close(&y[1..], &narrow(&expected), epsilons, &format!("softmax {what}"));

    let (mut sums, mut expected) = (vec![T::nan(); rows], vec![0.0; rows]);
    log_sum_exp_rows(x, classes, &mut sums).unwrap();
    twin::log_sum_exp_rows(&wide(x), classes, &mut expected);
    // Of absolute error: the relative error of the sum is the absolute one of its logarithm.
    let scale = vec![T::of(2.0); rows];
    assert_close_at(&sums, &narrow(&expected), &scale, epsilons, &format!("log-sum-exp {what}"));
    if rows == 0 {
        return;
    }

    let labels = random_labels(rows, classes, seed);
    let one_hot = random_targets::<T>(rows, classes, seed);
    let (y, wide_one_hot) = (y[1..].to_vec(), wide(&one_hot));
    let targets = [
        ("labels", Target::Labels(&labels), Target::Labels(&labels)),
        ("one-hot", Target::OneHot(&one_hot), Target::OneHot(&wide_one_hot)),
    ];
    for (kind, target, wide_target) in targets {
        for epsilon in [0.0, 1e-7, 0.01] {
            let what = format!("{what} {kind} {epsilon}");
            // ln y is up to 4 + ln classes, the error of y its absolute error; the roundings of a
            // task's sum, of 2¹² elements, wander.
            let scale = [T::of(4.0 + (classes as f64).ln())];
            let loss = cross_entropy(&y, classes, target, T::of(epsilon)).unwrap();
            let exact = twin::cross_entropy(&wide(&y), classes, wide_target, epsilon);
            let sum = 8.0 + (x.len().min(1 << 12) as f64).sqrt();
            assert_close_at(&[loss], &[T::of(exact)], &scale, sum, &what);

            let mut softmax = vec![T::nan(); x.len()];
            let loss =
                softmax_cross_entropy(x, classes, target, T::of(epsilon), &mut softmax).unwrap();
            assert_same(&softmax, &y, &what);
            let mut unused = vec![0.0; x.len()];
            let exact =
                twin::softmax_cross_entropy(&wide(x), classes, wide_target, epsilon, &mut unused);
            let epsilons = epsilons + sum;
            assert_close_at(&[loss], &[T::of(exact)], &scale, epsilons, &format!("fused {what}"));
        }
        let (mut dx, mut expected) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
        twin::softmax_cross_entropy_backward(&y, classes, target, rows, &mut expected);
        // The first rows, and then the others.
        for rows in [0..rows / 3, rows / 3..rows] {
            let (part, target) =
                (rows.start * classes..rows.end * classes, target.rows(rows, classes));
            let (y, dx) = (&y[part.clone()], &mut dx[part]);
            softmax_cross_entropy_backward(y, classes, target, x.len() / classes, dx).unwrap();
        }
        assert_same(&dx, &expected, &what);
    }
}

#[test]
fn they_agree_with_their_definitions() {
    for classes in CLASSES {
        for rows in ROWS {
            check::<f32>(rows, classes, 7);
            check::<f64>(rows, classes, 8);
        }
    }
    // Several tasks.
    check::<f32>(3001, 10, 9);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_at_any_size(rows in 0usize..50, classes in 1usize..80, seed: u64) {
        check::<f32>(rows, classes, seed);
        check::<f64>(rows, classes, seed);
    }
}

/// Every row of a block but one ordinary, that one of `values`.
fn special_rows<T: Element>() {
    let (inf, nan) = (T::infinity(), T::nan());
    for classes in [2, 5, 10, 40, 100] {
        for at in [0, 1, classes / 2, classes - 1] {
            for special in [inf, -inf, nan, T::max_value(), T::min_value(), T::min_positive_value()]
            {
                for fill in [None, Some(special), Some(-inf)] {
                    let mut x = random::<T>(11 * classes, 3);
                    let row = &mut x[4 * classes..5 * classes];
                    if let Some(fill) = fill {
                        row.fill(fill);
                    }
                    row[at] = special;
                    let what = format!("{classes} classes, {special} at {at} of {fill:?}");
                    let (mut y, mut expected) = (x.clone(), x.clone());
                    softmax_rows(&x, classes, &mut y).unwrap();
                    twin::softmax_rows(&x, classes, &mut expected);
                    assert_close(&y, &expected, 2.0 * softmax_epsilons(classes), &what);
                    let (mut sums, mut expected) = (vec![T::zero(); 11], vec![T::zero(); 11]);
                    log_sum_exp_rows(&x, classes, &mut sums).unwrap();
                    twin::log_sum_exp_rows(&x, classes, &mut expected);
                    let scale = vec![T::of(2.0); 11];
                    let epsilons = 2.0 * softmax_epsilons(classes);
                    assert_close_at(&sums, &expected, &scale, epsilons, &what);

                    let labels = vec![0; 11];
                    let loss = |epsilon: T| {
                        let mut y = x.clone();
                        let labels = Target::Labels(&labels);
                        let loss = softmax_cross_entropy(&x, classes, labels, epsilon, &mut y);
                        let exact =
                            twin::softmax_cross_entropy(&x, classes, labels, epsilon, &mut y);
                        (loss.unwrap(), exact)
                    };
                    for epsilon in [T::zero(), T::of(1e-7)] {
                        let (loss, exact) = loss(epsilon);
                        assert_close_at(&[loss], &[exact], &[T::of(40.0)], epsilons, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn nan_and_infinities_are_as_documented() {
    special_rows::<f32>();
    special_rows::<f64>();
}

#[test]
fn the_largest_is_subtracted_wherever_it_stands() {
    for classes in CLASSES {
        for at in 0..classes {
            // Two rows, and e¹⁰⁰⁰ overflows.
            let mut x = random::<f32>(2 * classes, 3);
            let right = [at, classes + (at + 1) % classes];
            for at in right {
                x[at] = 1000.0;
            }
            let (mut y, mut sums) = (vec![f32::NAN; x.len()], [f32::NAN; 2]);
            softmax_rows(&x, classes, &mut y).unwrap();
            let expected: Vec<f32> =
                (0..x.len()).map(|at| if right.contains(&at) { 1.0 } else { 0.0 }).collect();
            assert_same(&y, &expected, &format!("{at} of {classes}"));
            log_sum_exp_rows(&x, classes, &mut sums).unwrap();
            assert_eq!(sums, [1000.0; 2], "{at} of {classes}");
        }
    }
}

#[test]
fn classes_of_probability_0_cost_nothing_though_their_logarithm_is_infinite() {
    for classes in [2, 3, 10, 40] {
        let (mut x, mut t) = (random::<f32>(5 * classes, 3), vec![0.0; 5 * classes]);
        for row in 0..5 {
            x[(row + 1) * classes - 1] = f32::NEG_INFINITY;
            t[row * classes] = 1.0;
        }
        let (mut y, labels) = (x.clone(), [0; 5]);
        for epsilon in [0.0, 1e-7] {
            let [found, expected] = [Target::OneHot(&t), Target::Labels(&labels)]
                .map(|target| softmax_cross_entropy(&x, classes, target, epsilon, &mut y).unwrap());
            assert_close_at(&[found], &[expected], &[8.0], 16.0, &format!("{classes} {epsilon}"));
            let alone = cross_entropy(&y, classes, Target::OneHot(&t), epsilon).unwrap();
            assert_close_at(&[alone], &[expected], &[8.0], 16.0, &format!("alone {classes}"));
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let x = [1000.0f32, 1001.0, 999.0, -1000.0, -1001.0, -1002.0];
    let (mut y, mut sums) = ([0.0; 6], [0.0; 2]);
    softmax_rows(&x, 3, &mut y).unwrap();
    assert!(y.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6), "{y:?}");
    log_sum_exp_rows(&x, 3, &mut sums).unwrap();
    assert!((sums[0] - 1_001.407_6).abs() < 1e-3 && (sums[1] + 999.592_4).abs() < 1e-3, "{sums:?}");
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    let labels = random_labels(5, 7, 2);
    let one_hot = random_targets::<f64>(5, 7, 3);
    let x = random::<f64>(35, 1);
    for target in [Target::Labels(&labels), Target::OneHot(&one_hot)] {
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; x.len()];
            (softmax_cross_entropy(x, 7, target, 0.0, &mut y).unwrap(), y)
        };
        let mut dx = vec![0.0; x.len()];
        softmax_cross_entropy_backward(&loss(&x).1, 7, target, x.len() / 7, &mut dx).unwrap();
        assert_gradient(&dx, &numerical_gradient(&x, |x| loss(x).0), "softmax + cross-entropy");
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    for classes in [10, 1000] {
        let rows = 60_000 / classes;
        let x = random::<f32>(rows * classes, 1);
        let labels = random_labels(rows, classes, 2);
        let one_hot = random_targets::<f32>(rows, classes, 2);
        for target in [Target::Labels(&labels), Target::OneHot(&one_hot)] {
            on_any_threads(|| {
                let (mut y, mut sums, mut dx) = (x.clone(), vec![0.0; rows], x.clone());
                let exact = softmax_cross_entropy(&x, classes, target, 0.0, &mut y).unwrap();
                log_sum_exp_rows(&x, classes, &mut sums).unwrap();
                softmax_cross_entropy_backward(&y, classes, target, rows, &mut dx).unwrap();
                let books = cross_entropy(&y, classes, target, 1e-7).unwrap();
                [y, sums, dx, vec![exact, books]].concat()
            });
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_written() {
    let (x, mut y) = ([1.0f32; 6], [7.0f32; 6]);
    let error = softmax_rows(&x, 4, &mut y).unwrap_err();
    assert_eq!(error.to_string(), "softmax_rows: 6 elements are not rows of 4 classes");
    assert!(softmax_rows(&x, 0, &mut y).is_err());
    let error = softmax_rows(&x, 3, &mut y[1..]).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "y", expected: 6, found: 5, .. }));
    let error = log_sum_exp_rows(&x, 3, &mut y).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "out", expected: 2, found: 6, .. }));
    let error = cross_entropy(&x, 3, Target::Labels(&[0, 3]), 0.0).unwrap_err();
    assert_eq!(error.to_string(), "cross_entropy: label 3 of row 1 is out of range for 3 classes");
    let error = cross_entropy(&x, 3, Target::Labels(&[0]), 0.0).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "labels", expected: 2, found: 1, .. }));
    let error = cross_entropy(&x, 3, Target::OneHot(&x[1..]), 0.0).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "one-hot target", .. }));
    let error = cross_entropy::<f32>(&[], 3, Target::Labels(&[]), 0.0).unwrap_err();
    assert!(error.to_string().contains("the mean over 0 rows"), "{error}");
    let labels = Target::Labels(&[0, 3]);
    assert!(softmax_cross_entropy(&x, 3, labels, 0.0, &mut y).is_err());
    assert!(softmax_cross_entropy_backward(&x, 3, labels, 2, &mut y).is_err());
    let labels = Target::Labels(&[0, 1]);
    assert!(softmax_cross_entropy(&x, 3, labels, 0.0, &mut y[..5]).is_err());
    assert!(softmax_cross_entropy_backward(&x, 3, labels, 2, &mut y[..5]).is_err());
    assert_eq!(y, [7.0; 6]);
}
