//! NumPy arrays as kernels want them, and results as NumPy arrays.
//!
//! The common case, an aligned `float32` or `float64` array in C order, is borrowed where it lies. Anything else (another
//! layout or type, a list, a number) goes through NumPy's own conversion once.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kasoku_kernels::MatRef;
use numpy::npyffi::{
    _PyArray_GET_ITEM_DATA, NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_FORCECAST,
    NPY_ARRAY_NOTSWAPPED, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp,
};
use numpy::{
    PyArrayDescr, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn,
    PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::marker::Ungil;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyInt, PyTuple};

use crate::error::{Error, Result};
use crate::recycle::{SMALLEST, recycled};

/// What a kernel and NumPy both know: `f32` and `f64`.
pub(crate) trait Float: kasoku_kernels::Element + numpy::Element {}
impl Float for f32 {}
impl Float for f64 {}

/// The type a call is computed in, and its result is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Computed in `float32`, rounded to `float16`.
    Half,
    Single,
    Double,
}

/// Runs `$body` with `$T` standing for the type that `$precision` is computed in.
macro_rules! with_float {
    ($precision:expr, $T:ident => $body:expr) => {
        match $precision {
            $crate::array::Precision::Double => {
                type $T = f64;
                $body
            }
            $crate::array::Precision::Single | $crate::array::Precision::Half => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(crate) use with_float;

impl Precision {
    /// NumPy's promotion of the operands; `None` where all are integers and booleans, for which NumPy needs no floats.
    ///
    /// # Errors
    /// `TypeError` for complex numbers and what is no number.
    pub(crate) fn of(operands: &[&Bound<'_, PyAny>]) -> Result<Option<Self>> {
        let (mut single, mut double) = (false, false);
        for operand in operands {
            match Self::of_array(operand) {
                Some(Self::Double) => double = true,
                Some(_) => single = true,
                None if is_number(operand) => {} // as in NumPy, it takes the type of the arrays
                None => return Self::promoted(operands),
            }
        }
        match (single, double) {
            (_, true) => Ok(Some(Self::Double)),
            (true, false) => Ok(Some(Self::Single)),
            (false, false) => Self::promoted(operands),
        }
    }

    /// The precision of an `ndarray` that kernels can read as it is, or after a copy to C order.
    pub(crate) fn of_array(operand: &Bound<'_, PyAny>) -> Option<Self> {
        let py = operand.py();
        let dtype = operand.cast_exact::<PyUntypedArray>().ok()?.dtype();
        if dtype.is(numpy::dtype::<f64>(py)) {
            return Some(Self::Double);
        }
        dtype.is(numpy::dtype::<f32>(py)).then_some(Self::Single)
    }

    fn promoted(operands: &[&Bound<'_, PyAny>]) -> Result<Option<Self>> {
        let dtype = result_type(operands)?;
        match (dtype.kind(), dtype.itemsize()) {
            (b'f', 2) => Ok(Some(Self::Half)),
            (b'f', 4) => Ok(Some(Self::Single)),
            (b'f', 8) => Ok(Some(Self::Double)),
            (b'b' | b'i' | b'u', _) => Ok(None),
            _ => Err(Error::type_error(format!(
                "kasoku computes with floats, integers and booleans, not with dtype {dtype}"
            ))),
        }
    }

    /// As [`Precision::of`] for what passes through the book's `im2col`, which knows no type narrower than `float64`;
    /// only `float32` stays what it is.
    pub(crate) fn of_columns(operands: &[&Bound<'_, PyAny>]) -> Result<Self> {
        let precision = Self::of(operands)?;
        Ok(precision.filter(|&precision| precision == Self::Single).unwrap_or(Self::Double))
    }

    /// `array` in this precision's own type.
    pub(crate) fn finish<'py, T: Float>(
        self,
        array: Bound<'py, PyArrayDyn<T>>,
    ) -> Result<Bound<'py, PyAny>> {
        match self {
            Self::Half => Ok(array.call_method1("astype", ("float16",))?),
            _ => Ok(array.into_any()),
        }
    }
}

/// Whether this is one of Python's own numbers.
fn is_number(operand: &Bound<'_, PyAny>) -> bool {
    operand.is_exact_instance_of::<PyInt>() || operand.is_exact_instance_of::<PyFloat>()
}

/// `numpy.result_type` of the operands.
fn result_type<'py>(operands: &[&Bound<'py, PyAny>]) -> Result<Bound<'py, PyArrayDescr>> {
    static RESULT_TYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static AS_ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(py) = operands.first().map(|operand| operand.py()) else {
        return Err(Error::value("nothing to compute with"));
    };
    let as_array = AS_ARRAY.import(py, "numpy", "asarray")?;
    // Lists become arrays first; Python's numbers stay what they are, weak.
    let operands = operands
        .iter()
        .map(|operand| match operand.cast::<PyUntypedArray>() {
            Ok(_) => Ok((*operand).clone()),
            Err(_) if operand.hasattr("__float__")? => Ok((*operand).clone()),
            Err(_) => as_array.call1((operand,)),
        })
        .collect::<PyResult<Vec<_>>>()?;
    let dtype =
        RESULT_TYPE.import(py, "numpy", "result_type")?.call1(PyTuple::new(py, operands)?)?;
    Ok(dtype.cast_into::<PyArrayDescr>().map_err(PyErr::from)?)
}

/// An array to read, borrowed from NumPy for as long as this lives: a kernel that wants to write to it meanwhile is refused.
pub(crate) struct Input<'py, T: Float>(PyReadonlyArrayDyn<'py, T>);

impl<'py, T: Float> Input<'py, T> {
    /// `object` in C order.
    pub(crate) fn new(object: &Bound<'py, PyAny>) -> Result<Self> {
        match object.cast::<PyArrayDyn<T>>() {
            Ok(array) if array.is_c_contiguous() && array.is_aligned() => Self::borrow(array),
            _ => Self::borrow(&convert(object)?),
        }
    }

    /// `object` in any order, as long as its strides are whole elements.
    pub(crate) fn strided(object: &Bound<'py, PyAny>) -> Result<Self> {
        match object.cast::<PyArrayDyn<T>>() {
            Ok(array) if array.is_aligned() && has_whole_strides(array) => Self::borrow(array),
            _ => Self::borrow(&convert(object)?),
        }
    }

    fn borrow(array: &Bound<'py, PyArrayDyn<T>>) -> Result<Self> {
        Ok(Self(array.try_readonly().map_err(borrowed)?))
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The elements, in C order. An error for a strided input.
    pub(crate) fn slice(&self) -> Result<&[T]> {
        self.0.as_slice().map_err(|error| Error::value(error.to_string()))
    }

    /// The matrix this is.
    ///
    /// # Errors
    /// `ValueError` where it has other than two dimensions.
    pub(crate) fn matrix(&self) -> Result<MatRef<'_, T>> {
        let (&[rows, cols], &[row_stride, col_stride]) = (self.shape(), self.0.strides()) else {
            let message = format!("expected a matrix, got shape {}", Shape(self.shape()));
            return Err(Error::value(message));
        };
        let size = size_of::<T>() as isize;
        let strides = [row_stride / size, col_stride / size];
        // SAFETY: NumPy's shape and strides describe memory that the read-only borrow keeps alive and unwritten;
        // it is aligned and its strides are whole elements, as `new` and `strided` checked.
        Ok(unsafe { MatRef::from_raw_parts(self.0.data(), [rows, cols], strides) })
    }

    /// The matrix this is, a vector counting as a row.
    ///
    /// # Errors
    /// `ValueError` where it has no dimension, or more than two.
    pub(crate) fn row_matrix(&self) -> Result<MatRef<'_, T>> {
        let (&[len], &[stride]) = (self.shape(), self.0.strides()) else { return self.matrix() };
        // SAFETY: as in `matrix`.
        Ok(unsafe {
            MatRef::from_raw_parts(self.0.data(), [1, len], [0, stride / size_of::<T>() as isize])
        })
    }

    /// Its shape, where it has `N` dimensions.
    pub(crate) fn dims<const N: usize>(&self, what: &str) -> Result<[usize; N]> {
        self.shape().try_into().map_err(|_| {
            Error::value(format!(
                "{what}: expected an array of {N} dimensions, got shape {}",
                Shape(self.shape())
            ))
        })
    }
}

fn has_whole_strides<T: Float>(array: &Bound<'_, PyArrayDyn<T>>) -> bool {
    array.strides().iter().all(|stride| stride % size_of::<T>() as isize == 0)
}

/// An aligned array of `T` in C order, by NumPy's conversion.
pub(crate) fn convert<'py, T: numpy::Element>(
    object: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyArrayDyn<T>>> {
    let py = object.py();
    let requirements =
        NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST;
    // SAFETY: the object is alive, the descriptor's reference is given away as `PyArray_FromAny` wants, and it
    // returns a new reference or NULL with an exception set.
    let array = unsafe {
        let dtype = numpy::dtype::<T>(py).into_dtype_ptr();
        let array = PY_ARRAY_API.PyArray_FromAny(
            py,
            object.as_ptr(),
            dtype,
            0,
            0,
            requirements,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, array)?
    };
    Ok(array.cast_into::<PyArrayDyn<T>>().map_err(PyErr::from)?)
}

/// An array to write, borrowed from NumPy for as long as this lives.
pub(crate) struct InOut<'py, T: Float>(PyReadwriteArrayDyn<'py, T>);

impl<'py, T: Float> InOut<'py, T> {
    /// `array` as it lies: `None` where it is not an aligned, writable array of `T` in C order.
    pub(crate) fn new(array: &Bound<'py, PyAny>) -> Result<Option<Self>> {
        match array.cast::<PyArrayDyn<T>>() {
            Ok(array) if array.is_c_contiguous() && array.is_aligned() => {
                Ok(Some(Self(array.try_readwrite().map_err(borrowed)?)))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    pub(crate) fn slice_mut(&mut self) -> Result<&mut [T]> {
        self.0.as_slice_mut().map_err(|error| Error::value(error.to_string()))
    }
}

/// Whether NumPy lets it be written to.
pub(crate) fn is_writable(array: &Bound<'_, PyUntypedArray>) -> bool {
    // SAFETY: the pointer is that of a live array.
    let flags = unsafe { (*_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags };
    flags & NPY_ARRAY_WRITEABLE != 0
}

fn borrowed(error: numpy::BorrowError) -> Error {
    match error {
        numpy::BorrowError::NotWriteable => {
            Error::value("assignment destination is read-only".to_owned())
        }
        _ => Error::runtime(
            "the array is in use by another kernel: one thread writes what another reads"
                .to_owned(),
        ),
    }
}

/// A new array that nobody else holds yet.
pub(crate) struct Output<'py, T: numpy::Element>(Bound<'py, PyArrayDyn<T>>);

impl<'py, T: numpy::Element> Output<'py, T> {
    /// To be written to: its numbers are what was left there. (Truth values, of which not every byte is one, are
    /// false.)
    ///
    /// # Errors
    /// `MemoryError` where there is no room for them.
    pub(crate) fn new(py: Python<'py>, shape: &[usize]) -> Result<Self> {
        let count = shape.len() as c_int;
        let bytes = shape.iter().fold(size_of::<T>(), |bytes, &size| bytes.saturating_mul(size));
        // NumPy writes to the sizes it is given.
        let mut shape: Vec<_> = shape.iter().map(|&size| size as npy_intp).collect();
        let (dtype, sizes) = (numpy::dtype::<T>(py), shape.as_mut_ptr());
        // SAFETY: `shape` holds `count` sizes, the descriptor's reference is given away as both functions want, and they
        // return a new reference or NULL with an exception set.
        let make = || unsafe {
            let array = match dtype.kind() {
                b'b' => PY_ARRAY_API.PyArray_Zeros(py, count, sizes, dtype.into_dtype_ptr(), 0),
                _ => PY_ARRAY_API.PyArray_Empty(py, count, sizes, dtype.into_dtype_ptr(), 0),
            };
            Bound::from_owned_ptr_or_err(py, array)
        };
        let array = if bytes < SMALLEST { make()? } else { recycled(py, make)? };
        Ok(Self(array.cast_into::<PyArrayDyn<T>>().map_err(PyErr::from)?))
    }

    pub(crate) fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: `new` made it contiguous and aligned, and no one else has a reference to it yet. What it holds are valid
        // elements, whatever the C allocator left there; kernels write them before they read them.
        unsafe { self.0.as_slice_mut() }.expect("a new array is contiguous")
    }

    pub(crate) fn into_array(self) -> Bound<'py, PyArrayDyn<T>> {
        self.0
    }
}

/// Work (elements touched, or multiply-adds) below which releasing the interpreter costs more than it gives.
const RELEASE_WORK: usize = 1 << 13;

/// Runs `kernel` with the interpreter released where `work` is worth it. A panic becomes a `RuntimeError`.
pub(crate) fn compute<R: Ungil + Send>(
    py: Python<'_>,
    work: usize,
    kernel: impl FnOnce() -> kasoku_kernels::Result<R> + Ungil + Send,
) -> Result<R> {
    let guarded = || catch_unwind(AssertUnwindSafe(kernel));
    let result = if work < RELEASE_WORK { guarded() } else { py.detach(guarded) };
    match result {
        Ok(result) => Ok(result?),
        Err(_) => Err(PyRuntimeError::new_err("a kernel failed: this is a bug in kasoku").into()),
    }
}

/// A shape as Python writes it.
pub(crate) struct Shape<'a>(pub(crate) &'a [usize]);

impl std::fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [only] => write!(f, "({only},)"),
            dims => {
                let dims = dims.iter().map(ToString::to_string).collect::<Vec<_>>();
                write!(f, "({})", dims.join(","))
            }
        }
    }
}
