//! Convolution with channels in lanes against its naive twin.

use crate::common::{assert_same, integers, len, nans, on_any_threads, random, settled};
use crate::shapes::{CONVOLUTIONS, Convolution as Shape};
use kasoku_kernels::conv::{ConvGeometry, Window};
use kasoku_kernels::lanes::channels::{self, Convolution, Input};
use kasoku_kernels::lanes::{self, Pooling};
use kasoku_kernels::{Element, reference};
use proptest::prelude::*;

fn padded<T: Element>(channels: usize) -> usize {
    channels.next_multiple_of(lanes::count::<T>().unwrap())
}

/// Samples of (channels, pixels) with their channels in lanes; NaN in those without a channel.
fn gathered<T: Element>(x: &[T], shape @ [channels, pixels]: [usize; 2]) -> Vec<T> {
    let gather = |x: &[T]| {
        let mut to = nans(padded::<T>(channels) * pixels);
        channels::gather(x, shape, &mut to).unwrap();
        to.to_vec()
    };
    x.chunks(channels * pixels).flat_map(gather).collect()
}

fn scattered<T: Element>(y: &[T], shape @ [channels, pixels]: [usize; 2]) -> Vec<T> {
    let scatter = |y: &[T]| {
        let mut to = vec![T::nan(); channels * pixels];
        channels::scatter(y, shape, &mut to).unwrap();
        to
    };
    y.chunks(padded::<T>(channels) * pixels).flat_map(scatter).collect()
}

/// What `plan` gives for samples of (channels, pixels), in the layers' layout as they are.
fn run<T: Element>(
    plan: &Convolution,
    input: Input,
    x: &[T],
    shape @ [channels, pixels]: [usize; 2],
    [w, bias]: [&[T]; 2],
    relu: bool,
) -> Vec<T> {
    let (mut filters, [in_len, out_len]) = (nans(plan.filters_len()), plan.lens());
    plan.prepare(w, bias, &mut filters).unwrap();
    let samples = x.len() / (channels * pixels);
    let x = match input {
        Input::Planes => x.to_vec(),
        Input::Lanes => gathered(x, shape),
    };
    let mut y = nans(samples * out_len);
    for (x, y) in x.chunks(in_len).zip(y.chunks_mut(out_len)) {
        plan.forward(x, &filters, relu, y).unwrap();
    }
    let [filters, height, width] = plan.output();
    scattered(&y, [filters, height * width])
}

/// Both layouts of the input, with and without ReLU and pooling.
fn check<T: Element>(geometry: &ConvGeometry, seed: u64) {
    let shape @ [_, channels, height, width] = geometry.input();
    let output @ [_, filters, out_h, out_w] = geometry.output();
    let x = integers::<T>(len(shape), seed);
    let w = integers::<T>(len(geometry.weight()), seed + 1);
    let bias = integers::<T>(filters, seed + 2);
    let (relu, planes) = (seed.is_multiple_of(2), [channels, height * width]);
    let mut expected = vec![T::nan(); len(output)];
    reference::conv::forward(geometry, &x, &w, Some(&bias), relu, &mut expected);
    let window = Window::new(2, 2).stride(2);
    for input in [Input::Planes, Input::Lanes] {
        let what = format!("{} {geometry:?} {input:?}", T::NAME);
        let plan =
            Convolution::new::<T>([channels, height, width], input, filters, geometry.window())
                .unwrap();
        let run = |plan: &Convolution| {
            settled(plan.is_winograd(), run(plan, input, &x, planes, [&w, &bias], relu))
        };
        assert!(run(&plan) == expected, "{what}");
        let halved = plan.max_pooled(window).unwrap();
        assert_eq!(halved.is_some(), out_h.is_multiple_of(2) && out_w.is_multiple_of(2));
        if let Some(plan) = halved {
            let mut pooled = vec![T::nan(); len(output) / 4];
            let mut index = vec![0u8; pooled.len()];
            reference::pool::max_pool_forward(output, &window, &expected, &mut pooled, &mut index);
            assert!(run(&plan) == pooled, "{what}, pooled");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution_agrees_with_the_definition(
        (samples, channels, height, width) in (1usize..4, 1usize..20, 1usize..9, 1usize..11),
        filters in 1usize..40,
        size in [1usize..6, 1usize..6],
        stride in [1usize..4, 1usize..4],
        pad in [0usize..4, 0usize..4],
        seed in 0u64..1 << 40,
    ) {
        let window = Window { size, stride, pad };
        if let Ok(geometry) = ConvGeometry::new([samples, channels, height, width], filters, window) {
            check::<f32>(&geometry, seed);
            check::<f64>(&geometry, seed);
        }
    }

    #[test]
    fn winograds_filtering_agrees_with_the_definition(
        (samples, channels, height, width) in (1usize..4, 8usize..27, 1usize..12, 1usize..12),
        filters in 8usize..40,
        pad in [0usize..3, 0usize..3],
        seed in 0u64..1 << 40,
    ) {
        let window = Window { size: [3, 3], stride: [1, 1], pad };
        if let Ok(geometry) = ConvGeometry::new([samples, channels, height, width], filters, window) {
            check::<f32>(&geometry, seed);
            check::<f64>(&geometry, seed);
        }
    }
}

#[test]
fn the_books_layers_agree_with_the_definition() {
    for Shape { channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let geometry = ConvGeometry::new([2, channels, size, size], filters, window).unwrap();
        check::<f32>(&geometry, 2);
        check::<f64>(&geometry, 3);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for Shape { channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let shape = [1, channels, size, size];
        let geometry = ConvGeometry::new(shape, filters, window).unwrap();
        let plan = Convolution::new::<f32>([channels, size, size], Input::Planes, filters, window)
            .unwrap();
        let (x, w) = (random::<f32>(len(shape), 1), random::<f32>(len(geometry.weight()), 2));
        let bias = random::<f32>(filters, 3);
        let planes = [channels, size * size];
        on_any_threads(|| run(&plan, Input::Planes, &x, planes, [&w, &bias], true));
    }
}

#[test]
fn it_is_as_exact_as_samples_in_lanes() {
    let error = |found: &[f32], exact: &[f64]| {
        let scale = exact.iter().fold(0.0, |largest: f64, y| largest.max(y.abs()));
        let off = found.iter().zip(exact).map(|(&found, y)| (f64::from(found) - y).abs());
        off.fold(0.0, f64::max) / scale
    };
    for Shape { name, channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let samples = lanes::count::<f32>().unwrap();
        let shape = [samples, channels, size, size];
        let geometry = ConvGeometry::new(shape, filters, window).unwrap();
        let (x, w) = (random::<f32>(len(shape), 1), random::<f32>(len(geometry.weight()), 2));
        let bias = vec![0.0; filters];
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let mut exact = vec![0.0; len(geometry.output())];
        reference::conv::forward(&geometry, &wide(&x), &wide(&w), None, false, &mut exact);

        let input = [channels, size, size];
        let plan = Convolution::new::<f32>(input, Input::Planes, filters, window).unwrap();
        let found = run(&plan, Input::Planes, &x, [channels, size * size], [&w, &bias], false);

        let plan = lanes::Convolution::new::<f32>(input, filters, window).unwrap();
        let (features, outputs) = (x.len() / samples, exact.len() / samples);
        let (mut x_lanes, mut y) = (nans(x.len()), nans(exact.len()));
        let (mut prepared, mut expected) = (nans(plan.filters_len()), vec![0.0; exact.len()]);
        lanes::gather(&x, features, &mut x_lanes).unwrap();
        plan.forward_filters(&w, &mut prepared).unwrap();
        plan.forward(&x_lanes, &prepared, None, false, &mut y).unwrap();
        lanes::scatter(&y, outputs, &mut expected).unwrap();
        let (found, bound) = (error(&found, &exact), error(&expected, &exact));
        assert!(found <= 1.5 * bound, "{name}: {found:e}, with samples in lanes {bound:e}");
    }
}

#[test]
fn not_a_number_comes_through() {
    let mut x = vec![1.0f32; 32];
    x[5] = f32::NAN;
    let (w, bias) = ([1.0; 18], [0.0]);
    let plan =
        Convolution::new::<f32>([2, 4, 4], Input::Planes, 1, Window::new(3, 3).pad(1)).unwrap();
    let y = run(&plan, Input::Planes, &x, [2, 16], [&w, &bias], true);
    assert!(y[0].is_nan() && y[10].is_nan() && y[11] == 12.0, "{y:?}");
    let plan = plan.max_pooled(Window::new(2, 2).stride(2)).unwrap().unwrap();
    let y = run(&plan, Input::Planes, &x, [2, 16], [&w, &bias], true);
    assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
}

#[test]
fn maxima_alone_are_those_of_max_pooling() {
    for (input, window) in [
        ([3, 6, 4], Window::new(2, 2).stride(2)),
        ([2, 7, 5], Window::new(3, 2).stride(2).pad(1)),
        ([1, 4, 4], Window::new(4, 4)),
    ] {
        let plan = Pooling::new::<f32>(input, window).unwrap();
        let lanes = lanes::count::<f32>().unwrap();
        let mut x = integers::<f32>(len(input) * lanes, 7);
        x[lanes] = f32::NAN;
        let [mut y, mut index, mut alone] = [(); 3].map(|()| nans(len(plan.output()) * lanes));
        plan.max_forward(&x, false, &mut y, &mut index).unwrap();
        plan.max(&x, &mut alone).unwrap();
        assert_same(&alone, &y, &format!("{input:?} {window:?}"));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let window = Window::new(3, 3);
    let plan = Convolution::new::<f32>([1, 5, 5], Input::Planes, 2, window).unwrap();
    let (w, bias, mut filters) = ([0.0; 18], [0.0; 2], vec![0.0; plan.filters_len()]);
    assert!(plan.prepare(&w[1..], &bias, &mut filters).is_err());
    assert!(plan.prepare(&w, &bias[1..], &mut filters).is_err());
    assert!(plan.prepare(&w, &bias, &mut filters[1..]).is_err());
    let (x, mut y) = ([0.0; 25], vec![7.0; plan.lens()[1]]);
    let error = plan.forward(&x[1..], &filters, false, &mut y).unwrap_err();
    assert!(error.to_string().contains("channels::Convolution::forward: x has"), "{error}");
    assert!(plan.forward(&x, &filters[1..], false, &mut y).is_err());
    assert!(plan.forward(&x, &filters, false, &mut y[1..]).is_err());
    assert!(y.iter().all(|&y| y == 7.0), "a call that fails writes nothing");
    assert!(plan.max_pooled(Window::new(2, 2).stride(2)).unwrap().is_none(), "3 × 3 is odd");
    assert!(Convolution::new::<f32>([1, 2, 2], Input::Planes, 1, window).is_err());
    let huge = window.pad(1 << 40).stride(1 << 39);
    assert!(Convolution::new::<f32>([1, 2, 2], Input::Planes, 1, huge).is_err());
    assert!(channels::gather(&[0.0f32; 3], [2, 2], &mut [0.0; 32]).is_err());
}
