//! Batch normalisation, for each channel over the batch and the channel's inner elements.
//!
//! `x` is (batch, channels, inner). Per feature, as in the book (chapter 6), is [N, D, 1]; per
//! channel of an image is [N, C, H·W]. Source: Ioffe and Szegedy, "Batch Normalization" (2015).

use crate::element::Element;
use crate::error::{Error, Result, check_len, checked_size};
use crate::reference;

/// The statistics of a batch, one of each a channel.
#[derive(Debug)]
pub struct BatchStatistics<'a, T> {
    /// The mean.
    pub mean: &'a mut [T],
    /// The variance, biased: the mean squared distance to the mean.
    pub var: &'a mut [T],
    /// 1/√(var + epsilon).
    pub inv_std: &'a mut [T],
}

fn check_shape(
    op: &'static str,
    shape: [usize; 3],
    arrays: &[(&'static str, usize)],
) -> Result<()> {
    let expected = checked_size(op, &shape)?;
    match arrays.iter().find(|(_, len)| *len != expected) {
        Some(&(operand, found)) => Err(Error::Length { op, operand, expected, found }),
        None => Ok(()),
    }
}

fn check_batch(op: &'static str, shape: [usize; 3]) -> Result<()> {
    if shape[0] == 0 || shape[2] == 0 {
        let problem = format!("the statistics of shape {shape:?}, over no elements, do not exist");
        return Err(Error::Shape { op, problem });
    }
    Ok(())
}

/// y = gamma·(x − mean)·inv_std + beta with the batch's own statistics, which are returned in
/// `statistics`; the mean is subtracted before squaring (two passes), so that a large mean costs no
/// digits.
///
/// # Errors
/// [`Error::Length`] where a slice does not fit `shape` (`gamma`, `beta` and the statistics: one
/// element a channel), [`Error::Shape`] where there is nothing to take a mean of.
pub fn batch_norm_forward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    beta: &[T],
    epsilon: T,
    y: &mut [T],
    statistics: BatchStatistics<'_, T>,
) -> Result<()> {
    const OP: &str = "batch_norm_forward";
    check_shape(OP, shape, &[("x", x.len()), ("y", y.len())])?;
    check_len(OP, "gamma", gamma, shape[1])?;
    check_len(OP, "beta", beta, shape[1])?;
    check_len(OP, "mean", statistics.mean, shape[1])?;
    check_len(OP, "var", statistics.var, shape[1])?;
    check_len(OP, "inv_std", statistics.inv_std, shape[1])?;
    check_batch(OP, shape)?;
    reference::batch_norm::batch_norm_forward(shape, x, gamma, beta, epsilon, y, statistics);
    Ok(())
}

/// y = gamma·(x − mean)/√(var + epsilon) + beta with given statistics (a layer's running ones).
///
/// # Errors
/// [`Error::Length`] where a slice does not fit `shape` (`gamma`, `beta`, `mean` and `var`: one
/// element a channel).
#[allow(clippy::too_many_arguments)] // the operation's operands
pub fn batch_norm_inference<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    beta: &[T],
    mean: &[T],
    var: &[T],
    epsilon: T,
    y: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm_inference";
    check_shape(OP, shape, &[("x", x.len()), ("y", y.len())])?;
    check_len(OP, "gamma", gamma, shape[1])?;
    check_len(OP, "beta", beta, shape[1])?;
    check_len(OP, "mean", mean, shape[1])?;
    check_len(OP, "var", var, shape[1])?;
    reference::batch_norm::batch_norm_inference(shape, x, gamma, beta, mean, var, epsilon, y);
    Ok(())
}

/// The gradients of [`batch_norm_forward`] by x, gamma and beta, from dy and the forward's x, mean
/// and inv_std: with x̂ = (x − mean)·inv_std and M elements a channel,
/// dbeta = Σ dy, dgamma = Σ dy·x̂, dx = gamma·inv_std·(dy − dbeta/M − x̂·dgamma/M).
///
/// # Errors
/// As [`batch_norm_forward`].
#[allow(clippy::too_many_arguments)] // the operation's operands
pub fn batch_norm_backward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    gamma: &[T],
    mean: &[T],
    inv_std: &[T],
    dy: &[T],
    dx: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    check_shape(OP, shape, &[("x", x.len()), ("dy", dy.len()), ("dx", dx.len())])?;
    check_len(OP, "gamma", gamma, shape[1])?;
    check_len(OP, "mean", mean, shape[1])?;
    check_len(OP, "inv_std", inv_std, shape[1])?;
    check_len(OP, "dgamma", dgamma, shape[1])?;
    check_len(OP, "dbeta", dbeta, shape[1])?;
    check_batch(OP, shape)?;
    reference::batch_norm::batch_norm_backward(
        shape, x, gamma, mean, inv_std, dy, dx, dgamma, dbeta,
    );
    Ok(())
}
