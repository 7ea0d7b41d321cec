//! Max-pooling and its gradient, NCHW.

use kasoku_kernels::conv::Window;
use kasoku_kernels::pool::{WindowIndex, max_pool_backward, max_pool_forward};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use super::convolution::check_gradient;
use crate::array::{Float, Input, Output, Precision, Shape, compute, with_float};
use crate::error::{Error, Result};
use crate::out::Out;
use crate::pair::Pair;

/// The largest element under each window of x (N, C, H, W), and its number in the window.
#[pyfunction]
pub(crate) fn pooling_forward<'py>(
    x: &Bound<'py, PyAny>,
    size: Pair,
    stride: Pair,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    max_pool(x, without_padding(size, stride), Precision::of_columns(&[x])?, None)
}

/// dx of the given shape from dout and the index of `pooling_forward`.
#[pyfunction]
pub(crate) fn pooling_backward<'py>(
    shape: [usize; 4],
    dout: &Bound<'py, PyAny>,
    index: &Bound<'py, PyAny>,
    size: Pair,
    stride: Pair,
) -> Result<Bound<'py, PyAny>> {
    let window = without_padding(size, stride);
    max_pool_gradient(shape, dout, index, window, Precision::of_columns(&[dout])?, None)
}

fn without_padding(size: Pair, stride: Pair) -> Window {
    Window { size: size.0, stride: stride.0, pad: [0, 0] }
}

/// (y, index): `uint8` where the window has up to 256 cells, `uint16` or `uint32` where it has more.
pub(crate) fn max_pool<'py>(
    x: &Bound<'py, PyAny>,
    window: Window,
    precision: Precision,
    out: Option<&Bound<'py, PyAny>>,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    with_float!(precision, T => match window.size[0].saturating_mul(window.size[1]) {
        ..=0x100 => forward::<T, u8>(x, window, precision, out),
        0x101..=0x1_0000 => forward::<T, u16>(x, window, precision, out),
        _ => forward::<T, u32>(x, window, precision, out),
    })
}

fn forward<'py, T: Float, I: WindowIndex + numpy::Element>(
    x: &Bound<'py, PyAny>,
    window: Window,
    precision: Precision,
    out: Option<&Bound<'py, PyAny>>,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = x.py();
    let x = Input::<T>::new(x)?;
    let input = x.dims::<4>("pooling, x")?;
    let shape = output_shape(input, &window)?;
    let mut out = Out::<T>::new(py, out, &shape, precision)?;
    let mut index = Output::<I>::new(py, &shape)?;
    let (x, y, index_slice) = (x.slice()?, out.slice_mut()?, index.slice_mut());
    compute(py, x.len(), || max_pool_forward(input, &window, x, y, index_slice))?;
    Ok((out.finish()?, index.into_array().into_any()))
}

/// The shape of a pooling's output.
pub(crate) fn output_shape(input: [usize; 4], window: &Window) -> Result<[usize; 4]> {
    let [batch, channels, height, width] = input;
    let [out_h, out_w] = window.output([height, width])?;
    Ok([batch, channels, out_h, out_w])
}

/// dx from dy and the index of [`max_pool`].
pub(crate) fn max_pool_gradient<'py>(
    shape: [usize; 4],
    dy: &Bound<'py, PyAny>,
    index: &Bound<'py, PyAny>,
    window: Window,
    precision: Precision,
    out: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    with_float!(precision, T => {
        if let Ok(index) = index.cast::<PyArrayDyn<u8>>() {
            backward::<T, u8>(shape, dy, index, window, precision, out)
        } else if let Ok(index) = index.cast::<PyArrayDyn<u16>>() {
            backward::<T, u16>(shape, dy, index, window, precision, out)
        } else if let Ok(index) = index.cast::<PyArrayDyn<u32>>() {
            backward::<T, u32>(shape, dy, index, window, precision, out)
        } else {
            Err(Error::type_error("the index must be the array of uint8, uint16 or uint32 that the forward pass gave"))
        }
    })
}

fn backward<'py, T: Float, I: WindowIndex + numpy::Element>(
    shape: [usize; 4],
    dy: &Bound<'py, PyAny>,
    index: &Bound<'py, PyArrayDyn<I>>,
    window: Window,
    precision: Precision,
    out: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    let py = dy.py();
    let dy = Input::<T>::new(dy)?;
    check_gradient(&dy, &output_shape(shape, &window)?)?;
    if index.shape() != dy.shape() || !index.is_c_contiguous() {
        return Err(Error::value(format!(
            "the index has shape {}, expected {} in C order",
            Shape(index.shape()),
            Shape(dy.shape())
        )));
    }
    let index = index.try_readonly().map_err(PyErr::from)?;
    let mut out = Out::<T>::new(py, out, &shape, precision)?;
    let (dy, dx) = (dy.slice()?, out.slice_mut()?);
    let index = index.as_slice().map_err(PyErr::from)?;
    compute(py, dx.len(), || max_pool_backward(shape, &window, dy, index, dx))?;
    out.finish()
}
