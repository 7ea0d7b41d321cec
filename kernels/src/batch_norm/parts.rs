//! Batch normalisation of a batch in parts, which go through several layers each while they are in cache.
//!
//! The statistics are of the whole batch, so it has two halves on either way: what each part knows of them, and, after the parts'
//! moments have been put together (or their sums added up), the pass that uses them.

use super::{Gradient, Gradients, Normalize, NormalizeRelu, SumChannels, apply, check_shape};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len};

/// The mean of each channel over a part of `shape`, (samples, channels, inner), then the sum of the squared distances to it of
/// each: in two passes, so that a large mean costs no digits.
///
/// # Errors
/// [`crate::Error::Length`] where a slice has another size; so in all operations here.
pub fn moments<T: Element>(shape: [usize; 3], x: &[T], moments: &mut [T]) -> Result<()> {
    const OP: &str = "batch_norm::parts::moments";
    check_shape(OP, shape, &[("x", x.len())])?;
    check_len(OP, "moments", moments, 2 * shape[1])?;
    let (mean, squares) = moments.split_at_mut(shape[1]);
    if !x.is_empty() {
        super::moments(Arch::current()?, shape, x, 0, mean, squares);
    }
    Ok(())
}

/// Mean and variance (biased) of each channel of a batch of `elements` elements a channel, from the [`moments`] of its parts, of
/// `part` elements a channel each, the last one of the rest. Source: Chan, Golub and LeVeque (1979).
///
/// # Errors
/// As [`moments`].
pub fn batch_moments<T: Element>(
    moments: &[T],
    [elements, part]: [usize; 2],
    mean: &mut [T],
    var: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm::parts::batch_moments";
    let (channels, part) = (mean.len(), part.max(1));
    check_len(OP, "moments", moments, elements.div_ceil(part) * 2 * channels)?;
    check_len(OP, "var", var, channels)?;
    // The share of the batch that each part has.
    let parts = || {
        let shares = (0..elements)
            .step_by(part)
            .map(|first| T::of(part.min(elements - first) as f64 / elements as f64));
        shares.zip(moments.chunks_exact(2 * channels.max(1)))
    };
    mean.fill(T::zero());
    for (share, part) in parts() {
        mean.iter_mut().zip(part).for_each(|(mean, &part)| *mean += share * part);
    }
    var.fill(T::zero());
    let count = T::of(elements as f64);
    for (share, part) in parts() {
        let (means, squares) = part.split_at(channels);
        for (((var, &mean), &part), &squares) in var.iter_mut().zip(&*mean).zip(means).zip(squares)
        {
            let distance = part - mean;
            *var += squares / count + share * distance * distance;
        }
    }
    Ok(())
}

/// y = gamma·(x − mean)·inv_std + beta, then ReLU if `relu`; one constant a channel, in this order.
///
/// # Errors
/// As [`moments`].
pub fn forward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    [gamma, mean, inv_std, beta]: [&[T]; 4],
    relu: bool,
    y: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm::parts::forward";
    check_shape(OP, shape, &[("x", x.len()), ("y", y.len())])?;
    let constants = [("gamma", gamma), ("mean", mean), ("inv_std", inv_std), ("beta", beta)];
    check_constants(OP, shape, &constants)?;
    let constants = |c: usize| [gamma[c], mean[c], inv_std[c], beta[c]];
    match relu {
        true => apply(shape, NormalizeRelu, [x], constants, y),
        false => apply(shape, Normalize, [x], constants, y),
    }
}

/// Σ dy of each channel over a part, then Σ dy·(x − mean)·inv_std of each: its share of the gradients by beta and gamma.
///
/// # Errors
/// As [`moments`].
pub fn gradients<T: Element>(
    shape: [usize; 3],
    x: &[T],
    dy: &[T],
    [mean, inv_std]: [&[T]; 2],
    sums: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm::parts::gradients";
    check_shape(OP, shape, &[("x", x.len()), ("dy", dy.len())])?;
    check_constants(OP, shape, &[("mean", mean), ("inv_std", inv_std)])?;
    check_len(OP, "sums", sums, 2 * shape[1])?;
    let (dbeta, dgamma) = sums.split_at_mut(shape[1]);
    if !x.is_empty() {
        Arch::current()?.dispatch(SumChannels {
            shape,
            term: Gradients,
            inputs: [x, dy],
            first: 0,
            constants: [mean, inv_std],
            sums: [dbeta, dgamma],
        });
    }
    Ok(())
}

/// dx = scale·(dy − shift − (x − mean)·slope); one constant a channel, in this order. With scale = gamma·inv_std,
/// slope = inv_std·dgamma/M and shift = dbeta/M, of M elements a channel, it is the gradient by x; with shift and slope 0 that with
/// constant statistics.
///
/// # Errors
/// As [`moments`].
pub fn backward<T: Element>(
    shape: [usize; 3],
    x: &[T],
    dy: &[T],
    [scale, mean, slope, shift]: [&[T]; 4],
    dx: &mut [T],
) -> Result<()> {
    const OP: &str = "batch_norm::parts::backward";
    check_shape(OP, shape, &[("x", x.len()), ("dy", dy.len()), ("dx", dx.len())])?;
    let constants = [("scale", scale), ("mean", mean), ("slope", slope), ("shift", shift)];
    check_constants(OP, shape, &constants)?;
    let constants = |c: usize| [scale[c], mean[c], slope[c], shift[c]];
    apply(shape, Gradient, [x, dy], constants, dx)
}

fn check_constants<T>(
    op: &'static str,
    [_, channels, _]: [usize; 3],
    constants: &[(&'static str, &[T])],
) -> Result<()> {
    let mut constants = constants.iter();
    constants.try_for_each(|(operand, constant)| check_len(op, operand, constant, channels))
}
