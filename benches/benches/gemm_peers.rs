//! `cargo bench -p kasoku-benches --bench gemm_peers -- [squares|tall|transposes|networks] [f32|f64] [threads 1|2]`: C = A·B
//! beside the crates `gemm` and `matrixmultiply` (one thread only) in interleaved rounds, as the table that
//! docs/benchmarks.md holds. A peer's ratio is its time over kasoku's: above 1, kasoku is faster. `gemm` takes AVX-512 with
//! `--features gemm/x86-v4`, and cannot be held to AVX2 then.

use std::env;

use kasoku_benches::paired::{Figures, compare};
use kasoku_benches::random;
use kasoku_benches::shapes::{AFFINE, SQUARES, TALL, affine_products};
use kasoku_kernels::gemm::gemm;
use kasoku_kernels::{Element, MatMut, MatRef, set_num_threads};

const ROUNDS: usize = 30;
const BATCHES: [usize; 4] = [1, 32, 100, 1000];
/// Squares in all four combinations of transposed operands.
const TRANSPOSED: [usize; 5] = [32, 64, 100, 256, 512];

/// A product: a name, which operands are transposed, and m, n, k.
type Shape = (String, [bool; 2], [usize; 3]);

fn shapes() -> Vec<(&'static str, Vec<Shape>)> {
    let plain = [false, false];
    let squares = SQUARES.map(|s| ("square".to_owned(), plain, [s; 3])).to_vec();
    let tall = TALL.map(|size| ("tall".to_owned(), plain, size)).to_vec();
    let combinations = [plain, [true, false], [false, true], [true, true]];
    let transposes = TRANSPOSED
        .iter()
        .flat_map(|&s| combinations.map(|turned| ("transposes".to_owned(), turned, [s; 3])))
        .collect();
    let mut networks = Vec::new();
    for (layer, size) in AFFINE {
        for batch in BATCHES {
            let products = affine_products(size, batch).map(|(pass, turned, product)| {
                (format!("{layer} {pass}, batch {batch}"), turned, product)
            });
            networks.extend(products);
        }
    }
    vec![("squares", squares), ("tall", tall), ("transposes", transposes), ("networks", networks)]
}

/// A type that the peers multiply as well.
trait Peer: Element {
    /// C (row by row) = A·B with matrixmultiply.
    ///
    /// # Safety
    /// - The pointers must be valid for the sizes and strides.
    unsafe fn matrixmultiply(
        size: [usize; 3],
        a: (*const Self, [isize; 2]),
        b: (*const Self, [isize; 2]),
        c: *mut Self,
    );
}

macro_rules! impl_peer {
    ($t:ident, $product:ident) => {
        impl Peer for $t {
            unsafe fn matrixmultiply(
                [m, n, k]: [usize; 3],
                (a, [a_row, a_col]): (*const Self, [isize; 2]),
                (b, [b_row, b_col]): (*const Self, [isize; 2]),
                c: *mut Self,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    matrixmultiply::$product(
                        m, k, n, 1.0, a, a_row, a_col, b, b_row, b_col, 0.0, c, n as isize, 1,
                    )
                }
            }
        }
    };
}
impl_peer!(f32, sgemm);
impl_peer!(f64, dgemm);

fn measure<T: Peer>((name, turned, size): &Shape, threads: usize) {
    let [m, n, k] = *size;
    let strides = |turned: bool, [rows, cols]: [usize; 2]| match turned {
        true => [1, rows as isize],
        false => [cols as isize, 1],
    };
    let (a_strides, b_strides) = (strides(turned[0], [m, k]), strides(turned[1], [k, n]));
    let (a, b) = (random::<T>(m * k), random::<T>(k * n));
    let mut outputs = [0; 3].map(|_| vec![T::zero(); m * n]);
    let [ours, peer, other] = &mut outputs;
    let a_view = MatRef::strided(&a, 0, [m, k], a_strides).expect("m×k");
    let b_view = MatRef::strided(&b, 0, [k, n], b_strides).expect("k×n");
    let mut contenders: Vec<Box<dyn FnMut()>> = vec![
        Box::new(|| {
            let c = MatMut::new(ours, [m, n]).expect("m×n");
            gemm(T::one(), a_view, b_view, T::zero(), c).expect("sizes that fit");
        }),
        Box::new(|| {
            let parallelism = match threads {
                1 => gemm::Parallelism::None,
                _ => gemm::Parallelism::Rayon(threads),
            };
            let ([a_row, a_col], [b_row, b_col]) = (a_strides, b_strides);
            // SAFETY: slices as long as their sizes and strides say, C written by this call alone.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    peer.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a.as_ptr(),
                    a_col,
                    a_row,
                    b.as_ptr(),
                    b_col,
                    b_row,
                    T::zero(),
                    T::one(),
                    false,
                    false,
                    false,
                    parallelism,
                )
            }
        }),
    ];
    if threads == 1 {
        contenders.push(Box::new(|| {
            // SAFETY: as above.
            unsafe {
                let (a, b) = ((a.as_ptr(), a_strides), (b.as_ptr(), b_strides));
                T::matrixmultiply([m, n, k], a, b, other.as_mut_ptr())
            }
        }));
    }
    let (peak, figures) = compare::<T>(&mut contenders, ROUNDS);
    let flops = 2.0 * (m * n * k) as f64;
    let gigaflops = |figures: &Figures| flops / figures.seconds / 1e9;
    let letters = turned.map(|turned| if turned { 'T' } else { 'N' });
    print!(
        "| {name} | {m}×{n}×{k} {}{} | {:.0} | {:.0} % |",
        letters[0],
        letters[1],
        gigaflops(&figures[0]),
        100.0 * gigaflops(&figures[0]) * 1e9 / (peak * threads as f64),
    );
    for peer in &figures[1..] {
        print!(" {:.0} ({:.2}) |", gigaflops(peer), peer.ratio);
    }
    println!();
}

fn table<T: Peer>(wanted: &[String], threads: usize) {
    println!("\n{}, {threads} thread(s): GFLOP/s, and of a peer its time over kasoku's", T::NAME);
    let last = if threads == 1 { " matrixmultiply |" } else { "" };
    println!("| product | m×n×k | kasoku | of the FMA probe | gemm |{last}");
    println!("|---|---|---|---|---|{}", if threads == 1 { "---|" } else { "" });
    set_num_threads(threads);
    for (group, shapes) in shapes() {
        let named = |name: &str| wanted.iter().any(|word| word == name);
        let any = shapes_named(wanted);
        if named(group) || !any {
            shapes.iter().for_each(|shape| measure::<T>(shape, threads));
        }
    }
}

/// Whether any group is asked for by name.
fn shapes_named(wanted: &[String]) -> bool {
    shapes().iter().any(|(group, _)| wanted.iter().any(|word| word == group))
}

fn main() {
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |word: &str, others: &[&str]| {
        let named = |word: &str| wanted.iter().any(|w| w == word);
        named(word) || !others.iter().any(|other| named(other))
    };
    for threads in [1, 2] {
        if chosen(&threads.to_string(), if threads == 1 { &["2"] } else { &["1"] }) {
            if chosen("f32", &["f64"]) {
                table::<f32>(&wanted, threads);
            }
            if chosen("f64", &["f32"]) {
                table::<f64>(&wanted, threads);
            }
        }
    }
}
