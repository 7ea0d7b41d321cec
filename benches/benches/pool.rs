//! `cargo bench -p kasoku-benches --bench pool`: pooling over the book's layers against the naive loops, one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::{bytes_group, criterion, random, versus};
use kasoku_kernels::conv::Window;
use kasoku_kernels::pool::{
    average_pool_backward, average_pool_forward, max_pool_backward, max_pool_forward,
};
use kasoku_kernels::reference::pool as naive;
use kasoku_kernels::{Element, set_num_threads};

/// The inputs of the book's pooling layers, ten images, and a window that overlaps itself.
const SHAPES: [(&str, [usize; 4], Window); 4] = [
    ("simple 2x2", [10, 30, 24, 24], window(2, 2)),
    ("deep 2x2 at 28", [10, 16, 28, 28], window(2, 2)),
    ("deep 2x2 at 8", [10, 64, 8, 8], window(2, 2)),
    ("3x3 stride 1", [10, 16, 28, 28], window(3, 1)),
];

const fn window(size: usize, stride: usize) -> Window {
    Window { size: [size, size], stride: [stride, stride], pad: [0, 0] }
}

fn pooling<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (name, input, window) in &SHAPES {
        let input = *input;
        let [out_h, out_w] = window.output([input[2], input[3]]).expect("a window that fits");
        let x = random::<T>(input.iter().product());
        let mut y = random::<T>(input[0] * input[1] * out_h * out_w);
        let mut index = vec![0u8; y.len()];
        let (mut y_naive, mut index_naive) = (y.clone(), index.clone());
        let (mut dx, mut dx_naive) = (x.clone(), x.clone());
        let bytes = (x.len() + y.len()) * size_of::<T>();
        let title = |op: &str| format!("{op} {} {name}", T::NAME);

        versus(
            bytes_group::<T>(criterion, title("max pool forward"), bytes + index.len()),
            || max_pool_forward(input, window, &x, &mut y, &mut index),
            || naive::max_pool_forward(input, window, &x, &mut y_naive, &mut index_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("max pool backward"), bytes + index.len()),
            || max_pool_backward(input, window, &y, &index, &mut dx),
            || naive::max_pool_backward(input, window, &y, &index, &mut dx_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("average pool forward"), bytes),
            || average_pool_forward(input, window, &x, &mut y),
            || naive::average_pool_forward(input, window, &x, &mut y_naive),
        );
        versus(
            bytes_group::<T>(criterion, title("average pool backward"), bytes),
            || average_pool_backward(input, window, &y, &mut dx),
            || naive::average_pool_backward(input, window, &y, &mut dx_naive),
        );
    }
}

criterion_group! { name = benches; config = criterion(); targets = pooling::<f32>, pooling::<f64> }
criterion_main!(benches);
