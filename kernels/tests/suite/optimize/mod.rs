//! Optimizers against their definitions and against the book's numbers.

mod golden;

use self::golden::Golden;
use super::common::*;
use kasoku_kernels::optimize::*;
use kasoku_kernels::{Element, Error, Result, reference::optimize as twin};

/// One update by a rule: step, parameters, gradients and two state slices, which not every rule uses.
type Update<T> = Box<dyn Fn(u64, &mut [T], &[T], &mut [T], &mut [T]) -> Result<()>>;
type Twin<T> = Box<dyn Fn(u64, &mut [T], &[T], &mut [T], &mut [T])>;

fn rules<T: Element>(decay: f64) -> Vec<(&'static str, Update<T>, Twin<T>)> {
    let of = T::of;
    let (lr, momentum, epsilon, weight_decay) = (of(0.1), of(0.9), of(1e-7), of(decay));
    let (beta1, beta2) = (of(0.9), of(0.999));
    let sgd = Sgd { lr, weight_decay };
    let heavy = Momentum { lr, momentum, weight_decay };
    let nesterov = Nesterov { lr, momentum, weight_decay };
    let adagrad = AdaGrad { lr, epsilon, weight_decay };
    let rmsprop = RmsProp { lr, decay_rate: of(0.99), epsilon, weight_decay };
    let adadelta = AdaDelta { lr, decay_rate: of(0.95), epsilon: of(1e-6), weight_decay };
    let adam = Adam { lr, beta1, beta2, epsilon, weight_decay };
    let adamw = AdamW { lr, beta1, beta2, epsilon, weight_decay };
    vec![
        (
            "sgd",
            Box::new(move |_, p, g, _, _| sgd.update(p, g)),
            Box::new(move |_, p, g, _, _| twin::sgd(&sgd, p, g)),
        ),
        (
            "momentum",
            Box::new(move |_, p, g, v, _| heavy.update(p, g, v)),
            Box::new(move |_, p, g, v, _| twin::momentum(&heavy, p, g, v)),
        ),
        (
            "nesterov",
            Box::new(move |_, p, g, v, _| nesterov.update(p, g, v)),
            Box::new(move |_, p, g, v, _| twin::nesterov(&nesterov, p, g, v)),
        ),
        (
            "adagrad",
            Box::new(move |_, p, g, h, _| adagrad.update(p, g, h)),
            Box::new(move |_, p, g, h, _| twin::adagrad(&adagrad, p, g, h)),
        ),
        (
            "rmsprop",
            Box::new(move |_, p, g, h, _| rmsprop.update(p, g, h)),
            Box::new(move |_, p, g, h, _| twin::rmsprop(&rmsprop, p, g, h)),
        ),
        (
            "adadelta",
            Box::new(move |_, p, g, h, d| adadelta.update(p, g, h, d)),
            Box::new(move |_, p, g, h, d| twin::adadelta(&adadelta, p, g, h, d)),
        ),
        (
            "adam",
            Box::new(move |t, p, g, m, v| adam.update(t, p, g, m, v)),
            Box::new(move |t, p, g, m, v| twin::adam(&adam, t, p, g, m, v)),
        ),
        (
            "adamw",
            Box::new(move |t, p, g, m, v| adamw.update(t, p, g, m, v)),
            Box::new(move |t, p, g, m, v| twin::adamw(&adamw, t, p, g, m, v)),
        ),
    ]
}

#[test]
fn the_books_numbers_come_out() {
    let goldens: [(&str, Golden); 6] = [
        ("sgd", golden::SGD),
        ("momentum", golden::MOMENTUM),
        ("nesterov", golden::NESTEROV),
        ("adagrad", golden::ADAGRAD),
        ("rmsprop", golden::RMSPROP),
        ("adam", golden::ADAM),
    ];
    for (name, golden) in goldens {
        let rules = rules::<f64>(0.0);
        let (_, update, _) = rules.iter().find(|rule| rule.0 == name).unwrap();
        let (mut p, mut a, mut b) = (golden.p[0], [0.0; 4], [0.0; 4]);
        for (step, g) in golden.g.iter().enumerate() {
            update(step as u64 + 1, &mut p, g, &mut a, &mut b).unwrap();
            for (p, expected) in p.iter().zip(golden.p[step + 1]) {
                let error = (p - expected).abs() / expected.abs();
                assert!(error < 1e-12, "{name}, step {step}: {p}, expected {expected}");
            }
        }
    }
}

/// Three steps, each of at most ten roundings, of values of size 2 or so. The gradients are 0.1 or
/// more, so that the decay does not cancel them: a step is g over a root of about g's size.
fn agree_with_twins<T: Element>(decay: f64) {
    for (name, update, twin) in rules::<T>(decay) {
        for len in LENGTHS {
            let mut state =
                [random::<T>(len + 1, 1), vec![T::zero(); len + 1], vec![T::zero(); len + 1]];
            let mut expected = state.clone();
            for step in 1..=3 {
                let g = random_positive::<T>(len + 1, 10 + step);
                let [p, a, b] = state.each_mut().map(|slice| &mut slice[1..]);
                update(step, p, &g[1..], a, b).unwrap();
                let [p, a, b] = expected.each_mut().map(|slice| &mut slice[1..]);
                twin(step, p, &g[1..], a, b);
            }
            let scale = vec![T::of(2.0); len + 1];
            for (found, expected) in state.iter().zip(&expected) {
                assert_close_at(found, expected, &scale, 30.0, name);
            }
        }
    }
}

#[test]
fn they_agree_with_their_twins() {
    for decay in [0.0, 0.01] {
        agree_with_twins::<f32>(decay);
        agree_with_twins::<f64>(decay);
    }
}

#[test]
fn weight_decay_moves_a_parameter_whose_gradient_is_zero() {
    for (name, update, _) in rules::<f64>(0.1) {
        let (mut p, mut a, mut b) = ([1.0], [0.0], [0.0]);
        update(1, &mut p, &[0.0], &mut a, &mut b).unwrap();
        assert!(p[0] < 1.0, "{name}");
        // AdamW's decay is no gradient.
        assert_eq!(a[0] != 0.0, !matches!(name, "sgd" | "adamw"), "{name}");
    }
}

/// Denormal numbers are slow, and where gradients vanish means would stay among them for good.
#[test]
fn what_vanishes_becomes_zero() {
    for (name, update, twin) in rules::<f32>(0.0) {
        let (mut state, mut expected) =
            ([[0.5f32; 4], [0.0; 4], [0.0; 4]], [[0.5f32; 4], [0.0; 4], [0.0; 4]]);
        for step in 1..=3000 {
            let g = if step == 1 { [0.5, -0.5, 1e-21, 1e-30] } else { [0.0, 1e-21, -1e-21, 1e-30] };
            let [p, a, b] = &mut state;
            update(step, p, &g, a, b).unwrap();
            let [p, a, b] = &mut expected;
            twin(step, p, &g, a, b);
        }
        let means = state[1..].iter().flatten();
        assert!(means.clone().all(|mean| !mean.is_subnormal()), "{name} {state:?}");
        assert_close_at(&state[0], &expected[0], &[2.0; 4], 3000.0, name);
    }
}

#[test]
fn slices_of_other_lengths_and_step_zero_are_errors() {
    for (name, update, _) in rules::<f32>(0.0) {
        let (mut p, mut a, mut b) = ([1.0; 3], [0.0; 3], [0.0; 3]);
        let error = update(1, &mut p, &[1.0; 2], &mut a, &mut b).unwrap_err();
        assert!(error.to_string().contains("g has 2 elements, expected 3"), "{error}");
        if name != "sgd" {
            let error = update(1, &mut p, &[1.0; 3], &mut a[1..], &mut b).unwrap_err();
            assert!(matches!(error, Error::Length { expected: 3, found: 2, .. }), "{error}");
        }
        if name.starts_with("adam") {
            let error = update(0, &mut p, &[1.0; 3], &mut a, &mut b).unwrap_err();
            assert!(error.to_string().contains("step is 0"), "{error}");
        }
        assert_eq!(p, [1.0; 3], "nothing is written");
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let g = random::<f32>(150_000, 2);
    for (_, update, _) in rules::<f32>(0.1) {
        on_any_threads(|| {
            let (mut a, mut b) = (vec![0.0; g.len()], vec![0.0; g.len()]);
            let mut p = random::<f32>(g.len(), 3);
            update(1, &mut p, &g, &mut a, &mut b).unwrap();
            p
        });
    }
}
