//! The operations in lanes against the naive twins of the layers' layout, and against the definition where there is none.

use crate::common::{self, assert_close_at, integers, len, nans, on_any_threads, random, settled};
use crate::shapes::{CONVOLUTIONS, Convolution as Shape};
use kasoku_kernels::batch_norm::{BatchStatistics, parts::batch_moments};
use kasoku_kernels::conv::{ConvGeometry, Window};
use kasoku_kernels::lanes::{self, Buffer, Convolution, Normalization, PooledGradient, Pooling};
use kasoku_kernels::{Element, Error, reference};
use proptest::prelude::*;

fn groups<T: Element>(samples: usize) -> usize {
    samples.div_ceil(lanes::count::<T>().unwrap())
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
    let [_, channels, height, width] = geometry.input();
    let [_, filters, ..] = geometry.output();
    let input = [channels, height, width];
    let plan = Convolution::new::<T>(input, filters, geometry.window()).unwrap();
    check_plan::<T>(&plan, geometry, seed);
    if plan.is_winograd() {
        let plan = Convolution::direct::<T>(input, filters, geometry.window()).unwrap();
        check_plan::<T>(&plan, geometry, seed);
    }
}

fn check_plan<T: Element>(plan: &Convolution, geometry: &ConvGeometry, seed: u64) {
    let winograd = plan.is_winograd();
    let [samples, ..] = geometry.input();
    let [_, filters, ..] = geometry.output();
    let features = |shape: [usize; 4]| shape[1..].iter().product::<usize>();
    let (inputs, outputs) = (features(geometry.input()), features(geometry.output()));
    let groups = groups::<T>(samples);
    let x = integers::<T>(len(geometry.input()), seed);
    let w = integers::<T>(len(geometry.weight()), seed + 1);
    let dy = integers::<T>(len(geometry.output()), seed + 2);
    let bias = integers::<T>(filters, seed + 3);
    let (x_lanes, dy_lanes) = (gathered(&x, inputs), gathered(&dy, outputs));
    let lanes = lanes::count::<T>().unwrap();
    let of = |group: usize, len: usize| group * len * lanes..(group + 1) * len * lanes;

    let (mut prepared, mut expected) =
        (vec![T::nan(); plan.filters_len()], vec![T::nan(); dy.len()]);
    plan.forward_filters(&w, &mut prepared).unwrap();
    reference::conv::forward(geometry, &x, &w, Some(&bias), seed.is_multiple_of(2), &mut expected);
    let mut y = nans(groups * outputs * lanes);
    for group in 0..groups {
        let (x, y) = (&x_lanes[of(group, inputs)], &mut y[of(group, outputs)]);
        plan.forward(x, &prepared, Some(&bias), seed.is_multiple_of(2), y).unwrap();
        for part in plan.parts() {
            let of_part = &y[part.start * y.len() / filters..part.end * y.len() / filters];
            let mut found = nans(of_part.len());
            let relu = seed.is_multiple_of(2);
            plan.forward_part(part, x, &prepared, Some(&bias), relu, &mut found).unwrap();
            assert!(found[..] == *of_part, "{} forward, a part {geometry:?}", T::NAME);
        }
    }
    let y = settled(winograd, scattered(&y, samples, outputs));
    assert!(y == expected, "{} forward {geometry:?}", T::NAME);

    let mut expected = vec![T::nan(); x.len()];
    plan.backward_filters(&w, &mut prepared).unwrap();
    reference::conv::backward_data(geometry, &dy, &w, &mut expected);
    let mut dx = nans(groups * inputs * lanes);
    for group in 0..groups {
        let (dy, dx) = (&dy_lanes[of(group, outputs)], &mut dx[of(group, inputs)]);
        plan.backward_data(dy, &prepared, None, dx).unwrap();
    }
    let found = settled(winograd, scattered(&dx, samples, inputs));
    assert!(found == expected, "{} backward data {geometry:?}", T::NAME);
    for group in 0..groups {
        let (dy, dx) = (&dy_lanes[of(group, outputs)], &mut dx[of(group, inputs)]);
        plan.backward_data(dy, &prepared, Some(&x_lanes[of(group, inputs)]), dx).unwrap();
    }
    for (expected, &x) in expected.iter_mut().zip(&x) {
        *expected = if x <= T::zero() { T::zero() } else { *expected };
    }
    let found = settled(winograd, scattered(&dx, samples, inputs));
    assert!(found == expected, "{} masked {geometry:?}", T::NAME);

    let (mut expected, mut expected_db) = (vec![T::nan(); w.len()], vec![T::nan(); filters]);
    reference::conv::backward_weight(geometry, &x, &dy, &mut expected);
    reference::conv::backward_bias(geometry, &dy, &mut expected_db);
    // A stretch for each group, with something else before the gradient.
    let stride = w.len() + 3;
    let (mut gradients, mut db) = (vec![T::zero(); groups * stride], bias.clone());
    for group in 0..groups {
        let (x, dy) = (&x_lanes[of(group, inputs)], &dy_lanes[of(group, outputs)]);
        let gradient = &mut gradients[group * stride + 3..][..stride - 3];
        if seed.is_multiple_of(2) {
            plan.add_weight_gradient(x, dy, gradient, &mut db).unwrap();
            continue;
        }
        for part in plan.parts() {
            let dy = &dy[part.start * dy.len() / filters..part.end * dy.len() / filters];
            plan.add_weight_gradient_part(part, x, dy, gradient, &mut db).unwrap();
        }
    }
    let mut dw = vec![T::nan(); w.len()];
    lanes::sum_stretches(&gradients, stride, 3, &mut dw).unwrap();
    assert!(settled(winograd, dw) == expected, "{} backward weight {geometry:?}", T::NAME);
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
    plan.max_forward(&x_lanes, false, &mut y, &mut index).unwrap();
    same(&scattered(&y, samples, outputs), &expected, "maximum");
    let expected_cells: Vec<T> = expected_index.iter().map(|&i| T::of(f64::from(i))).collect();
    same(&scattered(&index, samples, outputs), &expected_cells, "index");

    let mut dx = nans(inputs * samples);
    let mut expected_dx = vec![T::nan(); x.len()];
    reference::pool::max_pool_backward(batch, &window, &dy, &expected_index, &mut expected_dx);
    plan.max_backward(&dy_lanes, &index, &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected_dx, "max backward {input:?} {window:?}");

    let falls = |y: T| y <= T::zero();
    let masked: Vec<T> =
        dy.iter().zip(&expected).map(|(&dy, &y)| if falls(y) { T::zero() } else { dy }).collect();
    reference::pool::max_pool_backward(batch, &window, &masked, &expected_index, &mut expected_dx);
    plan.max_forward(&x_lanes, true, &mut y, &mut index).unwrap();
    plan.max_backward(&dy_lanes, &index, &mut dx).unwrap();
    let rectified: Vec<T> =
        expected.iter().map(|&y| if falls(y) { T::zero() } else { y }).collect();
    same(&scattered(&y, samples, outputs), &rectified, "maximum, ReLU");
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

/// Whether there is a plan, which then gives the same sums as the gradient spread over the planes.
fn check_pooled_gradient<T: Element>(geometry: &ConvGeometry, pool: Window, seed: u64) -> bool {
    let [_, channels, height, width] = geometry.input();
    let [_, filters, out_h, out_w] = geometry.output();
    let window = geometry.window();
    let conv = Convolution::direct::<T>([channels, height, width], filters, window).unwrap();
    let pooling = Pooling::new::<T>([filters, out_h, out_w], pool).unwrap();
    let Some(plan) = PooledGradient::new::<T>(&conv, &pooling).unwrap() else { return false };
    let lanes = lanes::count::<T>().unwrap();
    let samples = 1 + seed as usize % lanes;
    let (inputs, planes) = (channels * height * width, filters * out_h * out_w);
    let outputs = pooling.output().iter().product();
    let x = gathered(&integers::<T>(samples * inputs, seed), inputs);
    let pooled = integers::<T>(planes * lanes, seed + 1);
    let dy = integers::<T>(samples * outputs, seed + 2);
    let relu = seed.is_multiple_of(3);
    let (mut y, mut index) = (nans(outputs * lanes), nans(outputs * lanes));
    pooling.max_forward(&pooled, relu, &mut y, &mut index).unwrap();

    let mut spread = nans(planes * lanes);
    pooling.max_backward(&gathered(&dy, outputs), &index, &mut spread).unwrap();
    let before = integers::<T>(len(geometry.weight()) + filters, seed + 3);
    let (mut expected, mut found) = (before.clone(), before);
    let (dw, db) = expected.split_at_mut(len(geometry.weight()));
    conv.add_weight_gradient(&x, &spread, dw, db).unwrap();
    let (dw, db) = found.split_at_mut(len(geometry.weight()));
    plan.add(&x, &dy, &index, dw, db).unwrap();
    assert!(found == expected, "{} pooled gradient {geometry:?} {pool:?}", T::NAME);
    true
}

/// Both ways through the normalisation of a batch whose numbers lie about 8, against the definition in f64.
fn check_normalization<T: Element>([samples, channels, height, width]: [usize; 4], seed: u64) {
    const EPSILON: f64 = 1e-3;
    let (shape, features) = ([samples, channels, height * width], channels * height * width);
    // In steps of which integers count: the twin's sums, one element after another, round more than those of groups.
    const STEPS: f64 = 65536.0;
    let near_8 = |x: &T| T::of((x.as_f64() * STEPS).round() / STEPS + 8.0);
    let x: Vec<T> = random::<T>(len(shape), seed).iter().map(near_8).collect();
    let exact_moments = |channel: usize| {
        let planes = x.chunks_exact(shape[2]).skip(channel).step_by(channels);
        let steps = planes.flatten().map(|x| (x.as_f64() * STEPS) as i128);
        let [count, sum, squares] = steps.fold([0, 0, 0], |[n, s, q], x| [n + 1, s + x, q + x * x]);
        let spread = (count * squares - sum * sum) as f64;
        [sum as f64 / count as f64 / STEPS, spread / (count * count) as f64 / (STEPS * STEPS)]
    };
    let dy = random::<T>(len(shape), seed + 1);
    let (gamma, beta) = (random::<T>(channels, seed + 2), random::<T>(channels, seed + 3));
    let wide = |x: &[T]| x.iter().map(|x| x.as_f64()).collect::<Vec<_>>();
    let narrow = |x: &[f64]| x.iter().map(|&x| T::of(x)).collect::<Vec<_>>();
    let nan = || vec![f64::NAN; channels];
    let (mut y, mut dx) = (vec![f64::NAN; x.len()], vec![f64::NAN; x.len()]);
    let (mut mean, mut var, mut inv_std, mut dgamma, mut dbeta) =
        (nan(), nan(), nan(), nan(), nan());
    let statistics = BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
    let (x64, gamma64) = (wide(&x), wide(&gamma));
    let twin = reference::batch_norm::batch_norm_forward;
    twin(shape, &x64, &gamma64, &wide(&beta), EPSILON, &mut y, statistics);
    let twin = reference::batch_norm::batch_norm_backward;
    let (by_x, by_constants) = (&mut dx, [&mut dgamma, &mut dbeta].map(|sums| &mut sums[..]));
    let [by_gamma, by_beta] = by_constants;
    twin(shape, &x64, &gamma64, &mean, &inv_std, &wide(&dy), by_x, by_gamma, by_beta);

    let plan = Normalization::new::<T>([channels, height, width]).unwrap();
    let lanes = lanes::count::<T>().unwrap();
    let of = |group: usize| group * features * lanes..(group + 1) * features * lanes;
    let filled = |group: usize| lanes.min(samples - group * lanes);
    let (mut x_lanes, dy_lanes) = (gathered(&x, features), gathered(&dy, features));
    // What is in lanes without a sample must not matter.
    let groups = groups::<T>(samples);
    for pixel in x_lanes[of(groups - 1)].chunks_exact_mut(lanes) {
        pixel[filled(groups - 1)..].fill(T::of(100.0));
    }
    let mut parts = nans::<T>(groups * 2 * channels);
    for (group, part) in parts.chunks_exact_mut(2 * channels).enumerate() {
        plan.moments(&x_lanes[of(group)], filled(group), part).unwrap();
    }
    let (mut own_mean, mut own_var) = (narrow(&nan()), narrow(&nan()));
    batch_moments(&parts, plan.elements(samples), &mut own_mean, &mut own_var).unwrap();
    let what = |name| format!("{name} of {samples} samples, {shape:?}, seed {seed}");
    let scale = |scale, len| vec![T::of(scale); len];
    // A group's mean, the batch's, and the distances to it: each rounds what is as large as x.
    for channel in 0..channels {
        let [mean, var] = exact_moments(channel).map(T::of);
        let (own_mean, own_var) = ([own_mean[channel]], [own_var[channel]]);
        assert_close_at(&own_mean, &[mean], &scale(8.0, 1), 16.0, &what("mean"));
        assert_close_at(&own_var, &[var], &scale(8.0, 1), 32.0, &what("var"));
    }

    // With the statistics of the definition from here on.
    let [mean, inv_std] = [&mean, &inv_std].map(|x| narrow(x));
    let relu = seed.is_multiple_of(2);
    let mut found = nans(groups * features * lanes);
    for group in 0..groups {
        let constants = [&gamma[..], &mean, &inv_std, &beta];
        plan.forward(&x_lanes[of(group)], constants, relu, &mut found[of(group)]).unwrap();
    }
    let y: Vec<f64> = y.iter().map(|&y| if relu { y.max(0.0) } else { y }).collect();
    // Of as little variance as epsilon allows, 8 is 250 standard deviations.
    let size = inv_std.iter().fold(1.0, |size: f64, inv_std| size.max(inv_std.as_f64()));
    let found = scattered(&found, samples, features);
    assert_close_at(&found, &narrow(&y), &scale(32.0 * size, y.len()), 4.0, &what("y"));

    for (group, part) in parts.chunks_exact_mut(2 * channels).enumerate() {
        let (x, dy) = (&x_lanes[of(group)], &dy_lanes[of(group)]);
        plan.gradients(x, dy, [&mean, &inv_std], part).unwrap();
    }
    let (mut by_beta, mut by_gamma) = (narrow(&nan()), narrow(&nan()));
    lanes::sum_stretches(&parts, 2 * channels, 0, &mut by_beta).unwrap();
    lanes::sum_stretches(&parts, 2 * channels, channels, &mut by_gamma).unwrap();
    let count = (samples * height * width) as f64;
    let sums = scale(count.max(16.0) * size, channels);
    assert_close_at(&by_beta, &narrow(&dbeta), &sums, 4.0, &what("dbeta"));
    assert_close_at(&by_gamma, &narrow(&dgamma), &sums, 32.0, &what("dgamma"));

    let shift: Vec<T> = dbeta.iter().map(|&dbeta| T::of(dbeta / count)).collect();
    let (mut factor, mut slope) = (gamma.clone(), gamma.clone());
    for channel in 0..channels {
        factor[channel] = gamma[channel] * inv_std[channel];
        slope[channel] = inv_std[channel] * T::of(dgamma[channel] / count);
    }
    let mut found = nans(groups * features * lanes);
    for group in 0..groups {
        let (x, dy) = (&x_lanes[of(group)], &dy_lanes[of(group)]);
        let (constants, dx) = ([&factor[..], &mean, &slope, &shift], &mut found[of(group)]);
        plan.backward(x, dy, constants, filled(group), dx).unwrap();
    }
    for pixel in found[of(groups - 1)].chunks_exact(lanes) {
        assert!(pixel[filled(groups - 1)..].iter().all(|&dx| dx == T::zero()));
    }
    let found = scattered(&found, samples, features);
    let size = 64.0 * size * size;
    assert_close_at(&found, &narrow(&dx), &scale(size, dx.len()), 4.0, &what("dx"));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn normalization_agrees_with_the_definition(
        shape in [1usize..40, 1usize..5, 1usize..9, 1usize..9], seed in 0u64..1 << 40,
    ) {
        check_normalization::<f32>(shape, seed);
        check_normalization::<f64>(shape, seed);
    }

    #[test]
    fn a_sum_is_that_of_its_elements(len in 0usize..100, seed in 0u64..1 << 40) {
        let (x, y) = (integers::<f32>(len, seed), integers::<f32>(len, seed + 1));
        let mut sum = vec![f32::NAN; len];
        lanes::add(&x, &y, false, &mut sum).unwrap();
        assert!(sum.iter().zip(x.iter().zip(&y)).all(|(sum, (x, y))| *sum == x + y));
        lanes::add(&x, &y, true, &mut sum).unwrap();
        assert!(sum.iter().zip(x.iter().zip(&y)).all(|(sum, (x, y))| *sum == (x + y).max(0.0)));
        let before = sum.clone();
        lanes::add_to(&x, &mut sum).unwrap();
        assert!(sum.iter().zip(x.iter().zip(&before)).all(|(sum, (x, y))| *sum == x + y));
        assert!(lanes::add(&x, &[0.0; 100], false, &mut sum).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_gradient_of_pooled_windows_agrees_with_that_of_planes(
        geometry in geometry(), size in 1usize..5, stride in 1usize..4, pad in 0usize..2, seed in 0u64..1 << 40,
    ) {
        let pool = Window::new(size, size).stride(stride).pad(pad.min(size - 1));
        let [_, _, height, width] = geometry.output();
        prop_assume!(pool.output([height, width]).is_ok());
        check_pooled_gradient::<f32>(&geometry, pool, seed);
        check_pooled_gradient::<f64>(&geometry, pool, seed);
    }

    #[test]
    fn convolution_by_winograds_filtering_agrees_with_the_definition(
        input in (1usize..10, 8usize..27, 1usize..12, 1usize..12),
        filters in 8usize..40,
        pad in [0usize..3, 0usize..3],
        seed in 0u64..1 << 40,
    ) {
        let (n, c, h, w) = input;
        let window = Window { size: [3, 3], stride: [1, 1], pad };
        if let Ok(geometry) = ConvGeometry::new([n, c, h, w], filters, window) {
            check_convolution::<f32>(&geometry, seed);
            check_convolution::<f64>(&geometry, seed);
        }
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
fn the_books_pooled_gradient_agrees_with_that_of_planes() {
    let geometry = ConvGeometry::new([1, 1, 28, 28], 30, Window::new(5, 5)).unwrap();
    for seed in 0..16 {
        let pool = Window::new(2, 2).stride(2);
        let planned = check_pooled_gradient::<f32>(&geometry, pool, seed);
        assert_eq!(planned, lanes::count::<f32>().unwrap() > 1);
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
    for make in [Convolution::new::<f32>, Convolution::direct::<f32>] {
        let plan = make([8, 28, 28], 20, Window::new(3, 3).pad(1)).unwrap();
        let (x, dy) = (random::<f32>(8 * 784 * lanes, 1), random::<f32>(20 * 784 * lanes, 2));
        let (w, bias) = (random::<f32>(20 * 72, 3), random::<f32>(20, 4));
        on_any_threads(|| {
            let (mut y, mut dx) = (nans::<f32>(dy.len()), nans::<f32>(x.len()));
            let mut filters = vec![0.0; plan.filters_len()];
            plan.forward_filters(&w, &mut filters).unwrap();
            plan.forward(&x, &filters, Some(&bias), true, &mut y).unwrap();
            plan.backward_filters(&w, &mut filters).unwrap();
            plan.backward_data(&dy, &filters, None, &mut dx).unwrap();
            let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; 20]);
            plan.add_weight_gradient(&x, &dy, &mut dw, &mut db).unwrap();
            [&y, &dx, &dw[..], &db].concat()
        });
    }
}

/// The largest difference from f64, relative to the largest number.
fn error(found: &[f32], exact: &[f64]) -> f64 {
    let largest = |x: f64, y: f64| x.max(y.abs());
    let scale = exact.iter().copied().fold(0.0, largest);
    found.iter().zip(exact).map(|(&x, y)| f64::from(x) - y).fold(0.0, largest) / scale
}

#[test]
fn winograds_filtering_is_nearly_as_exact_as_the_direct_kernels() {
    let lanes = lanes::count::<f32>().unwrap();
    for Shape { name, channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let input = [channels, size, size];
        let window = Window::new(filter, filter).pad(pad);
        let winograd = Convolution::new::<f32>(input, filters, window).unwrap();
        if !winograd.is_winograd() {
            continue;
        }
        let geometry = ConvGeometry::new([lanes, channels, size, size], filters, window).unwrap();
        let [x, w, dy] = [geometry.input(), geometry.weight(), geometry.output()].map(len);
        let [x, w, dy] = [random::<f32>(x, 1), random::<f32>(w, 2), random::<f32>(dy, 3)];
        let bias = vec![0.0f32; filters];
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let [x64, w64, dy64] = [&x, &w, &dy].map(|x| wide(x));
        let [mut y64, mut dx64, mut dw64] = [dy.len(), x.len(), w.len()].map(|n| vec![0.0; n]);
        reference::conv::forward(&geometry, &x64, &w64, None, false, &mut y64);
        reference::conv::backward_data(&geometry, &dy64, &w64, &mut dx64);
        reference::conv::backward_weight(&geometry, &x64, &dy64, &mut dw64);
        let errors = |plan: &Convolution| {
            let (x_lanes, dy_lanes) =
                (gathered(&x, x.len() / lanes), gathered(&dy, dy.len() / lanes));
            let (mut y, mut dx) = (nans(dy.len()), nans(x.len()));
            let mut prepared = vec![0.0; plan.filters_len()];
            plan.forward_filters(&w, &mut prepared).unwrap();
            plan.forward(&x_lanes, &prepared, None, false, &mut y).unwrap();
            plan.backward_filters(&w, &mut prepared).unwrap();
            plan.backward_data(&dy_lanes, &prepared, None, &mut dx).unwrap();
            let mut dw = vec![0.0; w.len()];
            plan.add_weight_gradient(&x_lanes, &dy_lanes, &mut dw, &mut bias.clone()).unwrap();
            [
                error(&scattered(&y, lanes, y.len() / lanes), &y64),
                error(&scattered(&dx, lanes, dx.len() / lanes), &dx64),
                error(&dw, &dw64),
            ]
        };
        let direct = Convolution::direct::<f32>(input, filters, window).unwrap();
        let (found, bound) = (errors(&winograd), errors(&direct));
        for (found, bound) in found.iter().zip(bound) {
            assert!(*found <= 4.0 * bound, "{name}: {found:e}, directly {bound:e}");
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let plan = Convolution::new::<f32>([1, 5, 5], 2, Window::new(3, 3)).unwrap();
    let lanes = lanes::count::<f32>().unwrap();
    let (x, w, mut y) = (vec![0.0; 25 * lanes], [0.0; 18], vec![7.0; 18 * lanes]);
    let error = plan.forward(&x[1..], &w, None, false, &mut y).unwrap_err();
    assert!(error.to_string().starts_with("lanes::Convolution::forward: x has"), "{error}");
    assert!(plan.forward(&x, &w[1..], None, false, &mut y).is_err());
    assert!(plan.forward(&x, &w, Some(&[0.0; 1]), false, &mut y).is_err());
    assert!(plan.forward_part(0..1, &x, &w, None, false, &mut y[..9 * lanes]).is_err());
    assert!(plan.backward_data(&y, &w, Some(&[0.0]), &mut x.clone()).is_err());
    assert!(plan.add_weight_gradient(&x, &y, &mut [0.0; 17], &mut [0.0; 2]).is_err());
    assert!(lanes::sum_stretches(&[0.0; 18], 18, 1, &mut [0.0; 18]).is_err());
    assert!(plan.forward_filters(&w[1..], &mut [0.0; 18]).is_err());
    assert!(plan.backward_filters(&w, &mut [0.0; 17]).is_err());
    assert!(y.iter().all(|&y| y == 7.0), "a call that fails writes nothing");
    assert!(Pooling::new::<f32>([1, 4, 4], Window::new(2, 2).pad(2)).is_err());
    let plan = Normalization::new::<f32>([2, 3, 3]).unwrap();
    let (x, c, mut parts) = (vec![0.0; 18 * lanes], [1.0; 2], [7.0; 4]);
    assert!(plan.moments(&x[1..], 1, &mut parts).is_err());
    assert!(plan.moments(&x, 1, &mut parts[1..]).is_err());
    assert!(batch_moments(&[0.0; 3], plan.elements(1), &mut [0.0; 2], &mut [0.0; 2]).is_err());
    assert!(plan.forward(&x, [&c, &c, &c, &c[1..]], false, &mut y).is_err());
    assert!(plan.gradients(&x, &y[1..], [&c, &c], &mut parts).is_err());
    assert!(plan.backward(&x, &x, [&c, &c[1..], &c, &c], 1, &mut y).is_err());
    assert!(y.iter().all(|&y| y == 7.0) && parts == [7.0; 4]);

    let conv = Convolution::new::<f64>([1, 8, 8], 2, Window::new(5, 5)).unwrap();
    let pooling = Pooling::new::<f64>([2, 4, 4], Window::new(2, 2).stride(2)).unwrap();
    let Some(plan) = PooledGradient::new::<f64>(&conv, &pooling).unwrap() else { return };
    let lanes = lanes::count::<f64>().unwrap();
    let (x, index, dy) = (vec![0.0; 64 * lanes], vec![0.0; 8 * lanes], [1.0; 16]);
    let (mut dw, mut db) = ([7.0; 50], [7.0; 2]);
    let mut add = |x: &[f64], dy: &[f64], index: &[f64], len: usize| {
        plan.add(x, dy, index, &mut dw[..len], &mut db).is_err()
    };
    assert!(add(&x[1..], &dy, &index, 50) && add(&x, &dy[1..], &index, 50));
    assert!(add(&x, &dy, &index[1..], 50) && add(&x, &dy, &index, 49));
    assert!(dw == [7.0; 50] && db == [7.0; 2]);
    let other = Pooling::new::<f64>([2, 4, 5], Window::new(2, 2)).unwrap();
    assert!(PooledGradient::new::<f64>(&conv, &other).is_err());
}
