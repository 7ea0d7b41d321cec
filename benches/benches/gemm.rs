//! `cargo bench -p kasoku-benches --bench gemm`: C = A·B against the naive loop, one thread.
//! `--bench gemm_peers` takes turns with other crates and prints ratios.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::shapes::{PRODUCTS, SQUARES, TALL};
use kasoku_benches::{criterion, flops_group, random, versus};
use kasoku_kernels::gemm::{Epilogue, gemm};
use kasoku_kernels::{Element, MatMut, MatRef, reference, set_num_threads};

/// Multiply-adds beyond which the naive loop takes too long to be measured.
const NAIVE_WORK: usize = 1 << 27;

fn products<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    let squares = SQUARES.map(|size| ("square", [size; 3]));
    let tall = TALL.map(|size| ("tall", size));
    for (name, [m, n, k]) in PRODUCTS.into_iter().chain(squares).chain(tall) {
        let title = format!("gemm {} {name} {m}x{n}x{k}", T::NAME);
        let mut group = flops_group::<T>(criterion, title, 2.0 * (m * n * k) as f64);
        let (a, b) = (random::<T>(m * k), random::<T>(k * n));
        let (mut c, mut c_naive) = (random::<T>(m * n), random::<T>(m * n));
        let a = MatRef::new(&a, [m, k]).expect("m×k");
        let b = MatRef::new(&b, [k, n]).expect("k×n");
        let (one, zero) = (T::one(), T::zero());
        let mut kasoku = || gemm(one, a, b, zero, MatMut::new(&mut c, [m, n]).expect("m×n"));
        if m * n * k > NAIVE_WORK {
            group.bench_function("kasoku", |bencher| bencher.iter(&mut kasoku));
            group.finish();
            continue;
        }
        versus(group, kasoku, || {
            let mut c = MatMut::new(&mut c_naive, [m, n]).expect("m×n");
            reference::gemm::gemm(one, a, b, zero, &mut c, Epilogue::default())
        });
    }
}

criterion_group! { name = benches; config = criterion(); targets = products::<f32>, products::<f64> }
criterion_main!(benches);
