//! `cargo bench -p kasoku-benches --bench conv`: the book's convolutions, three passes and the column matrix, against the naive
//! loops, one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::shapes::{CONVOLUTIONS, Convolution};
use kasoku_benches::{bytes_group, criterion, flops_group, random, versus};
use kasoku_kernels::conv::{self, ConvGeometry, Window};
use kasoku_kernels::reference::conv as naive;
use kasoku_kernels::{Element, set_num_threads};

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
        let (mut y_naive, mut dx_naive, mut dw_naive) = (dy.clone(), x.clone(), w.clone());
        let bias = Some(bias.as_slice());
        let title = |pass: &str| format!("conv {} {} {pass}", T::NAME, shape.name);
        let flops = geometry.flops();
        versus(
            flops_group::<T>(criterion, title("forward"), flops),
            || conv::forward(&geometry, &x, &w, bias, true, &mut y),
            || naive::forward(&geometry, &x, &w, bias, true, &mut y_naive),
        );
        versus(
            flops_group::<T>(criterion, title("backward data"), flops),
            || conv::backward_data(&geometry, &dy, &w, &mut dx),
            || naive::backward_data(&geometry, &dy, &w, &mut dx_naive),
        );
        versus(
            flops_group::<T>(criterion, title("backward weight"), flops),
            || conv::backward_weight(&geometry, &x, &dy, &mut dw, None),
            || naive::backward_weight(&geometry, &x, &dy, &mut dw_naive),
        );
    }
}

fn columns<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for shape in &CONVOLUTIONS[..3] {
        let geometry = geometry(shape);
        let (input, window) = (geometry.input(), geometry.window());
        let x = random::<T>(input.iter().product());
        let [_, _, out_h, out_w] = geometry.output();
        let mut col = random::<T>(BATCH * out_h * out_w * geometry.taps());
        let (mut dx, mut dx_naive, mut col_naive) = (x.clone(), x.clone(), col.clone());
        let bytes = 2 * col.len() * size_of::<T>();
        let title = |op: &str| format!("{op} {} {}", T::NAME, shape.name);
        versus(
            bytes_group::<T>(criterion, title("im2col"), bytes),
            || conv::im2col(input, &window, &x, &mut col),
            || naive::im2col(input, &window, &x, &mut col_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("col2im"), bytes),
            || conv::col2im(input, &window, &col, &mut dx),
            || naive::col2im(input, &window, &col, &mut dx_naive),
        );
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = convolutions::<f32>, convolutions::<f64>, columns::<f32>, columns::<f64>
}
criterion_main!(benches);
