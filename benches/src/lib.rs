//! What the benchmarks share: named shapes, data, and the yardsticks beside every figure.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use kasoku_kernels::{Element, probe};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub mod paired;

#[path = "../../kernels/tests/suite/shapes.rs"]
pub mod shapes;

/// Short runs: the suite has many shapes, and its figures are read side by side.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args()
}

/// Numbers between −1 and 1.
pub fn random<T: Element>(len: usize) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    (0..len).map(|_| T::of(rng.random_range(-1.0..1.0))).collect()
}

/// A group whose figures are floating-point operations a second (criterion calls them elements), the FMA peak of one core
/// first.
pub fn flops_group<'c, T: Element>(
    criterion: &'c mut Criterion,
    name: String,
    flops: f64,
) -> BenchmarkGroup<'c, WallTime> {
    const ROUNDS: usize = 10_000;
    let mut group = criterion.benchmark_group(name);
    let probe_flops = probe::multiply_adds::<T>(ROUNDS).expect("an instruction set that is there");
    group.throughput(Throughput::Elements(probe_flops as u64));
    group.bench_function("FMA peak of one core", |bencher| {
        bencher.iter(|| black_box(probe::multiply_adds::<T>(ROUNDS)))
    });
    group.throughput(Throughput::Elements(flops as u64));
    group
}

/// A group whose figures are bytes a second, the bandwidth of a plain copy first.
pub fn bytes_group<'c, T: Element>(
    criterion: &'c mut Criterion,
    name: String,
    bytes: usize,
) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    let (from, mut to) =
        (random::<T>(bytes / 2 / size_of::<T>()), random::<T>(bytes / 2 / size_of::<T>()));
    group.bench_function("copy of as many bytes", |bencher| {
        bencher.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)))
    });
    group
}

/// Benches a kernel and its naive loop in `group`.
pub fn versus<A, B>(
    mut group: BenchmarkGroup<'_, WallTime>,
    mut kasoku: impl FnMut() -> A,
    mut naive: impl FnMut() -> B,
) {
    group.bench_function("kasoku", |bencher| bencher.iter(&mut kasoku));
    group.bench_function("naive loop", |bencher| bencher.iter(&mut naive));
    group.finish();
}
