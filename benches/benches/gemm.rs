//! `cargo bench -p kasoku-benches --bench gemm`: C = A·B against the naive loop and other crates, one thread.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main};
use kasoku_benches::shapes::PRODUCTS;
use kasoku_benches::{criterion, flops_group, random};
use kasoku_kernels::gemm::{Epilogue, gemm};
use kasoku_kernels::{Element, MatMut, MatRef, reference, set_num_threads};

fn products<T: Element>(criterion: &mut criterion::Criterion) {
    set_num_threads(1);
    for (name, [m, n, k]) in PRODUCTS {
        let title = format!("gemm {} {name} {m}x{n}x{k}", T::NAME);
        let mut group = flops_group::<T>(criterion, title, 2.0 * (m * n * k) as f64);
        let (a, b, mut c) = (random::<T>(m * k), random::<T>(k * n), random::<T>(m * n));
        let a = MatRef::new(&a, [m, k]).expect("m×k");
        let b = MatRef::new(&b, [k, n]).expect("k×n");
        let (one, zero) = (T::one(), T::zero());
        group.bench_function("kasoku", |bencher| {
            bencher.iter(|| {
                let c = MatMut::new(&mut c, [m, n]).expect("m×n");
                gemm(black_box(one), a, b, zero, c)
            })
        });
        if m * n * k <= 1 << 24 {
            group.bench_function("naive loop", |bencher| {
                bencher.iter(|| {
                    let mut c = MatMut::new(&mut c, [m, n]).expect("m×n");
                    reference::gemm::gemm(black_box(one), a, b, zero, &mut c, Epilogue::default())
                })
            });
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = criterion(); targets = products::<f32>, products::<f64> }
criterion_main!(benches);
