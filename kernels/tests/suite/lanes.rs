//! The operations in lanes against the naive twins of the layers' layout, and against the definition where there is none.

use crate::common::{self, assert_close_at, on_any_threads, random};
use crate::shapes::{CONVOLUTIONS, Convolution as Shape};
use kasoku_kernels::conv::{ConvGeometry, Window};
use kasoku_kernels::lanes::{self, Buffer, Convolution, Pooling};
use kasoku_kernels::{Element, Error, reference};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Small integers, whose sums are exact in any order.
fn integers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| T::of(f64::from(rng.random_range(-3i32..=3)))).collect()
}

fn len(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

fn groups<T: Element>(samples: usize) -> usize {
    samples.div_ceil(lanes::count::<T>().unwrap())
}

/// NaN everywhere, so that what is not written shows.
fn nans<T: Element>(len: usize) -> Buffer<T> {
    let mut buffer = Buffer::new(len);
    buffer.fill(T::nan());
    buffer
}

/// Samples in lanes.
fn gathered<T: Element>(x: &[T], features: usize) -> Buffer<T> {
    let lanes = lanes::count::<T>().unwrap();
    let mut to = nans(groups::<T>(x.len() / features) * features * lanes);
    lanes::gather(x, features, &mut to).unwrap();
    to
}

/// Samples out of lanes.
fn scattered<T: Element>(x: &[T], samples: usize, features: usize) -> Vec<T> {
    let mut to = vec![T::nan(); samples * features];
    lanes::scatter(x, features, &mut to).unwrap();
    to
}

fn check_convolution<T: Element>(geometry: &ConvGeometry, seed: u64) {
    let [samples, channels, height, width] = geometry.input();
    let [_, filters, ..] = geometry.output();
    let features = |shape: [usize; 4]| shape[1..].iter().product::<usize>();
    let (inputs, outputs) = (features(geometry.input()), features(geometry.output()));
    let plan =
        Convolution::new::<T>([channels, height, width], filters, geometry.window()).unwrap();
    let groups = groups::<T>(samples);
    let x = integers::<T>(len(geometry.input()), seed);
    let w = integers::<T>(len(geometry.weight()), seed + 1);
    let dy = integers::<T>(len(geometry.output()), seed + 2);
    let bias = integers::<T>(filters, seed + 3);
    let (x_lanes, dy_lanes) = (gathered(&x, inputs), gathered(&dy, outputs));
    let lanes = lanes::count::<T>().unwrap();
    let of = |group: usize, len: usize| group * len * lanes..(group + 1) * len * lanes;

    let mut expected = vec![T::nan(); dy.len()];
    reference::conv::forward(geometry, &x, &w, Some(&bias), seed.is_multiple_of(2), &mut expected);
    let mut y = nans(groups * outputs * lanes);
    for group in 0..groups {
        let (x, y) = (&x_lanes[of(group, inputs)], &mut y[of(group, outputs)]);
        plan.forward(x, &w, &bias, seed.is_multiple_of(2), y).unwrap();
    }
    assert!(scattered(&y, samples, outputs) == expected, "{} forward {geometry:?}", T::NAME);

    let mut expected = vec![T::nan(); x.len()];
    reference::conv::backward_data(geometry, &dy, &w, &mut expected);
    let mut dx = nans(groups * inputs * lanes);
    for group in 0..groups {
        let (dy, dx) = (&dy_lanes[of(group, outputs)], &mut dx[of(group, inputs)]);
        plan.backward_data(dy, &w, None, dx).unwrap();
    }
    assert!(scattered(&dx, samples, inputs) == expected, "{} backward data {geometry:?}", T::NAME);
    for group in 0..groups {
        let (dy, dx) = (&dy_lanes[of(group, outputs)], &mut dx[of(group, inputs)]);
        plan.backward_data(dy, &w, Some(&x_lanes[of(group, inputs)]), dx).unwrap();
    }
    for (expected, &x) in expected.iter_mut().zip(&x) {
        *expected = if x <= T::zero() { T::zero() } else { *expected };
    }
    assert!(scattered(&dx, samples, inputs) == expected, "{} masked {geometry:?}", T::NAME);

    let (mut expected, mut expected_db) = (vec![T::nan(); w.len()], vec![T::nan(); filters]);
    reference::conv::backward_weight(geometry, &x, &dy, &mut expected);
    reference::conv::backward_bias(geometry, &dy, &mut expected_db);
    let (mut dw, mut db) = (w.clone(), bias.clone());
    for group in 0..groups {
        let (x, dy) = (&x_lanes[of(group, inputs)], &dy_lanes[of(group, outputs)]);
        plan.add_weight_gradient(x, dy, &mut dw, &mut db).unwrap();
    }
    let added = dw.iter().zip(&w).map(|(&sum, &before)| sum - before);
    assert!(added.eq(expected), "{} backward weight {geometry:?}", T::NAME);
    let added = db.iter().zip(&bias).map(|(&sum, &before)| sum - before);
    assert!(added.eq(expected_db), "{} backward bias {geometry:?}", T::NAME);
}

fn check_pooling<T: Element>(input: [usize; 3], window: Window, seed: u64) {
    let plan = Pooling::new::<T>(input, window).unwrap();
    let samples = lanes::count::<T>().unwrap();
    let batch = [samples, input[0], input[1], input[2]];
    let [inputs, outputs] = [input, plan.output()].map(|shape| shape.iter().product::<usize>());
    let mut x = integers::<T>(len(batch), seed);
    if seed.is_multiple_of(3) && !x.is_empty() {
        let at = seed as usize % x.len();
        x[at] = T::nan();
    }
    let dy = integers::<T>(samples * outputs, seed + 1);
    let (x_lanes, dy_lanes) = (gathered(&x, inputs), gathered(&dy, outputs));
    let same = |found: &[T], expected: &[T], what: &str| {
        common::assert_same(found, expected, &format!("{what} {input:?} {window:?}"));
    };

    let (mut expected, mut expected_index) = (vec![T::nan(); dy.len()], vec![0u16; dy.len()]);
    reference::pool::max_pool_forward(batch, &window, &x, &mut expected, &mut expected_index);
    let (mut y, mut index) = (nans(outputs * samples), nans(outputs * samples));
    plan.max_forward(&x_lanes, &mut y, &mut index).unwrap();
    same(&scattered(&y, samples, outputs), &expected, "maximum");
    let expected_cells: Vec<T> = expected_index.iter().map(|&i| T::of(f64::from(i))).collect();
    same(&scattered(&index, samples, outputs), &expected_cells, "index");

    let mut dx = nans(inputs * samples);
    let mut expected_dx = vec![T::nan(); x.len()];
    reference::pool::max_pool_backward(batch, &window, &dy, &expected_index, &mut expected_dx);
    plan.max_backward(&dy_lanes, &index, None, &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected_dx, "max backward {input:?} {window:?}");
    let masked: Vec<T> = dy
        .iter()
        .zip(&expected)
        .map(|(&dy, &y)| if y <= T::zero() { T::zero() } else { dy })
        .collect();
    reference::pool::max_pool_backward(batch, &window, &masked, &expected_index, &mut expected_dx);
    plan.max_backward(&dy_lanes, &index, Some(&y), &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected_dx, "max masked {input:?} {window:?}");

    let x = integers::<T>(len(batch), seed + 2);
    reference::pool::average_pool_forward(batch, &window, &x, &mut expected);
    plan.average_forward(&gathered(&x, inputs), &mut y).unwrap();
    let scale = vec![T::of(3.0); expected.len()];
    assert_close_at(&scattered(&y, samples, outputs), &expected, &scale, 2.0, "average");
    reference::pool::average_pool_backward(batch, &window, &dy, &mut expected_dx);
    plan.average_backward(&dy_lanes, &mut dx).unwrap();
    let scale = vec![T::of(3.0 * window.area() as f64); expected_dx.len()];
    let found = scattered(&dx, samples, inputs);
    assert_close_at(&found, &expected_dx, &scale, 2.0, "average backward");
}

/// Any geometry, batches of up to three lane groups of most instruction sets.
fn geometry() -> impl Strategy<Value = ConvGeometry> {
    let window = ([1usize..6, 1usize..6], [1usize..4, 1usize..4], [0usize..4, 0usize..4]);
    let input = (1usize..20, 1usize..4, 1usize..9, 1usize..11);
    (input, 1usize..8, window).prop_filter_map(
        "the window must fit",
        |((n, c, h, w), filters, (size, stride, pad))| {
            ConvGeometry::new([n, c, h, w], filters, Window { size, stride, pad }).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn convolution_agrees_with_the_definition(geometry in geometry(), seed in 0u64..1 << 40) {
        check_convolution::<f32>(&geometry, seed);
        check_convolution::<f64>(&geometry, seed);
    }

    #[test]
    fn pooling_agrees_with_the_definition(
        input in [1usize..3, 1usize..9, 1usize..9],
        size in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4],
        pad in [0usize..2, 0usize..2],
        seed in 0u64..1 << 40,
    ) {
        let window = Window { size, stride, pad };
        prop_assume!(pad[0] < size[0] && pad[1] < size[1] && window.output([input[1], input[2]]).is_ok());
        check_pooling::<f32>(input, window, seed);
        check_pooling::<f64>(input, window, seed);
    }
}

#[test]
fn the_books_layers_agree_with_the_definition() {
    for Shape { channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let geometry = ConvGeometry::new([3, channels, size, size], filters, window).unwrap();
        check_convolution::<f32>(&geometry, 2);
    }
    for seed in 0..3 {
        check_pooling::<f32>([30, 24, 24], Window::new(2, 2).stride(2), seed);
        check_pooling::<f64>([3, 6, 4], Window::new(2, 2).stride(2), seed);
    }
}

#[test]
fn there_and_back_is_the_same() {
    for samples in [1, 7, 8, 9, 33] {
        for features in [1, 5, 8, 50] {
            let x = random::<f32>(samples * features, 1);
            assert_eq!(scattered(&gathered(&x, features), samples, features), x);
            let x = random::<f64>(samples * features, 2);
            assert_eq!(scattered(&gathered(&x, features), samples, features), x);
        }
    }
}

#[test]
fn lanes_without_a_sample_are_zeros() {
    let lanes = lanes::count::<f32>().unwrap();
    let gathered = gathered(&random::<f32>((lanes + 1) * 3, 1), 3);
    let last = gathered[3 * lanes..].chunks_exact(lanes);
    assert!(last.flat_map(|feature| &feature[1..]).all(|&x| x == 0.0));
}

#[test]
fn each_task_has_its_stretches() {
    // The last stretch is shorter; one of the slices is empty.
    let (mut a, mut b) = (vec![0.0f32; 29], Vec::new());
    let slices = [(&mut a[..], 3), (&mut b[..], 0)];
    lanes::for_each_stretch(10, 1 << 30, slices, |task, [a, b]| {
        assert!(b.is_empty());
        a.fill(task as f32);
        Ok(())
    })
    .unwrap();
    assert!(a.iter().enumerate().all(|(at, &task)| task == (at / 3) as f32));
    let too_long = lanes::for_each_stretch(9, 0, [(&mut a[..], 3)], |_, _| Ok(()));
    assert!(matches!(too_long, Err(Error::Length { expected: 27, found: 29, .. })));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let lanes = lanes::count::<f32>().unwrap();
    let plan = Convolution::new::<f32>([8, 28, 28], 20, Window::new(3, 3).pad(1)).unwrap();
    let (x, dy) = (random::<f32>(8 * 784 * lanes, 1), random::<f32>(20 * 784 * lanes, 2));
    let (w, bias) = (random::<f32>(20 * 72, 3), random::<f32>(20, 4));
    on_any_threads(|| {
        let (mut y, mut dx) = (nans::<f32>(dy.len()), nans::<f32>(x.len()));
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; 20]);
        plan.forward(&x, &w, &bias, true, &mut y).unwrap();
        plan.backward_data(&dy, &w, None, &mut dx).unwrap();
        plan.add_weight_gradient(&x, &dy, &mut dw, &mut db).unwrap();
        [&y, &dx, &dw[..], &db].concat()
    });
}

#[test]
fn what_does_not_fit_is_an_error() {
    let plan = Convolution::new::<f32>([1, 5, 5], 2, Window::new(3, 3)).unwrap();
    let lanes = lanes::count::<f32>().unwrap();
    let (x, w, mut y) = (vec![0.0; 25 * lanes], [0.0; 18], vec![7.0; 18 * lanes]);
    let error = plan.forward(&x[1..], &w, &[0.0; 2], false, &mut y).unwrap_err();
    assert!(error.to_string().starts_with("lanes::Convolution::forward: x has"), "{error}");
    assert!(plan.forward(&x, &w[1..], &[0.0; 2], false, &mut y).is_err());
    assert!(plan.forward(&x, &w, &[0.0; 1], false, &mut y).is_err());
    assert!(plan.backward_data(&y, &w, Some(&[0.0]), &mut x.clone()).is_err());
    assert!(plan.add_weight_gradient(&x, &y, &mut [0.0; 17], &mut [0.0; 2]).is_err());
    assert!(y.iter().all(|&y| y == 7.0), "a call that fails writes nothing");
    assert!(Pooling::new::<f32>([1, 4, 4], Window::new(2, 2).pad(2)).is_err());
}
