//! Batch normalisation for each feature, or channel, over the batch.

use kasoku_kernels::Element;
use kasoku_kernels::batch_norm::{self, BatchStatistics};
use pyo3::prelude::*;

use crate::array::{Float, Input, Output, Precision, Shape, compute, with_float};
use crate::error::{Error, Result};

/// Added to the variance: the book's `10e-7`.
const EPSILON: f64 = 10e-7;

/// A (N, D, …) input with arrays of D elements beside it: what comes after D are further samples, the pixels of a channel.
struct Batch<'py, T: Float> {
    x: Input<'py, T>,
    features: usize,
    /// (batch, channels, inner), as the kernels count.
    shape: [usize; 3],
}

impl<'py, T: Float> Batch<'py, T> {
    fn new(x: &Bound<'py, PyAny>) -> Result<Self> {
        let x = Input::new(x)?;
        let &[rows, features, ref pixels @ ..] = x.shape() else {
            let shape = Shape(x.shape());
            return Err(Error::value(format!(
                "batch normalisation, x: expected an array of 2 dimensions or more, got shape {shape}"
            )));
        };
        let shape = [rows, features, pixels.iter().product()];
        Ok(Self { x, features, shape })
    }

    /// One number for each feature.
    fn row(&self, row: &Bound<'py, PyAny>) -> Result<Input<'py, T>> {
        let row = Input::new(row)?;
        if row.shape() == [self.features] {
            return Ok(row);
        }
        Err(Error::value(format!(
            "operands could not be broadcast together with shapes {} {}",
            Shape(self.x.shape()),
            Shape(row.shape())
        )))
    }
}

/// `N` new rows, one number for each feature.
fn rows<'py, T: Float, const N: usize>(
    py: Python<'py>,
    features: usize,
) -> Result<[Output<'py, T>; N]> {
    let rows = (0..N).map(|_| Output::new(py, &[features])).collect::<Result<Vec<_>>>()?;
    rows.try_into().map_err(|_| Error::runtime("as many rows as were made"))
}

/// (gamma·(x − mean)/√(var + 1e-6) + beta, mean, var, 1/√(var + 1e-6)) over all but axis 1 of x (N, D, …); `None` for integers.
#[pyfunction]
#[allow(clippy::type_complexity)] // the output and its statistics
pub(crate) fn batch_norm_forward<'py>(
    x: &Bound<'py, PyAny>,
    gamma: &Bound<'py, PyAny>,
    beta: &Bound<'py, PyAny>,
) -> Result<Option<[Bound<'py, PyAny>; 4]>> {
    let Some(precision) = Precision::of(&[x, gamma, beta])? else { return Ok(None) };
    with_float!(precision, T => {
        let py = x.py();
        let batch = Batch::<T>::new(x)?;
        let (gamma, beta) = (batch.row(gamma)?, batch.row(beta)?);
        let mut y = Output::<T>::new(py, batch.x.shape())?;
        let [mut mean, mut var, mut inv_std] = rows(py, batch.features)?;
        let (shape, x, gamma, beta) = (batch.shape, batch.x.slice()?, gamma.slice()?, beta.slice()?);
        let y_slice = y.slice_mut();
        let statistics = BatchStatistics {
            mean: mean.slice_mut(),
            var: var.slice_mut(),
            inv_std: inv_std.slice_mut(),
        };
        compute(py, x.len(), || {
            batch_norm::batch_norm_forward(shape, x, gamma, beta, T::of(EPSILON), y_slice, statistics)
        })?;
        let [y, mean, var, inv_std] = [y, mean, var, inv_std].map(|output| precision.finish(output.into_array()));
        Ok(Some([y?, mean?, var?, inv_std?]))
    })
}

/// gamma·(x − mean)/√(var + 1e-6) + beta with the running statistics; `None` for integers.
#[pyfunction]
pub(crate) fn batch_norm_inference<'py>(
    x: &Bound<'py, PyAny>,
    gamma: &Bound<'py, PyAny>,
    beta: &Bound<'py, PyAny>,
    mean: &Bound<'py, PyAny>,
    var: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some(precision) = Precision::of(&[x, gamma, beta, mean, var])? else { return Ok(None) };
    with_float!(precision, T => {
        let py = x.py();
        let batch = Batch::<T>::new(x)?;
        let (gamma, beta) = (batch.row(gamma)?, batch.row(beta)?);
        let (mean, var) = (batch.row(mean)?, batch.row(var)?);
        let mut y = Output::<T>::new(py, batch.x.shape())?;
        let (shape, x, gamma, beta) = (batch.shape, batch.x.slice()?, gamma.slice()?, beta.slice()?);
        let (mean, var, y_slice) = (mean.slice()?, var.slice()?, y.slice_mut());
        compute(py, x.len(), || {
            batch_norm::batch_norm_inference(shape, x, gamma, beta, mean, var, T::of(EPSILON), y_slice)
        })?;
        precision.finish(y.into_array()).map(Some)
    })
}

/// (dx, dgamma, dbeta) from dout (N, D, …) and what `batch_norm_forward` returned; `None` for integers.
#[pyfunction]
pub(crate) fn batch_norm_backward<'py>(
    x: &Bound<'py, PyAny>,
    gamma: &Bound<'py, PyAny>,
    mean: &Bound<'py, PyAny>,
    inv_std: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
) -> Result<Option<[Bound<'py, PyAny>; 3]>> {
    let Some(precision) = Precision::of(&[x, gamma, mean, inv_std, dout])? else { return Ok(None) };
    with_float!(precision, T => {
        let py = x.py();
        let batch = Batch::<T>::new(x)?;
        let (gamma, mean, inv_std) = (batch.row(gamma)?, batch.row(mean)?, batch.row(inv_std)?);
        let dout = Input::<T>::new(dout)?;
        if dout.shape() != batch.x.shape() {
            return Err(Error::value(format!(
                "operands could not be broadcast together with shapes {} {}",
                Shape(batch.x.shape()),
                Shape(dout.shape())
            )));
        }
        let mut dx = Output::<T>::new(py, dout.shape())?;
        let [mut dgamma, mut dbeta] = rows(py, batch.features)?;
        let (shape, x, gamma) = (batch.shape, batch.x.slice()?, gamma.slice()?);
        let (mean, inv_std, dout) = (mean.slice()?, inv_std.slice()?, dout.slice()?);
        let (dx_slice, dgamma_slice, dbeta_slice) =
            (dx.slice_mut(), dgamma.slice_mut(), dbeta.slice_mut());
        compute(py, x.len(), || {
            batch_norm::batch_norm_backward(
                shape, x, gamma, mean, inv_std, dout, dx_slice, dgamma_slice, dbeta_slice,
            )
        })?;
        let [dx, dgamma, dbeta] = [dx, dgamma, dbeta].map(|output| precision.finish(output.into_array()));
        Ok(Some([dx?, dgamma?, dbeta?]))
    })
}
