//! Sums, and the index of the largest.

use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::reference;
use crate::softmax::{check_labels, check_rows, check_some_rows};

/// The sum of all elements, in an order fixed by the length and the instruction set.
///
/// # Errors
/// None that the slice could cause; [`crate::Error::Threads`] and
/// [`crate::Error::InstructionSet`] where the environment asks for what is not there.
pub fn sum<T: Element>(x: &[T]) -> Result<T> {
    Ok(reference::reduce::sum(x))
}

/// The sum of the squares of all elements, in an order fixed by the length and the instruction set:
/// for weight decay.
///
/// # Errors
/// As [`sum`].
pub fn sum_squares<T: Element>(x: &[T]) -> Result<T> {
    Ok(reference::reduce::sum_squares(x))
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
    reference::reduce::sum_axis(shape, x, y);
    Ok(())
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
    reference::reduce::argmax_rows(x, classes, out);
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
    Ok(reference::reduce::accuracy(x, classes, labels))
}
