//! Softmax over rows of classes, log-sum-exp, and the cross-entropy loss.
//!
//! `x` and `y` hold rows of `classes` elements, one after another. A row with a NaN gives NaN
//! throughout, and so does one whose largest score is ±∞ (as ∞ − ∞ does in NumPy), except that its
//! log-sum-exp is that ±∞.

use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::reference;

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
    fn check(&self, op: &'static str, rows: usize, classes: usize) -> Result<()> {
        match self {
            Self::Labels(labels) => check_labels(op, labels, rows, classes),
            Self::OneHot(t) => check_len(op, "one-hot target", t, rows * classes),
        }
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
    reference::softmax::softmax_rows(x, classes, y);
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
    reference::softmax::log_sum_exp_rows(x, classes, out);
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
    Ok(reference::softmax::cross_entropy(y, classes, target, epsilon))
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
    Ok(reference::softmax::softmax_cross_entropy(x, classes, target, epsilon, y))
}

/// dx = (y − t)/rows: the gradient of [`softmax_cross_entropy`] by x, from its y. (The gradient of
/// epsilon = 0; the book uses it for its 1e-7 too.)
///
/// # Errors
/// As [`softmax_cross_entropy`].
pub fn softmax_cross_entropy_backward<T: Element>(
    y: &[T],
    classes: usize,
    target: Target<'_, T>,
    dx: &mut [T],
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy_backward";
    let rows = check_some_rows(OP, y, classes)?;
    check_len(OP, "dx", dx, y.len())?;
    target.check(OP, rows, classes)?;
    reference::softmax::softmax_cross_entropy_backward(y, classes, target, dx);
    Ok(())
}
