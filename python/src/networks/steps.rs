//! The order of the samples, and the learning rate, over a run of training.

use kasoku_nn::trainer::{self, Sampling, Schedule, Trainer};
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// One step of a run: which samples, and the factor of the learning rate.
#[pyclass(frozen, module = "kasoku._core.networks")]
pub(crate) struct Step(pub(super) trainer::Step);

#[pymethods]
impl Step {
    /// Its epoch, from 1.
    #[getter]
    fn epoch(&self) -> usize {
        self.0.epoch
    }

    /// What the optimizer's own learning rate is multiplied by.
    #[getter]
    fn factor(&self) -> f64 {
        self.0.factor
    }

    /// Whether it is the last of its epoch.
    #[getter]
    fn ends_epoch(&self) -> bool {
        self.0.ends_epoch
    }

    /// Its samples.
    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<usize>> {
        self.0.indices.to_pyarray(py)
    }

    fn __len__(&self) -> usize {
        self.0.indices.len()
    }
}

/// The steps of a run, in order.
#[pyclass(frozen, module = "kasoku._core.networks")]
pub(crate) struct Steps(Mutex<trainer::Steps>);

#[pymethods]
impl Steps {
    /// `schedule` is a name and its numbers: ("constant",), ("step", epochs, factor), ("exponential", factor) or ("cosine", last).
    #[new]
    fn new(
        samples: usize,
        epochs: usize,
        batch_size: usize,
        seed: u64,
        replacement: bool,
        schedule: (String, Vec<f64>),
    ) -> Result<Self> {
        let sampling = if replacement { Sampling::Choice } else { Sampling::Shuffle };
        let schedule = match (schedule.0.as_str(), schedule.1.as_slice()) {
            ("constant", []) => Schedule::Constant,
            ("step", &[epochs, factor]) if epochs >= 1.0 => {
                Schedule::Step { epochs: epochs as usize, factor }
            }
            ("exponential", &[factor]) => Schedule::Exponential { factor },
            ("cosine", &[last]) => Schedule::Cosine { last },
            (name, numbers) => {
                return Err(Error::value(format!(
                    "schedule {name:?} with {numbers:?}: expected 'constant', ('step', epochs, factor), ('exponential', factor), \
                     ('cosine', last) or a function"
                )));
            }
        };
        let trainer =
            Trainer { epochs, batch_size, seed, sampling, schedule, ..Trainer::default() };
        Ok(Self(Mutex::new(trainer.steps(samples)?)))
    }

    fn __len__(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn __iter__(steps: PyRef<'_, Self>) -> PyRef<'_, Self> {
        steps
    }

    fn __next__(&self) -> Option<Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next().map(Step)
    }
}
