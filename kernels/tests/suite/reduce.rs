//! Sums and the index of the largest against their definitions.

use super::common::*;
use kasoku_kernels::reduce::*;
use kasoku_kernels::{Element, Error, reference::reduce as twin};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.as_f64()).collect()
}

fn sums_agree<T: Element>(len: usize) {
    let x = integers::<T>(len + 1, 3);
    assert_eq!(sum(&x[1..]).unwrap(), twin::sum(&x[1..]), "{len}");
    assert_eq!(sum_squares(&x[1..]).unwrap(), twin::sum_squares(&x[1..]), "{len}");
    // An element goes through at most as many additions as a lane of a chain has elements, which with
    // 8 chains of one lane is len/8, cut at 2¹⁴ elements, and a few more to bring the lanes together.
    // Their roundings wander: they end within the root of their number (six standard deviations).
    let x = random::<T>(len + 1, 4);
    let epsilons = 8.0 + (len.min(1 << 14) as f64 / 8.0).sqrt();
    let absolute: f64 = wide(&x[1..]).iter().map(|x| x.abs()).sum();
    let exact = T::of(twin::sum(&wide(&x[1..])));
    let found = sum(&x[1..]).unwrap();
    assert_close_at(&[found], &[exact], &[T::of(absolute)], epsilons, "sum");
    let exact = T::of(twin::sum_squares(&wide(&x[1..])));
    assert_close(&[sum_squares(&x[1..]).unwrap()], &[exact], epsilons, "sum of squares");
}

#[test]
fn sums_agree_with_their_definitions() {
    for len in LENGTHS.into_iter().chain([64, 127, 129, 16_384, 16_385]) {
        sums_agree::<f32>(len);
        sums_agree::<f64>(len);
    }
}

#[test]
fn sums_pass_nan_and_infinities() {
    let mut x = vec![1f32; 1000];
    x[777] = f32::INFINITY;
    assert_eq!(sum(&x).unwrap(), f32::INFINITY);
    x[3] = f32::NEG_INFINITY;
    assert!(sum(&x).unwrap().is_nan());
    x[3] = f32::NAN;
    assert!(sum_squares(&x).unwrap().is_nan());
    let tiny = [f64::MIN_POSITIVE * f64::EPSILON; 3];
    assert_eq!(sum(&tiny).unwrap(), 3.0 * tiny[0]);
}

fn axis_agrees<T: Element>(shape: [usize; 3], seed: u64) {
    let [outer, len, inner] = shape;
    let x = integers::<T>(outer * len * inner + 1, seed);
    let (mut y, mut expected) = (vec![T::nan(); outer * inner + 1], vec![T::nan(); outer * inner]);
    sum_axis(shape, &x[1..], &mut y[1..]).unwrap();
    twin::sum_axis(shape, &x[1..], &mut expected);
    assert_same(&y[1..], &expected, &format!("{shape:?}"));
}

proptest! {
    #[test]
    fn axes_agree_with_their_definition(
        outer in 0usize..5, len in 0usize..40, inner in 0usize..90, seed: u64,
    ) {
        axis_agrees::<f32>([outer, len, inner], seed);
        axis_agrees::<f64>([outer, len, inner], seed);
        axis_agrees::<f32>([outer, len, 1], seed);
    }
}

#[test]
fn long_axes_agree_with_their_definition() {
    for shape in [[1, 100_000, 3], [3, 5000, 10], [1, 1700, 64], [2, 20, 20_000], [30_000, 7, 1]] {
        axis_agrees::<f32>(shape, 1);
        axis_agrees::<f64>(shape, 2);
    }
    // The roundings of a column's additions wander: they end within the root of their number. One
    // lost element is ten times that.
    let shape = [1, 3000, 17];
    let x = random::<f32>(3000 * 17, 1);
    let (mut y, mut exact) = ([0f32; 17], [0f64; 17]);
    sum_axis(shape, &x, &mut y).unwrap();
    twin::sum_axis(shape, &wide(&x), &mut exact);
    let exact: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
    // Numbers from −2 to 2 are 1 on average.
    assert_close_at(&y, &exact, &[3000f32; 17], 3000f64.sqrt(), "columns");
}

/// Few values, so that rows hold equal ones, and everything a float may be.
fn tied<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let specials = specials::<T>();
    let mut any = || match rng.random_range(0..6) {
        0 => specials[rng.random_range(0..specials.len())],
        _ => T::of(f64::from(rng.random_range(-2i32..=2))),
    };
    (0..len).map(|_| any()).collect()
}

fn argmax_agrees<T: Element>(rows: usize, classes: usize, seed: u64) {
    for x in [random::<T>(rows * classes + 1, seed), tied(rows * classes + 1, seed)] {
        let x = &x[1..];
        let (mut found, mut expected) = (vec![9; rows], vec![9; rows]);
        argmax_rows(x, classes, &mut found).unwrap();
        twin::argmax_rows(x, classes, &mut expected);
        assert_eq!(found, expected, "{} {rows} × {classes}", T::NAME);
        if rows > 0 {
            let labels = random_labels(rows, classes, seed);
            let share = accuracy(x, classes, &labels).unwrap();
            assert_eq!(share, twin::accuracy(x, classes, &labels));
            assert_eq!(accuracy(x, classes, &expected).unwrap(), 1.0);
        }
    }
}

proptest! {
    #[test]
    fn argmax_agrees_with_its_definition(rows in 0usize..60, classes in 1usize..80, seed: u64) {
        argmax_agrees::<f32>(rows, classes, seed);
        argmax_agrees::<f64>(rows, classes, seed);
    }
}

#[test]
fn argmax_agrees_on_many_rows_and_long_ones() {
    for (rows, classes) in [(20_001, 10), (5000, 2), (3, 100_000), (3000, 100)] {
        argmax_agrees::<f32>(rows, classes, 1);
        argmax_agrees::<f64>(rows, classes, 2);
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let x = random::<f32>(300_000, 1);
    on_any_threads(|| {
        let (mut columns, mut rows) = (vec![0.0; 10], vec![0.0; 3000]);
        sum_axis([1, 30_000, 10], &x, &mut columns).unwrap();
        sum_axis([3000, 100, 1], &x, &mut rows).unwrap();
        let labels = random_labels(30_000, 10, 2);
        let share = accuracy(&x, 10, &labels).unwrap() as f32;
        [columns, rows, vec![sum(&x).unwrap(), sum_squares(&x).unwrap(), share]].concat()
    });
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_written() {
    let (x, mut y, mut out) = ([1f32; 6], [7f32; 2], [7; 2]);
    let error = sum_axis([1, 3, 3], &x, &mut y).unwrap_err();
    assert_eq!(error.to_string(), "sum_axis: x has 6 elements, expected 9");
    let error = sum_axis([1, 2, 3], &x, &mut y).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "y", expected: 3, found: 2, .. }));
    assert!(sum_axis([usize::MAX, 2, 3], &x, &mut y).is_err());
    assert!(argmax_rows(&x, 4, &mut out).is_err());
    let error = argmax_rows(&x, 2, &mut out).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "out", expected: 3, found: 2, .. }));
    assert!(matches!(accuracy(&x, 3, &[0, 3]), Err(Error::Label { row: 1, label: 3, .. })));
    assert!(matches!(accuracy(&x, 3, &[0]), Err(Error::Length { operand: "labels", .. })));
    assert!(matches!(accuracy::<f32>(&[], 3, &[]), Err(Error::Shape { .. })));
    assert_eq!((y, out), ([7.0; 2], [7; 2]));
}
