//! Batch normalisation, for each channel over the batch and the channel's inner elements.
//!
//! `x` is (batch, channels, inner). Per feature, as in the book (chapter 6), is [N, D, 1]; per
//! channel of an image is [N, C, H·W]. Source: Ioffe and Szegedy, "Batch Normalization" (2015).

mod apply;
pub mod parts;
mod sums;

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len, checked_size};
use crate::parallel::Pool;
use apply::{Gradient, Normalize, NormalizeRelu, apply};
use sums::{Gradients, SumChannels};
pub(crate) use sums::{SquaredDistance, Term, Value, sum_plane};

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

/// Elements below which waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 14;

/// Elements whose moments a task takes: the second pass over them finds them in L2.
const PART_LEN: usize = 1 << 15;
/// Tasks at most whose elements pass once, in runs as long as can be.
const PARTS: usize = 8;

/// Channels whose moments a task takes.
fn channels_a_part([batch, _, inner]: [usize; 3]) -> usize {
    (PART_LEN / (batch * inner)).max(1)
}

fn check_batch(op: &'static str, shape: [usize; 3]) -> Result<()> {
    if shape[0] == 0 || shape[2] == 0 {
        let problem = format!("the statistics of shape {shape:?}, over no elements, do not exist");
        return Err(Error::Shape { op, problem });
    }
    Ok(())
}

/// The mean of each channel from the `first` on, and the sum of the squared distances to it: the mean is subtracted before
/// squaring (two passes), so that a large mean costs no digits.
fn moments<T: Element>(
    arch: Arch,
    shape: [usize; 3],
    x: &[T],
    first: usize,
    mean: &mut [T],
    squares: &mut [T],
) {
    let (inputs, constants) = ([x], [&*squares, &*squares]);
    let sums = [&mut *mean];
    arch.dispatch(SumChannels { shape, term: Value, inputs, first, constants, sums });
    let count = T::of((shape[0] * shape[2]) as f64);
    mean.iter_mut().for_each(|mean| *mean /= count);
    let (constants, sums) = ([&*mean, &*mean], [squares]);
    arch.dispatch(SumChannels { shape, term: SquaredDistance, inputs, first, constants, sums });
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
    let BatchStatistics { mean, var, inv_std } = statistics;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let count = T::of((shape[0] * shape[2]) as f64);
    let channels = channels_a_part(shape);
    let parts = (&mut *mean, &mut *var, &mut *inv_std);
    pool.for_each_part(parts, channels, |part, (mean, var, inv_std)| {
        let first = part * channels;
        moments(arch, shape, x, first, mean, var);
        for (var, inv_std) in var.iter_mut().zip(inv_std) {
            *var /= count;
            *inv_std = T::one() / (*var + epsilon).sqrt();
        }
    });
    apply(shape, Normalize, [x], |c| [gamma[c], mean[c], inv_std[c], beta[c]], y)
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
    let inv_std = |c: usize| T::one() / (var[c] + epsilon).sqrt();
    apply(shape, Normalize, [x], |c| [gamma[c], mean[c], inv_std(c), beta[c]], y)
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
    let arch = Arch::current()?;
    let pool = Pool::for_work(2 * x.len(), PARALLEL_LEN)?;
    let channels = channels_a_part(shape).max(shape[1].div_ceil(PARTS));
    let parts = ((&mut *dgamma, &mut *dbeta), (mean, inv_std));
    pool.for_each_part(parts, channels, |part, ((dgamma, dbeta), (mean, inv_std))| {
        let (first, inputs) = (part * channels, [x, dy]);
        let (constants, sums) = ([mean, inv_std], [dbeta, dgamma]);
        arch.dispatch(SumChannels { shape, term: Gradients, inputs, first, constants, sums });
    });
    let count = T::of((shape[0] * shape[2]) as f64);
    let constants = |c: usize| {
        let slope = inv_std[c] * (dgamma[c] / count);
        [gamma[c] * inv_std[c], mean[c], slope, dbeta[c] / count]
    };
    apply(shape, Gradient, [x, dy], constants, dx)
}
