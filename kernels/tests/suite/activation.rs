//! Activations against their definitions.

use super::common::*;
use kasoku_kernels::{Element, Error, Result, activation, reference::activation as twin};

type Forward<T> = fn(&[T], &mut [T]) -> Result<()>;
type InPlace<T> = fn(&mut [T]) -> Result<()>;
type Twin<T> = fn(&[T], &mut [T]);

struct Case<T> {
    name: &'static str,
    forward: Forward<T>,
    in_place: Option<InPlace<T>>,
    backward: Option<Forward<T>>,
    twin: Twin<T>,
    twin_backward: Option<Twin<T>>,
    /// ULP between forward and its twin, which may err by one itself.
    ulps: f64,
    /// Whether the gradient is taken from the output (or else the input).
    from_output: bool,
}

macro_rules! case {
    ($name:ident, $in_place:ident, $backward:ident, $ulps:literal, $from_output:literal) => {
        Case {
            name: stringify!($name),
            forward: activation::$name,
            in_place: Some(activation::$in_place),
            backward: Some(activation::$backward),
            twin: twin::$name,
            twin_backward: Some(twin::$backward),
            ulps: $ulps,
            from_output: $from_output,
        }
    };
}

fn cases<T: Element>() -> Vec<Case<T>> {
    let step = Case {
        name: "step",
        forward: activation::step,
        in_place: None,
        backward: None,
        twin: twin::step,
        twin_backward: None,
        ulps: 0.0,
        from_output: false,
    };
    vec![
        case!(relu, relu_in_place, relu_backward, 0.0, true),
        case!(sigmoid, sigmoid_in_place, sigmoid_backward, 5.0, true),
        case!(tanh, tanh_in_place, tanh_backward, 4.0, true),
        case!(exp, exp_in_place, exp_backward, 2.0, true),
        case!(log, log_in_place, log_backward, 2.0, false),
        step,
    ]
}

fn agree_with_twins<T: Element>() {
    for case in cases::<T>() {
        for len in LENGTHS {
            // One element in, so that no register is aligned.
            let x = random::<T>(len + 1, len as u64);
            let mut y = vec![T::nan(); len + 1];
            let mut expected = vec![T::nan(); len];
            (case.twin)(&x[1..], &mut expected);
            (case.forward)(&x[1..], &mut y[1..]).unwrap();
            assert_close(&y[1..], &expected, case.ulps, case.name);
            assert!(y[0].is_nan(), "{}: written before the slice", case.name);
            if let Some(in_place) = case.in_place {
                let mut x = x.clone();
                in_place(&mut x[1..]).unwrap();
                assert_same(&x[1..], &y[1..], case.name);
            }
            if let (Some(backward), Some(twin)) = (case.backward, case.twin_backward) {
                let mut dx = random::<T>(len + 1, 7);
                let mut expected = dx.clone();
                twin(&x[1..], &mut expected[1..]);
                backward(&x[1..], &mut dx[1..]).unwrap();
                assert_same(&dx, &expected, case.name);
            }
        }
    }
}

#[test]
fn they_agree_with_their_twins() {
    agree_with_twins::<f32>();
    agree_with_twins::<f64>();
}

fn agree_on_specials<T: Element>() {
    // Long enough for whole registers and a rest.
    let x: Vec<T> = specials().into_iter().cycle().take(45).collect();
    for case in cases::<T>() {
        let mut y = x.clone();
        let mut expected = x.clone();
        (case.forward)(&x, &mut y).unwrap();
        (case.twin)(&x, &mut expected);
        assert_close(&y, &expected, case.ulps, case.name);
    }
    // The sign and the NaN of relu, to the bit.
    let mut y = vec![T::one(); x.len()];
    activation::relu(&x, &mut y).unwrap();
    for (&x, &y) in x.iter().zip(&y) {
        assert!(same(y, if x <= T::zero() { T::zero() } else { x }), "{x}: {y}");
    }
    let mut dx = x.clone();
    activation::relu_backward(&vec![T::nan(); x.len()], &mut dx).unwrap();
    assert_same(&dx, &x, "a NaN activation passes the gradient");
}

#[test]
fn they_agree_on_nan_infinities_and_denormals() {
    agree_on_specials::<f32>();
    agree_on_specials::<f64>();
}

#[test]
fn gradients_are_those_of_the_forward() {
    let weight = random::<f64>(50, 1);
    // Positive for log, away from the kink of relu.
    let x = random_positive::<f64>(50, 2);
    for case in cases::<f64>() {
        let Some(backward) = case.backward else { continue };
        let signs: &[f64] = if case.name == "log" { &[1.0] } else { &[1.0, -1.0] };
        for sign in signs {
            let x: Vec<f64> = x.iter().map(|x| x * sign).collect();
            let forward = |x: &[f64]| {
                let mut y = vec![0.0; x.len()];
                (case.forward)(x, &mut y).unwrap();
                y
            };
            let mut dx = weight.clone();
            backward(&if case.from_output { forward(&x) } else { x.clone() }, &mut dx).unwrap();
            let numerical = numerical_gradient(&x, |x| dot(&weight, &forward(x)));
            assert_gradient(&dx, &numerical, case.name);
        }
    }
}

#[test]
fn slices_of_other_lengths_are_errors() {
    for case in cases::<f32>() {
        let mut y = [5.0; 3];
        let error = (case.forward)(&[1.0; 4], &mut y).unwrap_err();
        assert!(matches!(error, Error::Length { expected: 3, found: 4, .. }), "{error}");
        assert_eq!(error.to_string(), format!("{}: x has 4 elements, expected 3", case.name));
        assert_eq!(y, [5.0; 3], "nothing is written");
        if let Some(backward) = case.backward {
            assert!(backward(&[1.0; 2], &mut y).is_err());
        }
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let x = random::<f32>(300_000, 3);
    for case in cases::<f32>() {
        on_any_threads(|| {
            let mut y = vec![0.0; x.len()];
            (case.forward)(&x, &mut y).unwrap();
            y
        });
    }
}
