//! The convolution of chapter 7 and its gradients, NCHW.

use kasoku_kernels::conv::{self, ConvGeometry, Window};
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyInt;

use super::affine::not_aligned;
use crate::array::{Float, Input, Output, Precision, Shape, compute, with_float};
use crate::error::{Error, Result};
use crate::pair::Pair;

/// x ∗ W + b for x (N, C, H, W), W (FN, C, FH, FW) and b (FN,) or a number.
#[pyfunction]
pub(crate) fn convolution_forward<'py>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    stride: Pair,
    pad: Pair,
) -> Result<Bound<'py, PyAny>> {
    let precision = Precision::of_columns(&[x, w, b])?;
    with_float!(precision, T => Ok(forward::<T>(x, w, b, stride, pad)?.into_any()))
}

fn forward<'py, T: Float>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    stride: Pair,
    pad: Pair,
) -> Result<Bound<'py, PyArrayDyn<T>>> {
    let py = x.py();
    let (x, w) = (Input::<T>::new(x)?, Input::<T>::new(w)?);
    let geometry = geometry(&x, &w, stride, pad)?;
    let bias = bias_of::<T>(Some(b), geometry.weight()[0])?;
    let mut y = Output::new(py, &geometry.output())?;
    let (x, w, y_slice) = (x.slice()?, w.slice()?, y.slice_mut());
    let bias = bias.as_ref().map(Input::slice).transpose()?;
    compute(py, geometry.flops() as usize, || {
        conv::forward(&geometry, x, w, bias, false, y_slice)
    })?;
    Ok(y.into_array())
}

/// (dx, dW, db) from dout, the gradient by the output.
#[pyfunction]
#[allow(clippy::type_complexity)] // the three gradients
pub(crate) fn convolution_backward<'py>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
    stride: Pair,
    pad: Pair,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let precision = Precision::of_columns(&[x, w, dout])?;
    with_float!(precision, T => {
        let (dx, dw, db) = backward::<T>(x, w, dout, stride, pad)?;
        Ok((dx.into_any(), dw.into_any(), db.into_any()))
    })
}

type Gradients<'py, T> =
    (Bound<'py, PyArrayDyn<T>>, Bound<'py, PyArrayDyn<T>>, Bound<'py, PyArrayDyn<T>>);

fn backward<'py, T: Float>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
    stride: Pair,
    pad: Pair,
) -> Result<Gradients<'py, T>> {
    let py = x.py();
    let (x, w, dout) = (Input::<T>::new(x)?, Input::<T>::new(w)?, Input::<T>::new(dout)?);
    let geometry = geometry(&x, &w, stride, pad)?;
    check_gradient(&dout, &geometry.output())?;
    let mut dx = Output::new(py, &geometry.input())?;
    let mut dw = Output::new(py, &geometry.weight())?;
    let mut db = Output::new(py, &geometry.weight()[..1])?;
    let (x, w, dout) = (x.slice()?, w.slice()?, dout.slice()?);
    let gradients = conv::Gradients { dx: dx.slice_mut(), dw: dw.slice_mut(), db: db.slice_mut() };
    compute(py, geometry.flops() as usize, || conv::backward(&geometry, x, dout, w, gradients))?;
    Ok((dx.into_array(), dw.into_array(), db.into_array()))
}

/// The geometry of x and W.
///
/// # Errors
/// `ValueError` where they have other than four dimensions, differ in channels, or the window does not fit.
pub(crate) fn geometry<T: Float>(
    x: &Input<'_, T>,
    w: &Input<'_, T>,
    stride: Pair,
    pad: Pair,
) -> Result<ConvGeometry> {
    let (input, [filters, channels, height, width]) =
        (x.dims::<4>("convolution, x")?, w.dims::<4>("convolution, W")?);
    if input[1] != channels {
        return Err(not_aligned(x.shape(), 1, w.shape(), 1));
    }
    let window = Window { size: [height, width], stride: stride.0, pad: pad.0 };
    Ok(ConvGeometry::new(input, filters, window)?)
}

/// Checks that `gradient` has the shape of the output.
pub(crate) fn check_gradient<T: Float>(gradient: &Input<'_, T>, output: &[usize]) -> Result<()> {
    if gradient.shape() == output {
        return Ok(());
    }
    Err(Error::value(format!(
        "the gradient has shape {}, the output has shape {}",
        Shape(gradient.shape()),
        Shape(output)
    )))
}

/// b as one number for each filter; `None` where there is none, or it is the book's `b = 0`.
pub(crate) fn bias_of<'py, T: Float>(
    b: Option<&Bound<'py, PyAny>>,
    filters: usize,
) -> Result<Option<Input<'py, T>>> {
    static BROADCAST_TO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let is_zero = |b: &&Bound<'_, PyAny>| {
        b.is_exact_instance_of::<PyInt>() && b.extract::<i64>().is_ok_and(|b| b == 0)
    };
    let Some(b) = b.filter(|b| !is_zero(b)) else { return Ok(None) };
    let bias = Input::new(b)?;
    if bias.shape() == [filters] {
        return Ok(Some(bias));
    }
    let broadcast_to = BROADCAST_TO.import(b.py(), "numpy", "broadcast_to")?;
    Ok(Some(Input::new(&broadcast_to.call1((b, (1, filters)))?)?))
}

/// The shape of the column matrix of an input under a window.
pub(crate) fn check_window(
    [batch, channels, height, width]: [usize; 4],
    window: &Window,
) -> Result<[usize; 2]> {
    let [out_h, out_w] = window.output([height, width])?;
    let size = |dims: [usize; 3]| {
        dims.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim)).ok_or_else(|| {
            Error::value(format!("a column matrix of {dims:?} elements is too large"))
        })
    };
    Ok([size([batch, out_h, out_w])?, size([channels, window.size[0], window.size[1]])?])
}
