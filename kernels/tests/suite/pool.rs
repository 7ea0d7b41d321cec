//! Pooling against its naive twin, to the bit: any geometry, ties, NaN, and both ways back.

use super::common::*;
use kasoku_kernels::conv::Window;
use kasoku_kernels::pool::*;
use kasoku_kernels::{Element, Error, reference::pool as twin};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

fn output_len(input: [usize; 4], window: &Window) -> usize {
    let [out_h, out_w] = window.output([input[2], input[3]]).unwrap();
    input[0] * input[1] * out_h * out_w
}

/// Few values, so that windows hold equal ones, and everything a float may be.
fn tied<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let specials = specials::<T>();
    let mut any = || match rng.random_range(0..4) {
        0 => specials[rng.random_range(0..specials.len())],
        _ => T::of(f64::from(rng.random_range(-2i32..=2))),
    };
    (0..len).map(|_| any()).collect()
}

/// Random, and −0 here and there, which becomes 0 where it is added.
fn gradient<T: Element>(len: usize) -> Vec<T> {
    let mut dy = random::<T>(len, 5);
    dy.iter_mut().step_by(3).for_each(|dy| *dy = -T::zero());
    dy
}

fn max_agrees<T: Element, I: WindowIndex>(input: [usize; 4], window: &Window, x: &[T]) {
    let what = format!("{input:?} {window:?}");
    let y_len = output_len(input, window);
    // One element in, so that no register is aligned.
    let (mut y, mut index) = (vec![T::nan(); y_len + 1], vec![I::from_usize(1); y_len + 1]);
    let (mut expected, mut expected_index) = (vec![T::nan(); y_len], vec![I::default(); y_len]);
    max_pool_forward(input, window, x, &mut y[1..], &mut index[1..]).unwrap();
    twin::max_pool_forward(input, window, x, &mut expected, &mut expected_index);
    assert_same(&y[1..], &expected, &what);
    let cells = |index: &[I]| index.iter().map(|cell| cell.to_usize()).collect::<Vec<_>>();
    assert_eq!(cells(&index[1..]), cells(&expected_index), "{} {what}", T::NAME);

    let dy = gradient::<T>(y_len + 1);
    let (mut dx, mut expected) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    max_pool_backward(input, window, &dy[1..], &index[1..], &mut dx).unwrap();
    twin::max_pool_backward(input, window, &dy[1..], &index[1..], &mut expected);
    assert_same(&dx, &expected, &format!("backward {what}"));
}

fn average_agrees<T: Element>(input: [usize; 4], window: &Window, x: &[T]) {
    let what = format!("average {input:?} {window:?}");
    let y_len = output_len(input, window);
    let (mut y, mut expected) = (vec![T::nan(); y_len + 1], vec![T::nan(); y_len]);
    average_pool_forward(input, window, x, &mut y[1..]).unwrap();
    twin::average_pool_forward(input, window, x, &mut expected);
    assert_same(&y[1..], &expected, &what);

    let dy = gradient::<T>(y_len + 1);
    let (mut dx, mut expected) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    average_pool_backward(input, window, &dy[1..], &mut dx).unwrap();
    twin::average_pool_backward(input, window, &dy[1..], &mut expected);
    assert_same(&dx, &expected, &format!("backward {what}"));
}

fn all_agree(input: [usize; 4], window: &Window, seed: u64) {
    max_agrees::<f32, u8>(input, window, &tied(len(input), seed));
    max_agrees::<f64, u8>(input, window, &tied(len(input), seed));
    max_agrees::<f32, u16>(input, window, &random(len(input) + 1, seed)[1..]);
    max_agrees::<f64, u32>(input, window, &random(len(input) + 1, seed)[1..]);
    average_agrees::<f32>(input, window, &random(len(input) + 1, seed)[1..]);
    average_agrees::<f64>(input, window, &random(len(input) + 1, seed)[1..]);
    average_agrees::<f32>(input, window, &vec![-0.0; len(input)]); // whose sum is −0 too
    average_agrees::<f64>(input, window, &vec![-0.0; len(input)]);
}

fn windows() -> impl Strategy<Value = Window> {
    let pair = |range: std::ops::RangeInclusive<usize>| prop::array::uniform2(range);
    (pair(1..=5), pair(1..=4), pair(0..=2)).prop_map(|(size, stride, pad)| {
        let pad = [pad[0].min(size[0] - 1), pad[1].min(size[1] - 1)];
        Window { size, stride, pad }
    })
}

proptest! {
    #[test]
    fn they_agree_with_their_twins(
        batch in 0usize..=2, channels in 1usize..=3, height in 1usize..=12, width in 1usize..=40,
        window in windows(), seed: u64,
    ) {
        prop_assume!(window.output([height, width]).is_ok());
        all_agree([batch, channels, height, width], &window, seed);
    }

    #[test]
    fn they_agree_when_they_halve(
        batch in 0usize..=2, height in 2usize..=9, width in 2usize..=75, seed: u64,
    ) {
        all_agree([batch, 2, height, width], &Window::new(2, 2).stride(2), seed);
    }
}

#[test]
fn windows_of_many_cells_have_larger_indices() {
    let (input, window) = ([1, 2, 40, 50], Window::new(17, 19).stride(2).pad(3));
    max_agrees::<f32, u16>(input, &window, &random(len(input), 1));
    max_agrees::<f64, u32>(input, &window, &tied(len(input), 2));
    let error = max_pool_forward::<f32, u8>(input, &window, &[0.0; 4000], &mut [], &mut []);
    assert!(error.is_err());
    let y_len = output_len(input, &window);
    let (mut y, mut index) = (vec![0f32; y_len], vec![0u8; y_len]);
    let error = max_pool_forward(input, &window, &[0.0; 4000], &mut y, &mut index).unwrap_err();
    assert!(error.to_string().contains("more cells than its index counts"), "{error}");
}

#[test]
fn the_first_maximum_wins_and_nan_wins_over_numbers() {
    let pool = |x: [f32; 4]| {
        let (mut y, mut index) = ([0.0], [9u8]);
        max_pool_forward([1, 1, 2, 2], &Window::new(2, 2).stride(2), &x, &mut y, &mut index)
            .unwrap();
        (y[0], index[0])
    };
    assert_eq!(pool([1.0, 3.0, 3.0, 2.0]), (3.0, 1));
    assert_eq!(pool([f32::NEG_INFINITY; 4]), (f32::NEG_INFINITY, 0));
    let (y, index) = pool([f32::INFINITY, 1.0, f32::NAN, f32::NAN]);
    assert!(y.is_nan());
    assert_eq!(index, 2);
}

#[test]
fn gradients_are_those_of_the_forward() {
    for window in
        [Window::new(2, 2).stride(2), Window::new(3, 3).stride(2).pad(1), Window::new(2, 3)]
    {
        let input = [2, 2, 5, 7];
        let (x, weight) = (random::<f64>(len(input), 3), random(output_len(input, &window), 4));
        let forward = |x: &[f64]| {
            let (mut y, mut index) = (vec![0.0; weight.len()], vec![0u8; weight.len()]);
            max_pool_forward(input, &window, x, &mut y, &mut index).unwrap();
            (y, index)
        };
        let mut dx = vec![f64::NAN; x.len()];
        max_pool_backward(input, &window, &weight, &forward(&x).1, &mut dx).unwrap();
        assert_gradient(&dx, &numerical_gradient(&x, |x| dot(&weight, &forward(x).0)), "max");

        let forward = |x: &[f64]| {
            let mut y = vec![0.0; weight.len()];
            average_pool_forward(input, &window, x, &mut y).unwrap();
            y
        };
        average_pool_backward(input, &window, &weight, &mut dx).unwrap();
        assert_gradient(&dx, &numerical_gradient(&x, |x| dot(&weight, &forward(x))), "average");
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    for window in [Window::new(2, 2).stride(2), Window::new(3, 3)] {
        let input = [40, 7, 25, 24];
        let (x, y_len) = (random::<f32>(len(input), 3), output_len(input, &window));
        on_any_threads(|| {
            let (mut y, mut index) = (vec![0.0; y_len], vec![0u8; y_len]);
            let (mut dx, mut dx_average) = (x.clone(), x.clone());
            max_pool_forward(input, &window, &x, &mut y, &mut index).unwrap();
            max_pool_backward(input, &window, &y, &index, &mut dx).unwrap();
            let mut average = y.clone();
            average_pool_forward(input, &window, &x, &mut average).unwrap();
            average_pool_backward(input, &window, &average, &mut dx_average).unwrap();
            [y, dx, average, dx_average].concat()
        });
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_written() {
    let window = Window::new(2, 2).stride(2);
    let (x, mut y, mut index, mut dx) = ([1f32; 16], [7f32; 4], [7u8; 4], [7f32; 16]);
    let input = [1, 1, 4, 4];
    let error = max_pool_forward(input, &window, &x[1..], &mut y, &mut index).unwrap_err();
    assert_eq!(error.to_string(), "max_pool_forward: x has 15 elements, expected 16");
    let error = max_pool_forward(input, &window, &x, &mut y, &mut index[1..]).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "index", expected: 4, found: 3, .. }));
    let error = average_pool_forward(input, &window, &x, &mut y[1..]).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "y", .. }));
    let error = average_pool_backward(input, &window, &y, &mut dx[1..]).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "dx", .. }));
    assert!(average_pool_forward([1, 1, 0, 4], &window, &[0f32; 0], &mut []).is_err());
    let padded = Window::new(2, 2).pad(2);
    let error = average_pool_forward(input, &padded, &x, &mut y).unwrap_err();
    assert!(error.to_string().contains("must be smaller than the window"), "{error}");
    assert!(average_pool_forward(input, &Window::new(5, 5), &x, &mut y).is_err());
    let huge = [usize::MAX / 4, 8, 4, 4];
    assert!(matches!(average_pool_forward(huge, &window, &x, &mut y), Err(Error::Shape { .. })));

    let error = max_pool_backward(input, &window, &y, &[0, 1, 4, 3u8], &mut dx).unwrap_err();
    let message =
        "max_pool_backward: index is 4, expected a cell of the window that is on the plane";
    assert_eq!(error.to_string(), message);
    // On the padding: the upper left window of a padded plane has no cell 0.
    let padded = Window::new(3, 3).stride(2).pad(1);
    let index = [4u8, 3, 1, 0];
    max_pool_backward(input, &padded, &y, &index, &mut [0f32; 16]).unwrap();
    for wrong in [[0u8, 3, 1, 0], [4, 0, 1, 0], [4, 3, 0, 0], [4, 3, 1, 9]] {
        assert!(max_pool_backward(input, &padded, &y, &wrong, &mut dx).is_err(), "{wrong:?}");
    }
    assert_eq!((y, dx), ([7.0; 4], [7.0; 16]));
}
