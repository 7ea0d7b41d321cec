//! `cargo bench -p kasoku-benches --bench conv`: the book's convolutions, three passes and the column matrix, against the naive
//! loops, one thread.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::shapes::{CONVOLUTIONS, Convolution};
use kasoku_benches::{bytes_group, criterion, flops_group, random};
use kasoku_kernels::conv::{self, ConvGeometry, Window};
use kasoku_kernels::{Element, reference, set_num_threads};

/// Images: enough that a pass takes milliseconds, few enough for the naive loop.
const BATCH: usize = 10;

fn geometry(shape: &Convolution) -> ConvGeometry {
    let &Convolution { channels, filters, size, filter, pad, .. } = shape;
    ConvGeometry::new([BATCH, channels, size, size], filters, Window::new(filter, filter).pad(pad))
        .expect("a geometry of the book")
}

fn convolutions<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for shape in &CONVOLUTIONS {
        let geometry = geometry(shape);
        let len = |shape: [usize; 4]| shape.iter().product();
        let (x, w) = (random::<T>(len(geometry.input())), random::<T>(len(geometry.weight())));
        let (dy, bias) = (random::<T>(len(geometry.output())), random::<T>(shape.filters));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let title = |pass: &str| format!("conv {} {} {pass}", T::NAME, shape.name);

        let mut group = flops_group::<T>(criterion, title("forward"), geometry.flops());
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| conv::forward(&geometry, black_box(&x), &w, Some(&bias), true, &mut y))
        });
        group.bench_function("naive loop", |bencher| {
            bencher.iter(|| {
                reference::conv::forward(&geometry, black_box(&x), &w, Some(&bias), true, &mut y)
            })
        });
        group.finish();

        let mut group = flops_group::<T>(criterion, title("backward data"), geometry.flops());
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| conv::backward_data(&geometry, black_box(&dy), &w, &mut dx))
        });
        group.bench_function("naive loop", |bencher| {
            bencher.iter(|| reference::conv::backward_data(&geometry, black_box(&dy), &w, &mut dx))
        });
        group.finish();

        let mut group = flops_group::<T>(criterion, title("backward weight"), geometry.flops());
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| conv::backward_weight(&geometry, black_box(&x), &dy, &mut dw, None))
        });
        group.bench_function("naive loop", |bencher| {
            bencher
                .iter(|| reference::conv::backward_weight(&geometry, black_box(&x), &dy, &mut dw))
        });
        group.finish();
    }
}

fn columns<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for shape in &CONVOLUTIONS[..3] {
        let geometry = geometry(shape);
        let (input, window) = (geometry.input(), geometry.window());
        let mut x = random::<T>(input.iter().product());
        let [_, _, out_h, out_w] = geometry.output();
        let mut col = random::<T>(BATCH * out_h * out_w * geometry.taps());
        let bytes = 2 * col.len() * size_of::<T>();
        let title = |op: &str| format!("{op} {} {}", T::NAME, shape.name);

        let mut group = bytes_group::<T>(criterion, title("im2col"), bytes);
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| conv::im2col(input, &window, black_box(&x), &mut col))
        });
        group.bench_function("naive loop", |bencher| {
            bencher.iter(|| reference::conv::im2col(input, &window, black_box(&x), &mut col))
        });
        group.finish();

        let mut group = bytes_group::<T>(criterion, title("col2im"), bytes);
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| conv::col2im(input, &window, black_box(&col), &mut x))
        });
        group.bench_function("naive loop", |bencher| {
            bencher.iter(|| reference::conv::col2im(input, &window, black_box(&col), &mut x))
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = convolutions::<f32>, convolutions::<f64>, columns::<f32>, columns::<f64>
}
criterion_main!(benches);
