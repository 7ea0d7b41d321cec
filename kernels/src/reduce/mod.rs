//! Sums, and the index of the largest.

mod argmax;
mod axis;

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::parallel::{Pool, Rows};
use crate::simd::{MAX_LANES, Vector};
use crate::softmax::{check_labels, check_rows, check_some_rows};
use argmax::ArgmaxRows;

/// Elements below which waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 15;

/// Elements a task takes.
const PART_LEN: usize = 1 << 14;

/// The sum of all elements, in an order fixed by the length and the instruction set.
///
/// # Errors
/// None that the slice could cause; [`crate::Error::Threads`] and
/// [`crate::Error::InstructionSet`] where the environment asks for what is not there.
pub fn sum<T: Element>(x: &[T]) -> Result<T> {
    sum_of(x, Identity)
}

/// The sum of the squares of all elements, in an order fixed by the length and the instruction set:
/// for weight decay.
///
/// # Errors
/// As [`sum`].
pub fn sum_squares<T: Element>(x: &[T]) -> Result<T> {
    sum_of(x, Square)
}

/// What is added up of a register of elements.
trait Term: Copy + Sync {
    fn of<T: Element, S: Simd>(self, x: Vector<T, S>, sum: Vector<T, S>) -> Vector<T, S>;
}

#[derive(Clone, Copy)]
struct Identity;

impl Term for Identity {
    #[inline(always)]
    fn of<T: Element, S: Simd>(self, x: Vector<T, S>, sum: Vector<T, S>) -> Vector<T, S> {
        sum + x
    }
}

#[derive(Clone, Copy)]
struct Square;

impl Term for Square {
    #[inline(always)]
    fn of<T: Element, S: Simd>(self, x: Vector<T, S>, sum: Vector<T, S>) -> Vector<T, S> {
        x.mul_add(x, sum)
    }
}

fn sum_of<T: Element>(x: &[T], term: impl Term) -> Result<T> {
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    Ok(T::of(pool.sum_parts(x, PART_LEN, |x| arch.dispatch(Sum { x, term }).as_f64())))
}

/// The sum of some elements.
struct Sum<'a, T, K> {
    x: &'a [T],
    term: K,
}

impl<T: Element, K: Term> WithSimd for Sum<'_, T, K> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        sum_slice(simd, self.x, self.term)
    }
}

/// Additions in flight: the latency of one, times the two that begin each cycle.
const CHAINS: usize = 8;

#[inline(always)]
fn sum_slice<T: Element, S: Simd>(simd: S, x: &[T], term: impl Term) -> T {
    let lanes = Vector::<T, S>::len();
    let mut sums = [Vector::zero(simd); CHAINS];
    let mut blocks = x.chunks_exact(CHAINS * lanes);
    for block in &mut blocks {
        for chain in 0..CHAINS {
            sums[chain] = term.of(Vector::load(simd, &block[chain * lanes..]), sums[chain]);
        }
    }
    for (register, x) in blocks.remainder().chunks(lanes).enumerate() {
        sums[register] = term.of(Vector::load_partial(simd, x), sums[register]);
    }
    let mut len = CHAINS;
    while len > 1 {
        len /= 2;
        for chain in 0..len {
            sums[chain] = sums[chain] + sums[chain + len];
        }
    }
    sums[0].sum()
}

/// y (outer, inner) = the sum of x (outer, len, inner) over its middle axis. With outer = 1 it sums
/// the rows of a matrix (a bias gradient), with inner = 1 each row.
///
/// # Errors
/// [`crate::Error::Length`] where a slice does not fit the shape.
pub fn sum_axis<T: Element>(shape: [usize; 3], x: &[T], y: &mut [T]) -> Result<()> {
    const OP: &str = "sum_axis";
    check_len(OP, "x", x, checked_size(OP, &shape)?)?;
    check_len(OP, "y", y, checked_size(OP, &[shape[0], shape[2]])?)?;
    axis::sum_axis(shape, x, y)
}

/// out = the class of the largest score of each row of `classes`: the first of equals, and NaN wins
/// over numbers, as in NumPy.
///
/// # Errors
/// [`crate::Error::Shape`] where `x` is not rows of `classes`, [`crate::Error::Length`] where `out`
/// does not hold one element a row.
pub fn argmax_rows<T: Element>(x: &[T], classes: usize, out: &mut [usize]) -> Result<()> {
    const OP: &str = "argmax_rows";
    let rows = check_rows(OP, x, classes)?;
    check_len(OP, "out", out, rows)?;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let parts = (Rows::new(x, rows, classes), out);
    pool.for_each_part(parts, rows_a_part(classes), |_, (x, out)| {
        argmax::with_scratch(classes, |scratch| {
            arch.dispatch(ArgmaxRows { x: x.data, classes, out, scratch });
        });
    });
    Ok(())
}

/// The share of rows whose largest score (as [`argmax_rows`]) is at their label, from 0 to 1.
///
/// # Errors
/// [`crate::Error::Shape`] where `x` is not one or more rows of `classes`, [`crate::Error::Length`]
/// where there is not one label a row, [`crate::Error::Label`] where a label is not below `classes`.
pub fn accuracy<T: Element>(x: &[T], classes: usize, labels: &[usize]) -> Result<f64> {
    const OP: &str = "accuracy";
    let rows = check_some_rows(OP, x, classes)?;
    check_labels(OP, labels, rows, classes)?;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let parts = (Rows::new(x, rows, classes), labels);
    let right = pool.sum_parts(parts, rows_a_part(classes), |(x, labels)| {
        argmax::with_scratch(classes, |scratch| {
            let mut right = 0;
            let blocks = x.data.chunks(BLOCK_ROWS * classes).zip(labels.chunks(BLOCK_ROWS));
            for (x, labels) in blocks {
                let mut found = [0; BLOCK_ROWS];
                let found = &mut found[..labels.len()];
                arch.dispatch(ArgmaxRows { x, classes, out: &mut *found, scratch: &mut *scratch });
                right += found.iter().zip(labels).filter(|(found, label)| found == label).count();
            }
            right as f64
        })
    });
    Ok(right / rows as f64)
}

/// Rows whose largest scores are found before they are compared with the labels.
const BLOCK_ROWS: usize = 8 * MAX_LANES;

/// Rows a task takes; whole registers of them.
fn rows_a_part(classes: usize) -> usize {
    match PART_LEN / classes {
        0 => 1,
        rows => rows.next_multiple_of(MAX_LANES),
    }
}
