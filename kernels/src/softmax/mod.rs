//! Softmax over rows of classes, log-sum-exp, and the cross-entropy loss.
//!
//! `x` and `y` hold rows of `classes` elements, one after another. A row with a NaN gives NaN
//! throughout, and so does one whose largest score is ±∞ (as ∞ − ∞ does in NumPy), except that its
//! log-sum-exp is that ±∞.

mod loss;
mod rows;

use std::ops::Range;

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::{Parts, Pool, Rows};
use crate::simd::MAX_LANES;
use crate::workspace::{with_scratch, with_scratch_in_parts};
use loss::{CrossEntropy, Gradient, Scores};
use rows::{Softmax, scratch_len};

/// What the rows should have been.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a, T> {
    /// The right class of each row.
    Labels(&'a [usize]),
    /// The probability of each class of each row, in the shape of the scores; each row sums to 1.
    OneHot(&'a [T]),
}

/// The number of rows in `x`.
pub(crate) fn check_rows<T>(op: &'static str, x: &[T], classes: usize) -> Result<usize> {
    if classes == 0 || !x.len().is_multiple_of(classes) {
        let problem = format!("{} elements are not rows of {classes} classes", x.len());
        return Err(Error::Shape { op, problem });
    }
    Ok(x.len() / classes)
}

/// As [`check_rows`], where the mean over rows is wanted.
pub(crate) fn check_some_rows<T>(op: &'static str, x: &[T], classes: usize) -> Result<usize> {
    match check_rows(op, x, classes)? {
        0 => Err(Error::Shape { op, problem: "the mean over 0 rows does not exist".to_owned() }),
        rows => Ok(rows),
    }
}

/// Checks that there is a label below `classes` for each of `rows`.
pub(crate) fn check_labels(
    op: &'static str,
    labels: &[usize],
    rows: usize,
    classes: usize,
) -> Result<()> {
    check_len(op, "labels", labels, rows)?;
    match labels.iter().position(|&label| label >= classes) {
        Some(row) => Err(Error::Label { op, row, label: labels[row], classes }),
        None => Ok(()),
    }
}

impl<T> Target<'_, T> {
    /// Checks that it says what `rows` rows of `classes` should have been; `op` is named where it does not.
    ///
    /// # Errors
    /// [`Error::Length`] where it is of more or fewer rows, [`Error::Label`] where a label is not below `classes`.
    pub fn check(&self, op: &'static str, rows: usize, classes: usize) -> Result<()> {
        match self {
            Self::Labels(labels) => check_labels(op, labels, rows, classes),
            Self::OneHot(t) => check_len(op, "one-hot target", t, rows * classes),
        }
    }

    /// What some of its rows should have been.
    ///
    /// # Panics
    /// Where it does not have them all.
    pub fn rows(self, rows: Range<usize>, classes: usize) -> Self {
        match self {
            Self::Labels(labels) => Self::Labels(&labels[rows]),
            Self::OneHot(t) => Self::OneHot(&t[rows.start * classes..rows.end * classes]),
        }
    }
}

/// Elements below which waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 14;

/// Elements a task takes: they stay in L1 for the passes over them.
const PART_LEN: usize = 1 << 12;

/// Rows a task takes; whole registers of them.
fn rows_a_part(classes: usize) -> usize {
    match PART_LEN / classes {
        0 => 1,
        rows => rows.next_multiple_of(MAX_LANES),
    }
}

/// The rows of a target, as parts.
struct TargetRows<'a, T> {
    target: Target<'a, T>,
    rows: usize,
    classes: usize,
}

impl<'a, T: Element> Parts for TargetRows<'a, T> {
    type Raw = (Target<'a, T>, usize);

    fn len(&self) -> usize {
        self.rows
    }

    fn into_raw(self) -> Self::Raw {
        (self.target, self.classes)
    }

    unsafe fn part((target, classes): Self::Raw, from: usize, len: usize) -> Self {
        Self { target: target.rows(from..from + len, classes), rows: len, classes }
    }
}

/// y = softmax(x) row by row: e^(x − max) over its sum (chapter 3).
///
/// # Errors
/// [`Error::Shape`] where `x` is not rows of `classes`, [`Error::Length`] where `y` has another length.
pub fn softmax_rows<T: Element>(x: &[T], classes: usize, y: &mut [T]) -> Result<()> {
    const OP: &str = "softmax_rows";
    check_rows(OP, x, classes)?;
    check_len(OP, "y", y, x.len())?;
    let (rows, pool) = (x.len() / classes, Pool::for_work(x.len(), PARALLEL_LEN)?);
    let arch = Arch::current()?;
    let parts = (Rows::new(x, rows, classes), Rows::new(y, rows, classes));
    pool.for_each_part(parts, rows_a_part(classes), |_, (x, y)| {
        with_scratch(scratch_len(classes), |scratch| {
            let (x, y) = (x.data, y.data);
            arch.dispatch(Softmax { x, classes, y, log_sums: &mut [], scratch });
        });
    });
    Ok(())
}

/// out = ln Σ eˣ of each row, the maximum subtracted first, so that it does not overflow.
///
/// # Errors
/// [`Error::Shape`] where `x` is not rows of `classes`, [`Error::Length`] where `out` does not hold
/// one element a row.
pub fn log_sum_exp_rows<T: Element>(x: &[T], classes: usize, out: &mut [T]) -> Result<()> {
    const OP: &str = "log_sum_exp_rows";
    let rows = check_rows(OP, x, classes)?;
    check_len(OP, "out", out, rows)?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let arch = Arch::current()?;
    let parts = (Rows::new(x, rows, classes), out);
    pool.for_each_part(parts, rows_a_part(classes), |_, (x, log_sums)| {
        with_scratch(scratch_len(classes), |scratch| {
            arch.dispatch(Softmax { x: x.data, classes, y: &mut [], log_sums, scratch });
        });
    });
    Ok(())
}

/// The mean over rows of −Σ t·ln(y + epsilon), over the classes whose t is not 0 (chapter 4, where
/// epsilon is 1e-7); `y` holds probabilities.
///
/// # Errors
/// [`Error::Shape`] where `y` is not one or more rows of `classes`, [`Error::Length`] where the
/// target does not fit it, [`Error::Label`] where a label is not below `classes`.
pub fn cross_entropy<T: Element>(
    y: &[T],
    classes: usize,
    target: Target<'_, T>,
    epsilon: T,
) -> Result<T> {
    const OP: &str = "cross_entropy";
    let rows = check_some_rows(OP, y, classes)?;
    target.check(OP, rows, classes)?;
    let pool = Pool::for_work(y.len(), PARALLEL_LEN)?;
    let arch = Arch::current()?;
    let parts = (Rows::new(y, rows, classes), TargetRows { target, rows, classes });
    let sum = pool.sum_parts(parts, rows_a_part(classes), |(y, target)| {
        let scores = Scores::Probabilities { y: y.data, epsilon };
        arch.dispatch(CrossEntropy { scores, classes, target: target.target })
    });
    Ok(T::of(sum / rows as f64))
}

/// y = softmax(x) and, returned, its cross-entropy with the target: the book's `SoftmaxWithLoss`
/// (chapter 5) in one pass.
///
/// An `epsilon` of 0 takes the loss as log-sum-exp(x) − x, exact where y rounds to 0; another is
/// added to y as in [`cross_entropy`].
///
/// # Errors
/// As [`cross_entropy`], and [`Error::Length`] where `y` has another length than `x`.
pub fn softmax_cross_entropy<T: Element>(
    x: &[T],
    classes: usize,
    target: Target<'_, T>,
    epsilon: T,
    y: &mut [T],
) -> Result<T> {
    const OP: &str = "softmax_cross_entropy";
    let rows = check_some_rows(OP, x, classes)?;
    check_len(OP, "y", y, x.len())?;
    target.check(OP, rows, classes)?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let arch = Arch::current()?;
    let parts = (
        Rows::new(x, rows, classes),
        TargetRows { target, rows, classes },
        Rows::new(y, rows, classes),
    );
    let sum = pool.sum_parts(parts, rows_a_part(classes), |(x, target, y)| {
        let (x, y, target) = (x.data, y.data, target.target);
        // The book's epsilon needs no logarithms of the sums.
        let log_sums = if epsilon == T::zero() { x.len() / classes } else { 0 };
        with_scratch_in_parts([log_sums, scratch_len(classes)], |[log_sums, scratch]| {
            arch.dispatch(Softmax { x, classes, y: &mut *y, log_sums, scratch });
            let scores = match epsilon == T::zero() {
                true => Scores::Logits { x, log_sums },
                false => Scores::Probabilities { y, epsilon },
            };
            arch.dispatch(CrossEntropy { scores, classes, target })
        })
    });
    Ok(T::of(sum / rows as f64))
}

/// dx = (y − t)/batch: the gradient of [`softmax_cross_entropy`] by x, from its y; `batch` is the number of rows of which the loss
/// is the mean, of which y may hold some. (The gradient of epsilon = 0; the book uses it for its 1e-7 too.)
///
/// # Errors
/// As [`softmax_cross_entropy`].
pub fn softmax_cross_entropy_backward<T: Element>(
    y: &[T],
    classes: usize,
    target: Target<'_, T>,
    batch: usize,
    dx: &mut [T],
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy_backward";
    let rows = check_rows(OP, y, classes)?;
    check_len(OP, "dx", dx, y.len())?;
    target.check(OP, rows, classes)?;
    let pool = Pool::for_work(y.len(), PARALLEL_LEN)?;
    let arch = Arch::current()?;
    let batch = T::of(batch as f64);
    let parts = (
        Rows::new(y, rows, classes),
        TargetRows { target, rows, classes },
        Rows::new(dx, rows, classes),
    );
    pool.for_each_part(parts, rows_a_part(classes), |_, (y, target, dx)| {
        let (y, dx, target) = (y.data, dx.data, target.target);
        arch.dispatch(Gradient { y, classes, target, batch, dx });
    });
    Ok(())
}
