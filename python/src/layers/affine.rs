//! y = x·W + b and its gradients.

use kasoku_kernels::gemm::{Bias, Epilogue, gemm, gemm_with};
use kasoku_kernels::{MatMut, reduce};
use numpy::{PyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::array::{Float, Input, Output, Precision, Shape, compute, with_float};
use crate::error::{Error, Result};

/// x·W + b for x (N, D), W (D, M) and b of any shape that broadcasts.
#[pyfunction]
pub(crate) fn affine_forward<'py>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> Result<Option<Bound<'py, PyAny>>> {
    let Some(precision) = Precision::of(&[x, w, b])? else { return Ok(None) };
    with_float!(precision, T => {
        let y = match Added::<T>::of(b)? {
            Added::Nothing => product::<T>(x, w, None)?,
            Added::Row(bias) => product::<T>(x, w, Some(bias))?,
            Added::Broadcast => product::<T>(x, w, None)?.into_any().add(b)?.cast_into().map_err(PyErr::from)?,
        };
        precision.finish(y).map(Some)
    })
}

/// What b is.
enum Added<'py, T: Float> {
    /// The book's `b = 0`.
    Nothing,
    /// One number for each column, if it is as long as there are columns.
    Row(Input<'py, T>),
    /// NumPy's to broadcast, or to refuse.
    Broadcast,
}

impl<'py, T: Float> Added<'py, T> {
    fn of(b: &Bound<'py, PyAny>) -> Result<Self> {
        if b.cast::<PyUntypedArray>().is_ok_and(|b| b.ndim() == 1) {
            return Ok(Self::Row(Input::new(b)?));
        }
        let zero = b.is_exact_instance_of::<PyInt>() && b.extract::<i64>().is_ok_and(|b| b == 0);
        Ok(if zero { Self::Nothing } else { Self::Broadcast })
    }
}

fn product<'py, T: Float>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    bias: Option<Input<'py, T>>,
) -> Result<Bound<'py, PyArrayDyn<T>>> {
    let (x_array, w_array) = (Input::<T>::strided(x)?, Input::<T>::strided(w)?);
    let (a, b) = (x_array.matrix()?, w_array.matrix()?);
    let ([m, k], [k_w, n]) = (a.shape(), b.shape());
    if k != k_w {
        return Err(not_aligned(x_array.shape(), 1, w_array.shape(), 0));
    }
    let bias = match &bias {
        None => Bias::None,
        Some(bias) if bias.shape() == [n] => Bias::PerColumn(bias.slice()?),
        Some(bias) if bias.shape() == [1] => {
            // The one case of a row that broadcasts.
            let bias = vec![bias.slice()?[0]; n];
            return product_with(x.py(), a, b, Bias::PerColumn(&bias));
        }
        Some(bias) => {
            let (y, b) = ([m, n], bias.shape());
            return Err(Error::value(format!(
                "operands could not be broadcast together with shapes {} {}",
                Shape(&y),
                Shape(b)
            )));
        }
    };
    product_with(x.py(), a, b, bias)
}

fn product_with<'py, T: Float>(
    py: Python<'py>,
    a: kasoku_kernels::MatRef<'_, T>,
    b: kasoku_kernels::MatRef<'_, T>,
    bias: Bias<'_, T>,
) -> Result<Bound<'py, PyArrayDyn<T>>> {
    let ([m, k], n) = (a.shape(), b.cols());
    let mut y = Output::new(py, &[m, n])?;
    let c = MatMut::new(y.slice_mut(), [m, n])?;
    let epilogue = Epilogue { bias, relu: false };
    compute(py, m * n * k, || gemm_with(T::one(), a, b, T::zero(), c, epilogue))?;
    Ok(y.into_array())
}

/// The ValueError of `numpy.dot`.
pub(crate) fn not_aligned(a: &[usize], axis_a: usize, b: &[usize], axis_b: usize) -> Error {
    Error::value(format!(
        "shapes {} and {} not aligned: {} (dim {axis_a}) != {} (dim {axis_b})",
        Shape(a),
        Shape(b),
        a[axis_a],
        b[axis_b]
    ))
}

/// (dout·Wᵀ, xᵀ·dout, dout summed over its rows) for x (N, D), W (D, M) and dout (N, M).
#[pyfunction]
#[allow(clippy::type_complexity)] // the three gradients
pub(crate) fn affine_backward<'py>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
) -> Result<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let Some(precision) = Precision::of(&[x, w, dout])? else { return Ok(None) };
    with_float!(precision, T => {
        let (dx, dw, db) = gradients::<T>(x, w, dout)?;
        Ok(Some((precision.finish(dx)?, precision.finish(dw)?, precision.finish(db)?)))
    })
}

type Gradients<'py, T> =
    (Bound<'py, PyArrayDyn<T>>, Bound<'py, PyArrayDyn<T>>, Bound<'py, PyArrayDyn<T>>);

fn gradients<'py, T: Float>(
    x: &Bound<'py, PyAny>,
    w: &Bound<'py, PyAny>,
    dout: &Bound<'py, PyAny>,
) -> Result<Gradients<'py, T>> {
    let py = x.py();
    let (x_array, w_array) = (Input::<T>::strided(x)?, Input::<T>::strided(w)?);
    let dout_array = Input::<T>::new(dout)?;
    let (x, w, dout) = (x_array.matrix()?, w_array.matrix()?, dout_array.matrix()?);
    let ([rows, inputs], [inputs_w, outputs]) = (x.shape(), w.shape());
    if dout.cols() != outputs {
        return Err(not_aligned(&dout.shape(), 1, &[outputs, inputs_w], 0));
    }
    if dout.rows() != rows || inputs != inputs_w {
        return Err(not_aligned(&[inputs, rows], 1, &dout.shape(), 0));
    }
    let mut dx = Output::new(py, &[rows, inputs])?;
    let mut dw = Output::new(py, &[inputs, outputs])?;
    let mut db = Output::new(py, &[outputs])?;
    let dx_matrix = MatMut::new(dx.slice_mut(), [rows, inputs])?;
    let dw_matrix = MatMut::new(dw.slice_mut(), [inputs, outputs])?;
    let (db_slice, dout_slice) = (db.slice_mut(), dout_array.slice()?);
    compute(py, rows * inputs * outputs, || {
        let (one, zero) = (T::one(), T::zero());
        gemm(one, dout, w.t(), zero, dx_matrix)?;
        gemm(one, x.t(), dout, zero, dw_matrix)?;
        reduce::sum_axis([1, rows, outputs], dout_slice, db_slice)
    })?;
    Ok((dx.into_array(), dw.into_array(), db.into_array()))
}
