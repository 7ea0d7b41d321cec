//! The operations in lanes against the naive twins of the layers' layout, and against the definition where there is none.

use crate::common::{self, assert_close_at, on_any_threads, random, random_labels};
use kasoku_kernels::conv::{ConvGeometry, Window};
use kasoku_kernels::dropout::{DropoutKey, dropout_mask};
use kasoku_kernels::lanes::{self, Affine, Blocks, Buffer, Convolution, Pooling};
use kasoku_kernels::softmax::Target;
use kasoku_kernels::{Element, Error, reference};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use crate::shapes::{CONVOLUTIONS, Convolution as Shape};

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

fn relu<T: Element>(x: T) -> T {
    if x <= T::zero() { T::zero() } else { x }
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

    let mut expected = vec![T::nan(); dy.len()];
    reference::conv::forward(geometry, &x, &w, Some(&bias), seed % 2 == 0, &mut expected);
    let mut y = nans(groups * outputs * lanes);
    plan.forward(groups, &x_lanes, &w, &bias, seed % 2 == 0, &mut y).unwrap();
    assert!(scattered(&y, samples, outputs) == expected, "{} forward {geometry:?}", T::NAME);

    let mut expected = vec![T::nan(); x.len()];
    reference::conv::backward_data(geometry, &dy, &w, &mut expected);
    let mut dx = nans(groups * inputs * lanes);
    plan.backward_data(groups, &dy_lanes, &w, None, &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected, "{} backward data {geometry:?}", T::NAME);
    plan.backward_data(groups, &dy_lanes, &w, Some(&x_lanes), &mut dx).unwrap();
    for (expected, &x) in expected.iter_mut().zip(&x) {
        *expected = if x <= T::zero() { T::zero() } else { *expected };
    }
    assert!(scattered(&dx, samples, inputs) == expected, "{} masked {geometry:?}", T::NAME);

    let (mut expected, mut expected_db) = (vec![T::nan(); w.len()], vec![T::nan(); filters]);
    reference::conv::backward_weight(geometry, &x, &dy, &mut expected);
    reference::conv::backward_bias(geometry, &dy, &mut expected_db);
    let (mut dw, mut db) = (w.clone(), bias.clone());
    plan.add_weight_gradient(groups, &x_lanes, &dy_lanes, &mut dw, &mut db).unwrap();
    let added = dw.iter().zip(&w).map(|(&sum, &before)| sum - before);
    assert!(added.eq(expected), "{} backward weight {geometry:?}", T::NAME);
    let added = db.iter().zip(&bias).map(|(&sum, &before)| sum - before);
    assert!(added.eq(expected_db), "{} backward bias {geometry:?}", T::NAME);
}

fn check_pooling<T: Element>(input: [usize; 4], window: Window, seed: u64) {
    let [samples, channels, height, width] = input;
    let plan = Pooling::new::<T>([channels, height, width], window).unwrap();
    let [_, out_h, out_w] = plan.output();
    let (inputs, outputs) = (channels * height * width, channels * out_h * out_w);
    let (groups, lanes) = (groups::<T>(samples), lanes::count::<T>().unwrap());
    let mut x = integers::<T>(len(input), seed);
    if seed % 3 == 0 && !x.is_empty() {
        let at = seed as usize % x.len();
        x[at] = T::nan();
    }
    let dy = integers::<T>(samples * outputs, seed + 1);
    let (x_lanes, dy_lanes) = (gathered(&x, inputs), gathered(&dy, outputs));
    let same = |found: &[T], expected: &[T], what: &str| {
        common::assert_same(found, expected, &format!("{what} {input:?} {window:?}"));
    };

    let (mut expected, mut expected_index) = (vec![T::nan(); dy.len()], vec![0u16; dy.len()]);
    reference::pool::max_pool_forward(input, &window, &x, &mut expected, &mut expected_index);
    let (mut y, mut index) = (nans(groups * outputs * lanes), nans(groups * outputs * lanes));
    plan.max_forward(groups, &x_lanes, &mut y, &mut index).unwrap();
    same(&scattered(&y, samples, outputs), &expected, "maximum");
    let expected_cells: Vec<T> = expected_index.iter().map(|&i| T::of(f64::from(i))).collect();
    same(&scattered(&index, samples, outputs), &expected_cells, "index");

    let mut dx = nans(groups * inputs * lanes);
    let mut expected_dx = vec![T::nan(); x.len()];
    reference::pool::max_pool_backward(input, &window, &dy, &expected_index, &mut expected_dx);
    plan.max_backward(groups, &dy_lanes, &index, None, &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected_dx, "max backward {input:?} {window:?}");
    let masked: Vec<T> = dy
        .iter()
        .zip(&expected)
        .map(|(&dy, &y)| if y <= T::zero() { T::zero() } else { dy })
        .collect();
    reference::pool::max_pool_backward(input, &window, &masked, &expected_index, &mut expected_dx);
    plan.max_backward(groups, &dy_lanes, &index, Some(&y), &mut dx).unwrap();
    assert!(scattered(&dx, samples, inputs) == expected_dx, "max masked {input:?} {window:?}");

    let x = integers::<T>(len(input), seed + 2);
    let x_lanes = gathered(&x, inputs);
    reference::pool::average_pool_forward(input, &window, &x, &mut expected);
    plan.average_forward(groups, &x_lanes, &mut y).unwrap();
    let scale = vec![T::of(3.0); expected.len()];
    assert_close_at(&scattered(&y, samples, outputs), &expected, &scale, 2.0, "average");
    reference::pool::average_pool_backward(input, &window, &dy, &mut expected_dx);
    plan.average_backward(groups, &dy_lanes, &mut dx).unwrap();
    let scale = vec![T::of(3.0 * window.area() as f64); expected_dx.len()];
    assert_close_at(
        &scattered(&dx, samples, inputs),
        &expected_dx,
        &scale,
        2.0,
        "average backward",
    );
}

fn check_affine<T: Element>(samples: usize, inputs: usize, outputs: usize, seed: u64) {
    let (all, lanes) = (groups::<T>(samples), lanes::count::<T>().unwrap());
    let plan = Affine::new::<T>(inputs, outputs, all).unwrap();
    let x = integers::<T>(samples * inputs, seed);
    let w = integers::<T>(inputs * outputs, seed + 1);
    let (bias, dy) = (integers::<T>(outputs, seed + 2), integers::<T>(samples * outputs, seed + 3));
    let (x_lanes, dy_lanes) = (gathered(&x, inputs), gathered(&dy, outputs));
    let size = format!("{} {samples}×{inputs}×{outputs}", T::NAME);

    let mut y = nans(all * outputs * lanes);
    plan.forward(all, &x_lanes, &w, &bias, seed % 2 == 0, &mut y).unwrap();
    let expected: Vec<T> = (0..samples * outputs)
        .map(|at| {
            let (s, o) = (at / outputs, at % outputs);
            let sum: T = (0..inputs).map(|i| x[s * inputs + i] * w[i * outputs + o]).sum();
            if seed % 2 == 0 { relu(sum + bias[o]) } else { sum + bias[o] }
        })
        .collect();
    assert!(scattered(&y, samples, outputs) == expected, "forward {size}");

    let mut dx = nans(all * inputs * lanes);
    for masked in [false, true] {
        plan.backward_data(all, &dy_lanes, &w, masked.then_some(&*x_lanes), &mut dx).unwrap();
        let expected: Vec<T> = (0..samples * inputs)
            .map(|at| {
                let (s, i) = (at / inputs, at % inputs);
                let sum: T = (0..outputs).map(|o| dy[s * outputs + o] * w[i * outputs + o]).sum();
                if masked && x[at] <= T::zero() { T::zero() } else { sum }
            })
            .collect();
        assert!(scattered(&dx, samples, inputs) == expected, "backward data {size}");
    }

    // The whole batch as blocks of two groups, x and dy beside each other.
    let width = lanes::padded::<T>(outputs).unwrap();
    let (x_len, dy_len) = (2 * inputs * lanes, 2 * width * lanes);
    let blocks = all.div_ceil(2);
    let here = |block: usize| 2.min(all - 2 * block);
    let mut buffer = nans::<T>(blocks * (x_len + dy_len));
    for (block, stretch) in buffer.chunks_exact_mut(x_len + dy_len).enumerate() {
        let (x, dy) = stretch.split_at_mut(x_len);
        let part = here(block) * inputs * lanes;
        x[..part].copy_from_slice(&x_lanes[block * x_len..][..part]);
        let from = &dy_lanes[block * 2 * outputs * lanes..][..here(block) * outputs * lanes];
        lanes::scatter_padded(from, outputs, &mut dy[..here(block) * width * lanes]).unwrap();
    }
    let (mut dw, mut db) = (vec![T::nan(); w.len()], vec![T::nan(); outputs]);
    let operand = |offset| Blocks { buffer: &*buffer, stride: x_len + dy_len, offset };
    let (xs, dys) = (operand(0), operand(x_len));
    lanes::affine_gradient([inputs, outputs], blocks, &here, xs, dys, &mut dw, &mut db).unwrap();
    let expected: Vec<T> = (0..inputs * outputs)
        .map(|at| {
            let (i, o) = (at / outputs, at % outputs);
            (0..samples).map(|s| x[s * inputs + i] * dy[s * outputs + o]).sum()
        })
        .collect();
    assert!(dw == expected, "gradient by w {size}");
    let expected: Vec<T> =
        (0..outputs).map(|o| (0..samples).map(|s| dy[s * outputs + o]).sum()).collect();
    assert!(db == expected, "gradient by b {size}");
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
        input in [1usize..12, 1usize..3, 1usize..8, 1usize..8],
        size in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4],
        pad in [0usize..2, 0usize..2],
        seed in 0u64..1 << 40,
    ) {
        let window = Window { size, stride, pad };
        prop_assume!(pad[0] < size[0] && pad[1] < size[1] && window.output([input[2], input[3]]).is_ok());
        check_pooling::<f32>(input, window, seed);
        check_pooling::<f64>(input, window, seed);
    }

    #[test]
    fn affine_agrees_with_the_definition(
        samples in 1usize..70,
        inputs in 1usize..60,
        outputs in 1usize..40,
        seed in 0u64..1 << 40,
    ) {
        check_affine::<f32>(samples, inputs, outputs, seed);
        check_affine::<f64>(samples, inputs, outputs, seed);
    }
}

#[test]
fn the_books_layers_agree_with_the_definition() {
    for Shape { channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let geometry = ConvGeometry::new([3, channels, size, size], filters, window).unwrap();
        check_convolution::<f32>(&geometry, 2);
    }
    check_pooling::<f32>([3, 30, 24, 24], Window::new(2, 2).stride(2), 3);
    // More inputs than stay in L1 at once.
    check_affine::<f32>(100, 784, 50, 4);
    check_affine::<f64>(17, 1024, 10, 5);
}

#[test]
fn there_and_back_is_the_same() {
    for samples in [1, 7, 8, 9, 33] {
        for features in [1, 5, 8, 50] {
            let x = random::<f32>(samples * features, 1);
            assert_eq!(scattered(&gathered(&x, features), samples, features), x);
            let bytes: Vec<u8> = (0..samples * features).map(|i| (i * 7 % 256) as u8).collect();
            let as_floats: Vec<f32> = bytes.iter().map(|&x| f32::from(x) * 0.5).collect();
            let mut found = nans::<f32>(gathered(&as_floats, features).len());
            lanes::gather_bytes(&bytes, features, 0.5, &mut found).unwrap();
            assert_eq!(*found, *gathered(&as_floats, features));
        }
    }
}

#[test]
fn the_loss_and_its_gradient_are_the_layers() {
    fn check<T: Element>(samples: usize, classes: usize) {
        let x = random::<T>(samples * classes, 1);
        let labels = random_labels(samples, classes, 2);
        let one_hot: Vec<T> = labels
            .iter()
            .flat_map(|&label| (0..classes).map(move |class| T::of(f64::from(class == label))))
            .collect();
        let epsilon = T::of(1e-7);
        for target in [Target::Labels(&labels), Target::OneHot(&one_hot)] {
            let mut y = vec![T::nan(); x.len()];
            let loss =
                reference::softmax::softmax_cross_entropy(&x, classes, target, epsilon, &mut y);
            let mut dx = vec![T::nan(); x.len()];
            reference::softmax::softmax_cross_entropy_backward(&y, classes, target, &mut dx);

            let mut scores = gathered(&x, classes);
            let mut losses = vec![T::nan(); samples];
            lanes::softmax_cross_entropy(
                &mut scores,
                classes,
                target,
                epsilon,
                samples,
                &mut losses,
            )
            .unwrap();
            let mean = losses.iter().copied().sum::<T>() / T::of(samples as f64);
            assert_close_at(&[mean], &[loss], &[T::one()], 8.0, "loss");
            let scale = vec![T::of(1.0 / samples as f64); dx.len()];
            assert_close_at(&scattered(&scores, samples, classes), &dx, &scale, 8.0, "gradient");
            let lanes = lanes::count::<T>().unwrap();
            let last = &scores[(samples / lanes * classes * lanes).min(scores.len())..];
            let empty = |&(at, _): &(usize, &T)| at % lanes >= samples % lanes;
            assert!(last.iter().enumerate().filter(empty).all(|(_, &x)| x == T::zero()));
        }
    }
    for samples in [1, 8, 13, 100] {
        check::<f32>(samples, 10);
        check::<f64>(samples, 3);
    }
    let error = lanes::softmax_cross_entropy(
        &mut gathered(&[0.0f32; 10], 10),
        10,
        Target::Labels(&[10]),
        0.0,
        1,
        &mut [0.0],
    );
    assert!(matches!(error, Err(Error::Label { label: 10, .. })));
}

#[test]
fn dropout_keeps_what_the_layer_keeps() {
    let key = DropoutKey { seed: 1 << 40 | 7, step: 3, layer: 2 };
    for (samples, features) in [(1, 1), (9, 10), (100, 50), (17, 7)] {
        let mut kept = vec![false; samples * features];
        dropout_mask(key, 0.3, &mut kept).unwrap();
        let x = random::<f32>(samples * features, 1);
        let expected: Vec<f32> =
            x.iter().zip(&kept).map(|(&x, &kept)| if kept { x } else { 0.0 }).collect();
        // In two calls, as two tasks would.
        let lanes = lanes::count::<f32>().unwrap();
        let first = (samples / 2).next_multiple_of(lanes).min(samples);
        let mut found = Vec::new();
        for range in [0..first, first..samples] {
            let from = gathered(&x[range.start * features..range.end * features], features);
            let mut to = nans(from.len());
            lanes::dropout(key, 0.3, features, range.start, range.len(), &from, &mut to).unwrap();
            found.extend(scattered(&to, range.len(), features));
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let lanes = lanes::count::<f32>().unwrap();
    let plan = Convolution::new::<f32>([8, 14, 14], 20, Window::new(3, 3).pad(1)).unwrap();
    let affine = Affine::new::<f32>(300, 100, 9).unwrap();
    let (x, dy) = (random::<f32>(2 * 8 * 196 * lanes, 1), random::<f32>(2 * 20 * 196 * lanes, 2));
    let (w, bias) = (random::<f32>(20 * 72, 3), random::<f32>(20, 4));
    let (a, aw) = (random::<f32>(9 * 300 * lanes, 5), random::<f32>(300 * 100, 6));
    let bias_a = random::<f32>(100, 7);
    on_any_threads(|| {
        let (mut y, mut dx) = (nans::<f32>(dy.len()), nans::<f32>(x.len()));
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; 20]);
        plan.forward(2, &x, &w, &bias, true, &mut y).unwrap();
        plan.backward_data(2, &dy, &w, None, &mut dx).unwrap();
        plan.add_weight_gradient(2, &x, &dy, &mut dw, &mut db).unwrap();
        let mut z = nans::<f32>(9 * 100 * lanes);
        affine.forward(9, &a, &aw, &bias_a, false, &mut z).unwrap();
        [&y, &dx, &dw[..], &db, &z].concat()
    });
}

#[test]
fn what_does_not_fit_is_an_error() {
    let plan = Convolution::new::<f32>([1, 5, 5], 2, Window::new(3, 3)).unwrap();
    let lanes = lanes::count::<f32>().unwrap();
    let (x, w, mut y) = (vec![0.0; 25 * lanes], [0.0; 18], vec![7.0; 18 * lanes]);
    let error = plan.forward(2, &x, &w, &[0.0; 2], false, &mut y).unwrap_err();
    assert!(error.to_string().starts_with("lanes::Convolution::forward: x has"), "{error}");
    assert!(plan.forward(1, &x, &w[1..], &[0.0; 2], false, &mut y).is_err());
    assert!(plan.forward(1, &x, &w, &[0.0; 1], false, &mut y).is_err());
    assert!(plan.backward_data(1, &y, &w, Some(&[0.0]), &mut x.clone()).is_err());
    assert!(plan.add_weight_gradient(1, &x, &y, &mut [0.0; 17], &mut [0.0; 2]).is_err());
    assert!(y.iter().all(|&y| y == 7.0), "a call that fails writes nothing");
    let affine = Affine::new::<f32>(2, 3, 1).unwrap();
    assert!(affine.forward(2, &[0.0; 4], &[0.0; 6], &[0.0; 3], false, &mut [0.0; 6]).is_err());
    assert!(Pooling::new::<f32>([1, 4, 4], Window::new(2, 2).pad(2)).is_err());
}
