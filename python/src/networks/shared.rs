//! A network and the arrays that Python sees of it.
//!
//! The network owns its parameters; `params` hands out NumPy arrays that are kept equal to them: an edit is read in before
//! each call, and a step of training is written back after it. Copies cost little beside a step, nothing while nobody holds the
//! arrays, and no memory is ever written by the one side while the other looks at it.
//!
//! The lock is only taken with the interpreter released, and nothing of Python runs under it: threads that share a network take
//! turns, and cannot block each other for good.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use kasoku_nn::networks::Sequential;
use ndarray::ArrayD;
use numpy::{PyArray, PyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::{Float, InOut, Input, Shape};
use crate::error::{Error, Result};

/// Names and shapes, in the network's order.
pub(super) type Shapes = Vec<(String, Vec<usize>)>;

/// A [`Sequential`] with the arrays that Python sees of it.
pub(super) struct Shared<T: Float> {
    net: Mutex<Sequential<T>>,
    /// What `params` gave, while somebody holds it.
    params: Mutex<Option<Py<PyDict>>>,
    /// The parameters.
    pub(super) parameters: Shapes,
    /// The parameters, and what batch normalisation keeps.
    pub(super) state: Shapes,
    /// How many scores a sample gets.
    pub(super) classes: usize,
}

impl<T: Float> Shared<T> {
    pub(super) fn new(mut net: Sequential<T>) -> Result<Self> {
        let parameters = net.parameters().into_iter();
        let parameters = parameters.map(|(name, p)| (name, p.value.shape().to_vec())).collect();
        let state = net.state().into_iter();
        let state = state.map(|(name, value)| (name, value.shape().to_vec())).collect();
        let input = net.input_shape().to_vec();
        let output =
            net.layers().iter().try_fold(input, |shape, layer| layer.output_shape(&shape))?;
        let classes = output.iter().product();
        Ok(Self { net: Mutex::new(net), params: Mutex::new(None), parameters, state, classes })
    }

    /// Runs `work` on the network alone, with the interpreter released. A panic becomes a `RuntimeError`.
    fn locked<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Sequential<T>) -> kasoku_nn::Result<R> + Send,
    ) -> Result<R> {
        let result = py.detach(|| {
            let mut net = self.net.lock().unwrap_or_else(PoisonError::into_inner);
            catch_unwind(AssertUnwindSafe(|| work(&mut net)))
        });
        match result {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::runtime("a network failed: this is a bug in kasoku")),
        }
    }

    /// Runs `work`, which leaves the parameters as they are, on the network with the edits of `params`.
    pub(super) fn read<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Sequential<T>) -> kasoku_nn::Result<R> + Send,
    ) -> Result<R> {
        let Some((arrays, held)) = self.arrays(py)? else { return self.locked(py, work) };
        let edits: Vec<Input<'_, T>> =
            arrays.iter().map(|array| Input::new(array.as_any())).collect::<Result<_>>()?;
        let edits: Vec<&[T]> = edits.iter().map(Input::slice).collect::<Result<_>>()?;
        let result = self.locked(py, |net| {
            fill(net, &edits);
            work(net)
        })?;
        self.forget_unless(held);
        Ok(result)
    }

    /// Runs `work`, which changes the parameters, on the network with the edits of `params`, which show the change.
    pub(super) fn write<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Sequential<T>) -> kasoku_nn::Result<R> + Send,
    ) -> Result<R> {
        let Some((arrays, held)) = self.arrays(py)? else { return self.locked(py, work) };
        let mut borrowed = Vec::new();
        for array in &arrays {
            borrowed.extend(InOut::<T>::new(array.as_any())?);
        }
        let mut shown: Vec<&mut [T]> =
            borrowed.iter_mut().map(InOut::slice_mut).collect::<Result<_>>()?;
        let result = self.locked(py, |net| {
            fill(net, &shown);
            let result = work(net)?;
            for ((_, parameter), shown) in net.parameters().into_iter().zip(&mut shown) {
                if let Some(value) = parameter.value.as_slice() {
                    shown.copy_from_slice(value);
                }
            }
            Ok(result)
        })?;
        self.forget_unless(held);
        Ok(result)
    }

    /// The dict of parameters, alive for as long as somebody holds it or one of its arrays.
    pub(super) fn params<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        if let Some(params) = self.shown(py) {
            return Ok(params);
        }
        let values = self.locked(py, |net| Ok(copies(net, |parameter| &parameter.value)))?;
        let params = self.dict(py, &self.parameters, values)?;
        let mut shown = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster: there is only one dict.
        Ok(shown.get_or_insert_with(|| params.unbind()).bind(py).clone())
    }

    /// A dict of `arrays` by the names of `shapes`.
    pub(super) fn dict<'py>(
        &self,
        py: Python<'py>,
        shapes: &Shapes,
        arrays: Vec<ArrayD<T>>,
    ) -> Result<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for ((name, _), array) in shapes.iter().zip(arrays) {
            dict.set_item(name, PyArray::from_owned_array(py, array))?;
        }
        Ok(dict)
    }

    fn shown<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDict>> {
        let shown = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|params| params.bind(py).clone())
    }

    /// The arrays of `params`, of the right shape and type, in the network's order, and whether anybody else holds them.
    ///
    /// # Errors
    /// `KeyError` for a name that is missing, `ValueError` for one too many and for an array of another shape.
    #[allow(clippy::type_complexity)]
    fn arrays<'py>(
        &self,
        py: Python<'py>,
    ) -> Result<Option<(Vec<Bound<'py, PyArrayDyn<T>>>, bool)>> {
        let Some(params) = self.shown(py) else { return Ok(None) };
        let arrays = check_names(&params, &self.parameters, "params")?;
        // One reference is the dict's, one ours; of the dict, one is the network's.
        let mut held = references(&params) > 2;
        let mut live = Vec::new();
        for ((name, shape), array) in self.parameters.iter().zip(arrays) {
            held |= references(&array) > 2;
            let input = Input::<T>::new(&array)?;
            check_shape(name, input.shape(), shape)?;
            let usable = array
                .cast::<PyArrayDyn<T>>()
                .is_ok_and(|array| array.is_c_contiguous() && array.is_aligned());
            if usable {
                drop(input);
                live.push(array.cast_into::<PyArrayDyn<T>>().map_err(PyErr::from)?);
            } else {
                // A list, another type or layout: from now on its copy is the parameter.
                let copy = ArrayD::from_shape_vec(shape.as_slice(), input.slice()?.to_vec());
                let copy = copy.map_err(|error| Error::value(error.to_string()))?;
                let copy = PyArray::from_owned_array(py, copy);
                params.set_item(name, &copy)?;
                live.push(copy);
            }
        }
        Ok(Some((live, held)))
    }

    /// Arrays that nobody else holds cannot be edited: they are made again when they are asked for.
    fn forget_unless(&self, held: bool) {
        if !held {
            let forgotten = self.params.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(forgotten);
        }
    }
}

/// How many references there are to an object, ours included.
fn references<T>(object: &Bound<'_, T>) -> isize {
    // SAFETY: the object is alive.
    unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) }
}

/// The arrays of a dict that must have the names of `shapes` and no others.
pub(super) fn check_names<'py>(
    dict: &Bound<'py, PyDict>,
    shapes: &Shapes,
    what: &str,
) -> Result<Vec<Bound<'py, PyAny>>> {
    for name in dict.keys() {
        let name: String = name.str()?.extract()?;
        if shapes.iter().all(|(known, _)| *known != name) {
            let known = shapes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::value(format!("{what}: {name:?} is none of {known}")));
        }
    }
    let array = |(name, _): &(String, Vec<usize>)| {
        let missing = || Error::value(format!("{what}: {name:?} is missing"));
        dict.get_item(name)?.ok_or_else(missing)
    };
    shapes.iter().map(array).collect()
}

/// Checks the shape of the array `name`.
pub(super) fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (Shape(found), Shape(expected));
    Err(Error::value(format!("{name}: the shape is {found}, expected {expected}")))
}

/// Makes the network's parameters those of `edits`.
fn fill<T: Float, S: AsRef<[T]>>(net: &mut Sequential<T>, edits: &[S]) {
    for ((_, parameter), edit) in net.parameters_mut().into_iter().zip(edits) {
        if let Some(value) = parameter.value.as_slice_mut() {
            value.copy_from_slice(edit.as_ref());
        }
    }
}

/// Copies of one array of each parameter.
pub(super) fn copies<T: Float>(
    net: &Sequential<T>,
    of: impl Fn(&kasoku_nn::layers::Parameter<T>) -> &ArrayD<T>,
) -> Vec<ArrayD<T>> {
    net.parameters().into_iter().map(|(_, parameter)| of(parameter).clone()).collect()
}
