//! `cargo bench -p kasoku-benches --bench gemm`: C = A·B against the naive loop, one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use kasoku_benches::shapes::PRODUCTS;
use kasoku_benches::{criterion, flops_group, random, versus};
use kasoku_kernels::gemm::{Epilogue, gemm};
use kasoku_kernels::{Element, MatMut, MatRef, reference, set_num_threads};

fn products<T: Element>(criterion: &mut Criterion) {
    set_num_threads(1);
    for (name, [m, n, k]) in PRODUCTS {
        let title = format!("gemm {} {name} {m}x{n}x{k}", T::NAME);
        let group = flops_group::<T>(criterion, title, 2.0 * (m * n * k) as f64);
        let (a, b) = (random::<T>(m * k), random::<T>(k * n));
        let (mut c, mut c_naive) = (random::<T>(m * n), random::<T>(m * n));
        let a = MatRef::new(&a, [m, k]).expect("m×k");
        let b = MatRef::new(&b, [k, n]).expect("k×n");
        let (one, zero) = (T::one(), T::zero());
        versus(
            group,
            || gemm(one, a, b, zero, MatMut::new(&mut c, [m, n]).expect("m×n")),
            || {
                let mut c = MatMut::new(&mut c_naive, [m, n]).expect("m×n");
                reference::gemm::gemm(one, a, b, zero, &mut c, Epilogue::default())
            },
        );
    }
}

criterion_group! { name = benches; config = criterion(); targets = products::<f32>, products::<f64> }
criterion_main!(benches);
