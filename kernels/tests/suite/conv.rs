//! Convolution against its naive twin: any geometry, all three passes, and the column matrix.

use super::common::{integers, len, settled};
use super::shapes::{CONVOLUTIONS, Convolution};
use kasoku_kernels::conv::{self, ConvGeometry, Gradients, Window};
use kasoku_kernels::{Element, Error, lanes, reference, set_num_threads};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

fn nans<T: Element>(len: usize) -> Vec<T> {
    vec![T::nan(); len]
}

fn check_all<T: Element>(geometry: &ConvGeometry, relu: bool, seed: u64) {
    let [_, channels, height, width] = geometry.input();
    let (input, filters) = ([channels, height, width], geometry.weight()[0]);
    let plan = lanes::Convolution::new::<T>(input, filters, geometry.window());
    let settled = |sums| settled(plan.as_ref().is_ok_and(|plan| plan.is_winograd()), sums);
    let x = integers::<T>(len(geometry.input()), seed);
    let w = integers::<T>(len(geometry.weight()), seed + 1);
    let dy = integers::<T>(len(geometry.output()), seed + 2);
    let bias = integers::<T>(geometry.weight()[0], seed + 3);
    let bias = seed.is_multiple_of(2).then_some(bias.as_slice());

    let (mut y, mut expected) = (nans::<T>(dy.len()), nans::<T>(dy.len()));
    conv::forward(geometry, &x, &w, bias, relu, &mut y).unwrap();
    reference::conv::forward(geometry, &x, &w, bias, relu, &mut expected);
    assert!(settled(y) == expected, "{} forward {geometry:?}", T::NAME);

    let (mut dx, mut expected_dx) = (nans::<T>(x.len()), nans::<T>(x.len()));
    conv::backward_data(geometry, &dy, &w, &mut dx).unwrap();
    reference::conv::backward_data(geometry, &dy, &w, &mut expected_dx);
    assert!(settled(dx) == expected_dx, "{} backward data {geometry:?}", T::NAME);

    let (mut dw, mut expected) = (nans::<T>(w.len()), nans::<T>(w.len()));
    let (mut db, mut expected_db) = (nans::<T>(geometry.weight()[0]), nans(geometry.weight()[0]));
    conv::backward_weight(geometry, &x, &dy, &mut dw, Some(&mut db)).unwrap();
    reference::conv::backward_weight(geometry, &x, &dy, &mut expected);
    reference::conv::backward_bias(geometry, &dy, &mut expected_db);
    assert!(settled(dw) == expected, "{} backward weight {geometry:?}", T::NAME);
    assert!(db == expected_db, "{} backward bias {geometry:?}", T::NAME);

    let [mut dx, mut dw, mut db] = [x.len(), w.len(), db.len()].map(nans);
    let gradients = Gradients { dx: &mut dx, dw: &mut dw, db: &mut db };
    conv::backward(geometry, &x, &dy, &w, gradients).unwrap();
    assert!(settled(dx) == expected_dx, "{} backward, dx {geometry:?}", T::NAME);
    assert!(settled(dw) == expected, "{} backward, dw {geometry:?}", T::NAME);
    assert!(db == expected_db, "{} backward, db {geometry:?}", T::NAME);
}

fn check_columns<T: Element>(input: [usize; 4], window: &Window, seed: u64) {
    let [out_h, out_w] = window.output([input[2], input[3]]).unwrap();
    let col_len = input[0] * out_h * out_w * input[1] * window.area();
    let x = integers::<T>(len(input), seed);
    let (mut col, mut expected) = (nans::<T>(col_len), nans::<T>(col_len));
    conv::im2col(input, window, &x, &mut col).unwrap();
    reference::conv::im2col(input, window, &x, &mut expected);
    assert!(col == expected, "{} im2col {input:?} {window:?}", T::NAME);

    let col = integers::<T>(col_len, seed + 1);
    let (mut x, mut expected) = (nans::<T>(x.len()), nans::<T>(x.len()));
    conv::col2im(input, window, &col, &mut x).unwrap();
    reference::conv::col2im(input, window, &col, &mut expected);
    assert!(x == expected, "{} col2im {input:?} {window:?}", T::NAME);
}

/// Any geometry: windows larger than the stride and smaller, larger than the image (in its padding), non-square, of one
/// pixel; batches and channels of 0 and 1.
fn geometry() -> impl Strategy<Value = ConvGeometry> {
    let window = ([1usize..6, 1usize..6], [1usize..4, 1usize..4], [0usize..5, 0usize..5]);
    let input = (0usize..6, 0usize..6, 1usize..13, 1usize..24);
    (input, 0usize..9, window).prop_filter_map(
        "the window must fit",
        |((n, c, h, w), filters, (size, stride, pad))| {
            ConvGeometry::new([n, c, h, w], filters, Window { size, stride, pad }).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(geometry in geometry(), relu: bool, seed in 0u64..1 << 40) {
        check_all::<f32>(&geometry, relu, seed);
        check_all::<f64>(&geometry, relu, seed);
        check_columns::<f32>(geometry.input(), &geometry.window(), seed);
        check_columns::<f64>(geometry.input(), &geometry.window(), seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Batches of up to three lane groups of most instruction sets, channels and filters enough for Winograd's filtering.
    #[test]
    fn in_lanes_agrees_with_the_definition(
        input in (3usize..25, 8usize..13, 1usize..8, 1usize..8),
        filters in 8usize..15,
        pad in [0usize..3, 0usize..3],
        relu: bool,
        seed in 0u64..1 << 40,
    ) {
        let (n, c, h, w) = input;
        let window = Window { size: [3, 3], stride: [1, 1], pad };
        if let Ok(geometry) = ConvGeometry::new([n, c, h, w], filters, window) {
            check_all::<f32>(&geometry, relu, seed);
            check_all::<f64>(&geometry, relu, seed);
        }
    }
}

#[test]
fn the_books_layers_agree_with_the_definition() {
    for Convolution { channels, filters, size, filter, pad, .. } in CONVOLUTIONS {
        let window = Window::new(filter, filter).pad(pad);
        let geometry = ConvGeometry::new([3, channels, size, size], filters, window).unwrap();
        check_all::<f32>(&geometry, true, 2);
    }
    // More images, and more lane groups, than parts of the batch.
    let geometry = ConvGeometry::new([150, 8, 3, 4], 9, Window::new(3, 3).pad(1)).unwrap();
    check_all::<f32>(&geometry, false, 5);
    let geometry = ConvGeometry::new([37, 2, 7, 7], 5, Window::new(3, 3).pad(1)).unwrap();
    check_all::<f64>(&geometry, false, 4);
    // More columns than are added up at once.
    let geometry = ConvGeometry::new([4, 24, 31, 33], 7, Window::new(5, 5).stride(2)).unwrap();
    check_all::<f32>(&geometry, false, 6);
}

#[test]
fn col2im_is_the_adjoint_of_im2col() {
    let (input, window) = ([2, 3, 7, 8], Window::new(3, 2).stride(2).pad(1));
    let [out_h, out_w] = window.output([7, 8]).unwrap();
    let x = integers::<f64>(len(input), 1);
    let col = integers::<f64>(2 * out_h * out_w * 3 * 6, 2);
    let (mut col_of_x, mut x_of_col) = (nans(col.len()), nans(x.len()));
    conv::im2col(input, &window, &x, &mut col_of_x).unwrap();
    conv::col2im(input, &window, &col, &mut x_of_col).unwrap();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(dot(&col_of_x, &col), dot(&x, &x_of_col));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(9);
    let mut random =
        |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
    // The gradient by x of the columns, as a product, and in lanes.
    for channels in [3, 5, 8] {
        let window = Window::new(3, 3).pad(1);
        let geometry = ConvGeometry::new([21, channels, 14, 14], 8, window).unwrap();
        let (x, w) = (random(len(geometry.input())), random(len(geometry.weight())));
        let (dy, bias) = (random(len(geometry.output())), random(8));
        let results = [1, 2, 3, 8, 17].map(|threads| {
            set_num_threads(threads);
            let mut y = nans::<f32>(dy.len());
            let mut dx = nans::<f32>(x.len());
            let (mut dw, mut db) = (nans::<f32>(w.len()), nans::<f32>(8));
            conv::forward(&geometry, &x, &w, Some(&bias), true, &mut y).unwrap();
            conv::backward_data(&geometry, &dy, &w, &mut dx).unwrap();
            conv::backward_weight(&geometry, &x, &dy, &mut dw, Some(&mut db)).unwrap();
            let one_by_one = [dx.clone(), dw.clone(), db.clone()];
            let gradients = Gradients { dx: &mut dx, dw: &mut dw, db: &mut db };
            conv::backward(&geometry, &x, &dy, &w, gradients).unwrap();
            assert_eq!([&dx, &dw, &db], one_by_one.each_ref(), "one by one, and in one pass");
            [y, dx, dw, db].concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        });
        set_num_threads(0);
        assert!(results.iter().all(|bits| *bits == results[0]));
    }
}

/// Filters of one cell: a matrix product of the image as it lies, and its rows and columns that no window sees.
#[test]
fn filters_of_one_cell_agree_with_the_definition() {
    for (channels, filters, edge) in [(1, 1, 1), (3, 7, 5), (13, 5, 7), (2, 30, 14), (9, 17, 3)] {
        for window in [Window::new(1, 1), Window::new(1, 1).stride(2), Window::new(1, 1).pad(1)] {
            let input = [5, channels, edge, edge + 2];
            let geometry = ConvGeometry::new(input, filters, window).unwrap();
            check_all::<f32>(&geometry, true, edge as u64);
            check_all::<f64>(&geometry, true, edge as u64);
        }
    }
}

/// Rows of taps that do not fit one tile, and filters that are left over.
#[test]
fn rows_of_many_taps_agree_with_the_definition() {
    for width in [6, 7, 9, 11, 13] {
        for (filters, height) in [(1, 1), (3, 2), (5, 3)] {
            let window = Window::new(height, width).pad(2);
            let geometry = ConvGeometry::new([3, 1, 9, 40], filters, window).unwrap();
            check_all::<f32>(&geometry, false, width as u64);
            check_all::<f64>(&geometry, false, width as u64);
        }
    }
}

/// Images of one channel: rows of whole registers and of others, filters of few rows and of more, more of them than pass at once.
#[test]
fn images_of_one_channel_agree_with_the_definition() {
    for (edge, filters) in [(9, 4), (21, 17), (28, 30), (35, 33)] {
        for (height, width, pad) in
            [(2, 3, 0), (3, 3, 1), (4, 1, 0), (5, 5, 0), (5, 7, 4), (6, 2, 1)]
        {
            let window = Window::new(height, width).pad(pad);
            let geometry = ConvGeometry::new([2, 1, edge + 3, edge], filters, window).unwrap();
            check_all::<f32>(&geometry, false, edge as u64);
            check_all::<f64>(&geometry, false, edge as u64);
        }
    }
}

/// Lanes and rows beyond dy meet no weight.
#[test]
fn an_infinite_weight_reaches_the_gradients_that_it_is_a_factor_of_and_no_other() {
    let geometry = ConvGeometry::new([1, 1, 8, 23], 5, Window::new(3, 3)).unwrap();
    let (dy, mut w) = (vec![1.0f32; len(geometry.output())], vec![1.0; 5 * 9]);
    w[2] = f32::INFINITY;
    let mut dx = vec![0.0; 8 * 23];
    conv::backward_data(&geometry, &dy, &w, &mut dx).unwrap();
    for (row, dx) in dx.chunks_exact(23).enumerate() {
        for (column, dx) in dx.iter().enumerate() {
            assert_eq!(dx.is_infinite(), row < 6 && column >= 2, "{row} {column} {dx}");
            assert!(!dx.is_nan());
        }
    }
}

#[test]
fn infinity_on_the_image_reaches_the_gradients_of_taps_over_it_and_no_other() {
    let geometry = ConvGeometry::new([1, 1, 6, 21], 5, Window::new(3, 3)).unwrap();
    let mut x = vec![1.0f32; 6 * 21];
    x.iter_mut().skip(20).step_by(21).for_each(|x| *x = f32::INFINITY);
    let (dy, mut dw) = (vec![1.0; len(geometry.output())], vec![0.0; 5 * 9]);
    conv::backward_weight(&geometry, &x, &dy, &mut dw, None).unwrap();
    for row in dw.chunks_exact(3) {
        assert_eq!(row, [4.0 * 19.0, 4.0 * 19.0, f32::INFINITY]);
    }
}

#[test]
fn nan_on_the_image_reaches_every_window_over_it_and_no_other() {
    let geometry = ConvGeometry::new([1, 1, 5, 5], 1, Window::new(3, 3).pad(1)).unwrap();
    let mut x = [1.0f32; 25];
    x[0] = f32::NAN;
    let mut y = [0.0; 25];
    conv::forward(&geometry, &x, &[1.0; 9], None, false, &mut y).unwrap();
    let nan: Vec<usize> = (0..25).filter(|&at| y[at].is_nan()).collect();
    assert_eq!(nan, [0, 1, 5, 6]);
}

#[test]
fn slices_that_do_not_fit_are_errors() {
    let geometry = ConvGeometry::new([1, 1, 5, 5], 2, Window::new(3, 3)).unwrap();
    let (x, w, mut y) = ([0.0f32; 25], [0.0f32; 18], [7.0f32; 18]);
    let error = conv::forward(&geometry, &x[1..], &w, None, false, &mut y).unwrap_err();
    assert_eq!(error.to_string(), "conv::forward: x has 24 elements, expected 25");
    let error = conv::forward(&geometry, &x, &w, Some(&[0.0; 3]), false, &mut y).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "bias", expected: 2, found: 3, .. }));
    assert!(conv::backward_data(&geometry, &y[..17], &w, &mut [0.0; 25]).is_err());
    assert!(conv::backward_weight(&geometry, &x, &y.clone(), &mut [0.0; 17], None).is_err());
    let (mut dx, mut dw, mut db) = ([7.0; 25], [7.0; 18], [7.0; 3]);
    let gradients = Gradients { dx: &mut dx, dw: &mut dw, db: &mut db };
    let error = conv::backward(&geometry, &x, &y, &w, gradients).unwrap_err();
    assert_eq!(error.to_string(), "conv::backward: db has 3 elements, expected 2");
    assert_eq!([&dx[..], &dw[..], &db[..]].concat(), [7.0; 46]);
    assert!(conv::im2col([1, 1, 5, 5], &Window::new(6, 6), &x, &mut y).is_err());
    assert_eq!(y, [7.0; 18], "a call that fails writes nothing");
}
