//! GEMM against its naive twin: every layout, scale, epilogue and edge.

use super::common;
use super::shapes::PRODUCTS;
use kasoku_kernels::gemm::{
    Bias, Epilogue, PackedA, PackedB, gemm, gemm_packed_a, gemm_packed_b, gemm_with,
};
use kasoku_kernels::{Element, Error, MatMut, MatRef, reference, set_num_threads};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// How a matrix lies in its slice.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Rows,
    Columns,
    /// Rows from the last to the first, columns likewise.
    Reversed,
    /// Every third element, with gaps between rows.
    Spread,
}

const LAYOUTS: [Layout; 4] = [Layout::Rows, Layout::Columns, Layout::Reversed, Layout::Spread];

impl Layout {
    /// Slice length, offset and strides for a shape.
    fn of(self, [rows, cols]: [usize; 2]) -> (usize, usize, [isize; 2]) {
        let len = rows * cols;
        match self {
            Layout::Rows => (len, 0, [cols as isize, 1]),
            Layout::Columns => (len, 0, [1, rows as isize]),
            Layout::Reversed => (len, len.saturating_sub(1), [-(cols as isize), -1]),
            Layout::Spread => (rows * (3 * cols + 5), 0, [3 * cols as isize + 5, 3]),
        }
    }
}

struct Matrix<T> {
    data: Vec<T>,
    shape: [usize; 2],
    layout: Layout,
}

impl<T: Element> Matrix<T> {
    fn new(shape: [usize; 2], layout: Layout, mut value: impl FnMut() -> T) -> Self {
        let data = (0..layout.of(shape).0).map(|_| value()).collect();
        Self { data, shape, layout }
    }

    fn view(&self) -> MatRef<'_, T> {
        let (_, offset, strides) = self.layout.of(self.shape);
        MatRef::strided(&self.data, offset, self.shape, strides).unwrap()
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        let (_, offset, strides) = self.layout.of(self.shape);
        MatMut::strided(&mut self.data, offset, self.shape, strides).unwrap()
    }

    fn to_rows(&self) -> Vec<T> {
        let [rows, cols] = self.shape;
        let view = self.view();
        (0..rows * cols).map(|at| view.get(at / cols, at % cols)).collect()
    }
}

#[derive(Debug, Clone)]
struct Case {
    size: [usize; 3],
    layouts: [Layout; 3],
    scale: [f64; 2],
    bias: usize,
    relu: bool,
    seed: u64,
}

fn random<T: Element>(rng: &mut Xoshiro256PlusPlus) -> T {
    T::of(rng.random_range(-1.0..1.0))
}

/// Whether two matrices hold the same numbers, and the same bits of NaN between the rows of a spread layout.
///
/// A zero may have either sign: α < 0 or = 0 times a sum of zero is −0, added up from two parts of the depth it is +0.
fn same<T: Element>(a: &Matrix<T>, b: &Matrix<T>) -> bool {
    let pairs = a.data.iter().zip(&b.data);
    pairs.map(|(a, b)| (a.as_f64(), b.as_f64())).all(|(a, b)| a == b || a.to_bits() == b.to_bits())
}

/// [`same`], and zeros have the same sign.
fn same_bits<T: Element>(a: &Matrix<T>, b: &Matrix<T>) -> bool {
    let bits = |x: &T| x.as_f64().to_bits();
    a.data.iter().map(bits).eq(b.data.iter().map(bits))
}

/// Runs ours and the twin on small integers, whose sums are exact in any order.
fn check_exact<T: Element>(case: &Case) {
    check_packed(case, same::<T>);
}

/// [`check_exact`]; `agree` compares what packed operands give.
fn check_packed<T: Element>(case: &Case, agree: fn(&Matrix<T>, &Matrix<T>) -> bool) {
    let [m, n, k] = case.size;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(case.seed);
    let mut integer = || T::of(f64::from(rng.random_range(-3i32..=3)));
    let a = Matrix::new([m, k], case.layouts[0], &mut integer);
    let b = Matrix::new([k, n], case.layouts[1], &mut integer);
    let bias: Vec<T> = (0..m.max(n)).map(|_| integer()).collect();
    let mut c = Matrix::new([m, n], case.layouts[2], &mut integer);
    let [alpha, beta] = case.scale.map(T::of);
    if beta == T::zero() {
        c.data.fill(T::nan()); // must not be read
    }
    let before = c.data.clone();
    let mut expected = Matrix { data: before.clone(), ..c };
    let bias = match case.bias {
        0 => Bias::None,
        1 => Bias::PerRow(&bias[..m]),
        _ => Bias::PerColumn(&bias[..n]),
    };
    let epilogue = Epilogue { bias, relu: case.relu };
    reference::gemm::gemm(alpha, a.view(), b.view(), beta, &mut expected.view_mut(), epilogue);
    gemm_with(alpha, a.view(), b.view(), beta, c.view_mut(), epilogue).unwrap();
    assert!(
        same(&c, &expected),
        "{} {case:?}\n{:?}\n{:?}",
        T::NAME,
        c.to_rows(),
        expected.to_rows()
    );
    // Packed operands give the very same numbers.
    let (packed_a, packed_b) = (PackedA::new(a.view()).unwrap(), PackedB::new(b.view()).unwrap());
    let mut with_a = Matrix { data: before.clone(), ..c };
    gemm_packed_a(alpha, &packed_a, b.view(), beta, with_a.view_mut(), epilogue).unwrap();
    assert!(agree(&with_a, &c), "packed A: {} {case:?}", T::NAME);
    let mut with_b = Matrix { data: before, ..c };
    gemm_packed_b(alpha, a.view(), &packed_b, beta, with_b.view_mut(), epilogue).unwrap();
    assert!(agree(&with_b, &c), "packed B: {} {case:?}", T::NAME);
}

fn layout() -> impl Strategy<Value = Layout> {
    prop::sample::select(LAYOUTS.to_vec())
}

/// Sizes around the tiles of every instruction set (4×3, 6×16, 6×8, 12×32, 12×16) and beyond.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..36, 1 => 36usize..110]
}

/// Depths around those from which dot products are worth their sums over lanes, lines are asked for ahead, and depth is cut in two
/// blocks (f64 and f32).
fn depth() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..20, 2 => 20usize..130, 1 => 250usize..262, 1 => 668usize..676, 1 => 956usize..964]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(
        (m, n, k) in (size(), size(), depth()),
        layouts in [layout(), layout(), layout()],
        alpha in prop::sample::select(vec![1.0, 0.0, -2.0, 0.5]),
        beta in prop::sample::select(vec![0.0, 1.0, 2.0, -0.5]),
        bias in 0usize..3,
        relu: bool,
        seed: u64,
    ) {
        let case = Case { size: [m, n, k], layouts, scale: [alpha, beta], bias, relu, seed };
        check_exact::<f32>(&case);
        check_exact::<f64>(&case);
    }
}

#[test]
fn zeros_have_the_same_sign_packed_or_not() {
    // α = 0: each block of the depth adds a zero of its sum's sign to −0.
    let case = Case {
        size: [26, 1, 514],
        layouts: [Layout::Rows, Layout::Spread, Layout::Reversed],
        scale: [0.0, -0.5],
        bias: 0,
        relu: false,
        seed: 11245802456464768734,
    };
    check_packed::<f32>(&case, same_bits);
    check_packed::<f64>(&case, same_bits);
}

#[test]
fn a_zero_may_have_either_sign() {
    // A column times a matrix adds up parts of the depth before it scales, packed operands scale each block of it.
    let layouts = [Layout::Columns, Layout::Rows, Layout::Rows];
    let scale = [0.0, 0.0];
    let seed = 8527677019466582754;
    let case = Case { size: [3, 1, 672], layouts, scale, bias: 0, relu: false, seed };
    check_exact::<f32>(&case);
    check_exact::<f64>(&case);
}

#[test]
fn large_products_agree_with_the_definition() {
    // More than one block of rows, of depth, and (for 5000 columns in f64) of columns.
    for (size, layouts) in [
        ([300, 70, 600], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([70, 300, 300], [Layout::Columns, Layout::Reversed, Layout::Columns]),
        ([20, 5000, 257], [Layout::Rows, Layout::Columns, Layout::Rows]),
        // Rows of B that run backwards cannot be loaded in registers where they are.
        ([5, 40, 30], [Layout::Rows, Layout::Reversed, Layout::Rows]),
        // B in place and packed on either side of the sizes that decide it, and of the rows.
        ([47, 300, 120], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([48, 300, 120], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([48, 50, 600], [Layout::Rows, Layout::Rows, Layout::Rows]),
        // Columns of A so far apart that they share a few sets of the cache.
        ([512, 47, 33], [Layout::Columns, Layout::Rows, Layout::Rows]),
        ([512, 48, 33], [Layout::Columns, Layout::Rows, Layout::Rows]),
        ([1024, 300, 40], [Layout::Columns, Layout::Rows, Layout::Columns]),
        // Rows of C whole pages apart.
        ([100, 1024, 30], [Layout::Rows, Layout::Columns, Layout::Rows]),
        // A few rows or columns of C, or the last ones, as dot products.
        ([4, 300, 70], [Layout::Rows, Layout::Columns, Layout::Rows]),
        ([300, 3, 70], [Layout::Rows, Layout::Columns, Layout::Rows]),
        ([300, 4, 70], [Layout::Rows, Layout::Rows, Layout::Columns]),
        ([3, 0, 70], [Layout::Rows, Layout::Columns, Layout::Rows]),
        ([0, 1, 70], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([70, 36, 50], [Layout::Rows, Layout::Rows, Layout::Rows]),
        // Rows of A, fewer than B has columns, packed in its place.
        ([32, 100, 50], [Layout::Rows, Layout::Columns, Layout::Rows]),
        ([8, 100, 700], [Layout::Rows, Layout::Columns, Layout::Spread]),
        // Many rows that pass through L1 once.
        ([5000, 30, 25], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([1, 1000, 784], [Layout::Rows, Layout::Rows, Layout::Rows]),
        ([1000, 1, 784], [Layout::Rows, Layout::Rows, Layout::Rows]),
    ] {
        let case = Case { size, layouts, scale: [1.0, 1.0], bias: 2, relu: true, seed: 7 };
        check_exact::<f32>(&case);
        check_exact::<f64>(&case);
    }
}

/// Rows of C in pieces, of the same B, against all of them at once.
fn check_rows<T: Element>([n, k]: [usize; 2], layouts: [Layout; 2]) {
    const ROWS: usize = 116;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let a = Matrix::<T>::new([ROWS, k], layouts[0], || random(&mut rng));
    let b = Matrix::<T>::new([k, n], layouts[1], || random(&mut rng));
    let mut whole = Matrix::<T>::new([ROWS, n], Layout::Rows, T::nan);
    gemm(T::one(), a.view(), b.view(), T::zero(), whole.view_mut()).unwrap();
    let (_, offset, strides) = a.layout.of(a.shape);
    for piece in [16, 17, 25, 50, 58] {
        let mut c = Matrix::<T>::new([ROWS, n], Layout::Rows, T::nan);
        for (number, c) in c.data.chunks_mut(piece * n).enumerate() {
            let rows = c.len() / n;
            if rows < 16 {
                continue;
            }
            let first = (offset as isize + (number * piece) as isize * strides[0]) as usize;
            let a = MatRef::strided(&a.data, first, [rows, k], strides).unwrap();
            gemm(T::one(), a, b.view(), T::zero(), MatMut::new(c, [rows, n]).unwrap()).unwrap();
            let expected = &whole.data[number * piece * n..][..rows * n];
            let what = format!("{layouts:?}, {n} columns, {k} deep, {rows} rows, piece {number}");
            common::assert_same(c, expected, &what);
        }
    }
}

#[test]
fn a_row_is_the_same_in_every_product_of_16_rows_and_more() {
    for n in [2, 3, 4, 7, 10, 18, 36, 50, 100, 300] {
        for k in [3, 18, 40, 70, 100, 300, 700] {
            for a in [Layout::Rows, Layout::Columns] {
                for b in [Layout::Rows, Layout::Columns, Layout::Spread] {
                    check_rows::<f32>([n, k], [a, b]);
                    check_rows::<f64>([n, k], [a, b]);
                }
            }
        }
    }
}

/// The dot product as if computed in twice the precision of f64 (Ogita, Rump and Oishi 2005, Dot2), and Σ|xᵢ·yᵢ|.
fn compensated_dot(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut sum, mut error, mut magnitude) = (0.0f64, 0.0f64, 0.0f64);
    for (x, y) in pairs {
        let product = x * y;
        let next = sum + product;
        let rounded = next - sum;
        error += x.mul_add(y, -product) + ((sum - (next - rounded)) + (product - rounded));
        sum = next;
        magnitude += product.abs();
    }
    (sum + error, magnitude)
}

/// |C − Ĉ| ≤ λ·√k·u·|A||B| element by element: the probabilistic bound of Higham and Mary 2019, which with λ = 6 fails
/// once in 10⁷ elements. The sure bound, k·u, would not notice a product that was left out.
fn check_error_bound<T: Element>(size: [usize; 3]) {
    let [m, n, k] = size;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    let a = Matrix::<T>::new([m, k], Layout::Rows, || random(&mut rng));
    let b = Matrix::<T>::new([k, n], Layout::Rows, || random(&mut rng));
    let mut c = Matrix::<T>::new([m, n], Layout::Rows, T::nan);
    gemm(T::one(), a.view(), b.view(), T::zero(), c.view_mut()).unwrap();
    let unit = T::epsilon().as_f64() / 2.0;
    let gamma = 6.0 * ((k + 1) as f64).sqrt() * unit;
    // A thousand elements of a large product are enough, and the oracle is slow.
    for i in (0..m).step_by(m.div_ceil(32)) {
        for j in (0..n).step_by(n.div_ceil(32)) {
            let factors = |p| (a.view().get(i, p).as_f64(), b.view().get(p, j).as_f64());
            let (sum, magnitude) = compensated_dot((0..k).map(factors));
            let error = (c.view().get(i, j).as_f64() - sum).abs();
            let bound = gamma * magnitude;
            assert!(error <= bound, "{} {size:?} ({i}, {j}): {error} > {bound}", T::NAME);
            let largest = (0..k).map(factors).fold(0.0f64, |max, (x, y)| max.max((x * y).abs()));
            assert!(bound < largest, "the bound would not notice a missing product");
        }
    }
}

#[test]
fn rounding_stays_within_the_bound() {
    for size in PRODUCTS.map(|(_, size)| size).into_iter().chain([[17, 33, 9], [13, 7, 20000]]) {
        check_error_bound::<f32>(size);
        check_error_bound::<f64>(size);
    }
}

#[test]
fn nan_and_infinity_propagate() {
    for k in [1, 40, 300] {
        let mut a = Matrix::<f32>::new([20, k], Layout::Rows, || 1.0);
        let mut b = Matrix::<f32>::new([k, 40], Layout::Rows, || 1.0);
        a.data[3 * k] = f32::NAN; // row 3
        a.data[7 * k] = f32::INFINITY; // row 7
        b.data[5] = f32::NEG_INFINITY; // column 5
        b.data[9] = 0.0; // column 9: infinity · 0 is NaN in row 7
        let mut c = Matrix::<f32>::new([20, 40], Layout::Rows, || 0.0);
        gemm(1.0, a.view(), b.view(), 0.0, c.view_mut()).unwrap();
        let c = c.view();
        assert!((0..40).all(|j| c.get(3, j).is_nan()));
        assert_eq!(c.get(7, 0), f32::INFINITY);
        assert!(c.get(7, 9).is_nan());
        assert_eq!(c.get(0, 5), f32::NEG_INFINITY);
        assert_eq!(c.get(0, 0), k as f32);
    }
}

/// Wherever it lies: registers are read that reach beyond a row, or begin among what has been added up already.
#[test]
fn an_infinity_stays_in_its_column() {
    for (columns, k) in [(1, 19), (3, 29), (10, 5), (10, 19), (13, 21)] {
        for at in 0..columns * k {
            let a = Matrix::<f32>::new([9, k], Layout::Rows, || 1.0);
            let mut b = Matrix::<f32>::new([k, columns], Layout::Rows, || 1.0);
            b.data[at] = f32::INFINITY;
            let mut c = Matrix::<f32>::new([9, columns], Layout::Rows, || 0.0);
            gemm(1.0, a.view(), b.view(), 0.0, c.view_mut()).unwrap();
            for (cell, &sum) in c.data.iter().enumerate() {
                let expected =
                    if cell % columns == at % columns { f32::INFINITY } else { k as f32 };
                assert_eq!(
                    sum, expected,
                    "{columns} columns, {k} deep, infinity at {at}, cell {cell}"
                );
            }
        }
    }
}

#[test]
fn relu_passes_nan() {
    let (a, b) = ([f32::NAN, -1.0], [1.0f32]);
    let mut c = [5.0f32; 2];
    let relu = Epilogue { relu: true, ..Epilogue::default() };
    let (a, b) = (MatRef::new(&a, [2, 1]).unwrap(), MatRef::new(&b, [1, 1]).unwrap());
    gemm_with(1.0, a, b, 0.0, MatMut::new(&mut c, [2, 1]).unwrap(), relu).unwrap();
    assert!(c[0].is_nan());
    assert_eq!(c[1], 0.0);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    for (size, layout) in [
        ([100, 100, 784], Layout::Columns),
        ([150, 333, 520], Layout::Columns),
        ([1000, 31, 100], Layout::Columns),
        ([1, 1500, 800], Layout::Columns),
        ([1, 1500, 800], Layout::Rows),
        ([1, 100, 4320], Layout::Rows),
        ([13, 9, 20000], Layout::Columns),
    ] {
        let [m, n, k] = size;
        let a = Matrix::<f32>::new([m, k], Layout::Rows, || random(&mut rng));
        let b = Matrix::<f32>::new([k, n], layout, || random(&mut rng));
        let results = [1, 2, 3, 4, 5, 6, 7, 8].map(|threads| {
            set_num_threads(threads);
            let mut c = Matrix::<f32>::new([m, n], Layout::Rows, || 0.0);
            gemm(1.0, a.view(), b.view(), 0.0, c.view_mut()).unwrap();
            c.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        });
        set_num_threads(0);
        assert!(results.iter().all(|bits| *bits == results[0]), "{size:?}");
    }
}

/// Blocks of the depth are tasks then (split-k), which must not be seen.
fn check_tall<T: Element>(case: &Case) {
    let [m, n, k] = case.size;
    let [alpha, beta] = case.scale.map(T::of);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(case.seed);
    let a = Matrix::<T>::new([m, k], case.layouts[0], || random(&mut rng));
    let b = Matrix::<T>::new([k, n], case.layouts[1], || random(&mut rng));
    let c = Matrix::<T>::new([m, n], case.layouts[2], || random(&mut rng));
    let bias: Vec<T> = (0..n).map(|_| random(&mut rng)).collect();
    let epilogue = Epilogue { bias: Bias::PerColumn(&bias), relu: case.relu };
    let (packed_a, packed_b) = (PackedA::new(a.view()).unwrap(), PackedB::new(b.view()).unwrap());
    let on_any_threads = |product: &dyn Fn(MatMut<'_, T>)| {
        common::on_any_threads(|| {
            let mut c = Matrix { data: c.data.clone(), ..c };
            product(c.view_mut());
            c.data
        })
    };
    on_any_threads(&|c| gemm_with(alpha, a.view(), b.view(), beta, c, epilogue).unwrap());
    on_any_threads(&|c| gemm_packed_a(alpha, &packed_a, b.view(), beta, c, epilogue).unwrap());
    on_any_threads(&|c| gemm_packed_b(alpha, a.view(), &packed_b, beta, c, epilogue).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn tall_products_give_the_same_bits_on_any_number_of_threads(
        (m, n, k) in (1usize..40, 1usize..40, 1500usize..9000),
        layouts in [layout(), layout(), layout()],
        alpha in prop::sample::select(vec![1.0, -2.0]),
        beta in prop::sample::select(vec![0.0, 1.0, -0.5]),
        relu: bool,
        seed: u64,
    ) {
        let case = Case { size: [m, n, k], layouts, scale: [alpha, beta], bias: 2, relu, seed };
        check_exact::<f32>(&case);
        check_exact::<f64>(&case);
        check_tall::<f32>(&case);
        check_tall::<f64>(&case);
    }
}

/// Few columns may be computed with lanes along the rows, if there are enough of those: the sums must be the same.
#[test]
fn rows_do_not_depend_on_how_many_there_are() {
    fn check<T: Element>() {
        for [n, k] in [[10, 100], [3, 20], [50, 700], [17, 64]] {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
            let a: Vec<T> = (0..k * 1024).map(|_| random(&mut rng)).collect();
            let b: Vec<T> = (0..k * n).map(|_| random(&mut rng)).collect();
            let b = MatRef::new(&b, [k, n]).unwrap();
            let product = |m: usize| {
                let mut c = vec![T::zero(); m * n];
                let a = MatRef::strided(&a, 0, [m, k], [1, 1024]).unwrap();
                let c_view = MatMut::new(&mut c, [m, n]).unwrap();
                gemm(T::one(), a, b, T::zero(), c_view).unwrap();
                c
            };
            let all = product(1024);
            for m in [2, 9, 40, 101, 500] {
                assert!(product(m) == all[..m * n], "{m}×{n}×{k}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let (a, b) = ([0f32; 6], [0f32; 6]);
    let mut c = [0f32; 4];
    let (a, b) = (MatRef::new(&a, [2, 3]).unwrap(), MatRef::new(&b, [2, 3]).unwrap());
    let error = gemm(1.0, a, b, 0.0, MatMut::new(&mut c, [2, 2]).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "gemm: A is 2×3 and B 2×3, C is 2×2: expected m×k, k×n and m×n");
    let bias = Epilogue { bias: Bias::PerColumn(&[0.0; 3]), relu: false };
    let error = gemm_with(1.0, a, b.t(), 0.0, MatMut::new(&mut c, [2, 2]).unwrap(), bias);
    assert!(matches!(error, Err(Error::Length { expected: 2, found: 3, .. })));
}
