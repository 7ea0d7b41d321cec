//! What the tests of the operations share.

use kasoku_kernels::lanes::Buffer;
use kasoku_kernels::{Element, set_num_threads};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Around the lanes of every instruction set (1, 2, 4, 8, 16), and long enough for several threads.
pub const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100, 200_003];

/// `len` numbers from −2 to 2, with `seed`'s dice.
pub fn random<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| T::of(rng.random_range(-2.0..2.0))).collect()
}

/// The same from 0.1 to 2.
pub fn random_positive<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| T::of(rng.random_range(0.1..2.0))).collect()
}

/// Small integers, whose sums are exact in any order.
pub fn integers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| T::of(f64::from(rng.random_range(-3i32..=3)))).collect()
}

/// Sums of such integers, integers again where they are by Winograd's filtering, which multiplies them with what rounds on the way.
/// (How exact it is has tests of its own.)
pub fn settled<T: Element>(by_winograd: bool, mut sums: Vec<T>) -> Vec<T> {
    if by_winograd {
        sums.iter_mut().for_each(|sum| *sum = sum.round());
    }
    sums
}

/// NaN everywhere, so that what is not written shows.
pub fn nans<T: Element>(len: usize) -> Buffer<T> {
    let mut buffer = Buffer::new(len);
    buffer.fill(T::nan());
    buffer
}

/// Elements of an array of a shape.
pub fn len<const N: usize>(shape: [usize; N]) -> usize {
    shape.iter().product()
}

/// `len` indices below `below`.
pub fn random_labels(len: usize, below: usize, seed: u64) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(0..below)).collect()
}

/// Everything a float may be.
pub fn specials<T: Element>() -> Vec<T> {
    let tiny = T::min_positive_value();
    let values = [T::zero(), tiny, tiny * T::epsilon(), T::one(), T::max_value(), T::infinity()];
    values.iter().flat_map(|&x| [x, -x]).chain([T::nan()]).collect()
}

/// The same bits, or both NaN.
pub fn same<T: Element>(a: T, b: T) -> bool {
    (a.is_nan() && b.is_nan()) || (a == b && a.is_sign_negative() == b.is_sign_negative())
}

#[track_caller]
pub fn assert_same<T: Element>(found: &[T], expected: &[T], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!(same(a, b), "{what} ({}): element {i} is {a:?}, expected {b:?}", T::NAME);
    }
}

/// Within `epsilons`·ε of `expected`, relative to it; or both NaN, or the same infinity.
#[track_caller]
pub fn assert_close<T: Element>(found: &[T], expected: &[T], epsilons: f64, what: &str) {
    let scale = vec![T::zero(); expected.len()];
    assert_close_at(found, expected, &scale, epsilons, what);
}

/// Within `epsilons`·ε of `expected`, relative to the larger of it and `scale`: the size of what was
/// added up to get it.
#[track_caller]
pub fn assert_close_at<T: Element>(
    found: &[T],
    expected: &[T],
    scale: &[T],
    epsilons: f64,
    what: &str,
) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, ((&a, &b), &scale)) in found.iter().zip(expected).zip(scale).enumerate() {
        let scale = b.abs().max(scale).as_f64();
        let bound = scale * epsilons * T::epsilon().as_f64();
        let near = (a.as_f64() - b.as_f64()).abs() <= bound;
        assert!(
            same(a, b) || a == b || near,
            "{what} ({}): element {i} is {a:?}, expected {b:?}",
            T::NAME
        );
    }
}

/// Runs `kernel` on 1, 2 and 8 threads and returns its result, which must be the same bits each time.
#[track_caller]
pub fn on_any_threads<T: Element>(kernel: impl Fn() -> Vec<T>) -> Vec<T> {
    set_num_threads(1);
    let one = kernel();
    for threads in [2, 8] {
        set_num_threads(threads);
        let bits = |x: &T| x.as_f64().to_bits();
        let many = kernel();
        assert!(
            one.iter().map(bits).eq(many.iter().map(bits)),
            "{threads} threads give other bits"
        );
    }
    set_num_threads(0);
    one
}

/// The gradient of `f` at `x` by central differences.
pub fn numerical_gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let (at, h) = (x[i], 1e-5);
            x[i] = at + h;
            let above = f(&x);
            x[i] = at - h;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * h)
        })
        .collect()
}

/// `analytic` against central differences, whose own error is about 1e-10 here.
#[track_caller]
pub fn assert_gradient(analytic: &[f64], numerical: &[f64], what: &str) {
    assert_eq!(analytic.len(), numerical.len(), "{what}");
    for (i, (a, n)) in analytic.iter().zip(numerical).enumerate() {
        assert!(
            (a - n).abs() <= 1e-7 * a.abs().max(1.0),
            "{what}: element {i} is {a}, numerically {n}"
        );
    }
}

/// Σ weight·value: turns an output into a scalar whose gradient by the output is `weight`.
pub fn dot(weight: &[f64], value: &[f64]) -> f64 {
    weight.iter().zip(value).map(|(w, v)| w * v).sum()
}
