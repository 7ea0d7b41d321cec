//! `kasoku._core.optimizer`: one update of all parameters.
//!
//! Everything is checked before anything is written. What no kernel takes (another type or layout, an array that stands
//! under two names) is left to NumPy: its keys are returned.

use std::collections::HashSet;

use kasoku_kernels::optimize::{AdaGrad, Adam, Momentum, Nesterov, RmsProp, Sgd};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::{Float, InOut, Input, Precision, Shape, compute, is_writable};
use crate::error::{Error, Result};

/// Added to roots before dividing by them.
const EPSILON: f64 = 1e-7;

/// A rule with its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    Sgd { lr: f64 },
    Momentum { lr: f64, momentum: f64 },
    Nesterov { lr: f64, momentum: f64 },
    AdaGrad { lr: f64 },
    RmsProp { lr: f64, decay_rate: f64 },
    Adam { lr: f64, beta1: f64, beta2: f64, step: u64 },
}

impl Rule {
    /// The rule of a name and its numbers; `None` where there is no such rule.
    pub(crate) fn of(name: &str, numbers: &[f64]) -> Option<Self> {
        Some(match (name, numbers) {
            ("sgd", &[lr]) => Self::Sgd { lr },
            ("momentum", &[lr, momentum]) => Self::Momentum { lr, momentum },
            ("nesterov", &[lr, momentum]) => Self::Nesterov { lr, momentum },
            ("adagrad", &[lr]) => Self::AdaGrad { lr },
            ("rmsprop", &[lr, decay_rate]) => Self::RmsProp { lr, decay_rate },
            ("adam", &[lr, beta1, beta2, step]) => {
                Self::Adam { lr, beta1, beta2, step: step as u64 }
            }
            _ => return None,
        })
    }

    /// One step of one parameter; `state` holds as many arrays as the rule has.
    pub(crate) fn update<T: Float>(
        self,
        p: &mut [T],
        g: &[T],
        state: &mut [&mut [T]],
    ) -> kasoku_kernels::Result<()> {
        let (weight_decay, epsilon) = (T::zero(), T::of(EPSILON));
        match (self, state) {
            (Self::Sgd { lr }, _) => Sgd { lr: T::of(lr), weight_decay }.update(p, g),
            (Self::Momentum { lr, momentum }, [v, ..]) => {
                Momentum { lr: T::of(lr), momentum: T::of(momentum), weight_decay }.update(p, g, v)
            }
            (Self::Nesterov { lr, momentum }, [v, ..]) => {
                Nesterov { lr: T::of(lr), momentum: T::of(momentum), weight_decay }.update(p, g, v)
            }
            (Self::AdaGrad { lr }, [h, ..]) => {
                AdaGrad { lr: T::of(lr), epsilon, weight_decay }.update(p, g, h)
            }
            (Self::RmsProp { lr, decay_rate }, [h, ..]) => {
                let decay_rate = T::of(decay_rate);
                RmsProp { lr: T::of(lr), decay_rate, epsilon, weight_decay }.update(p, g, h)
            }
            (Self::Adam { lr, beta1, beta2, step }, [m, v, ..]) => {
                let [lr, beta1, beta2] = [lr, beta1, beta2].map(T::of);
                Adam { lr, beta1, beta2, epsilon, weight_decay }.update(step, p, g, m, v)
            }
            (_, _) => Ok(()), // every rule is called with its state
        }
    }
}

/// One parameter with its gradient and the rule's state, all of one type, shape and layout.
struct Job<'py> {
    p: Bound<'py, PyAny>,
    g: Bound<'py, PyAny>,
    state: Vec<Bound<'py, PyAny>>,
}

/// The same, borrowed.
struct Borrowed<'py, T: Float> {
    p: InOut<'py, T>,
    g: Input<'py, T>,
    state: Vec<InOut<'py, T>>,
}

impl<'py> Job<'py> {
    /// The precision of the kernel that takes this; `None` where NumPy has to.
    fn precision(&self) -> Option<Precision> {
        let precision = Precision::of_array(&self.p)?;
        let shape = self.p.cast::<PyUntypedArray>().ok()?.shape();
        let fits = |array: &Bound<'_, PyAny>| {
            array.cast::<PyUntypedArray>().is_ok_and(|array| {
                array.shape() == shape && array.is_c_contiguous() && array.is_aligned()
            }) && Precision::of_array(array) == Some(precision)
        };
        let all = fits(&self.p) && fits(&self.g) && self.state.iter().all(fits);
        all.then_some(precision)
    }

    /// # Errors
    /// `ValueError` where NumPy could not write the update either.
    fn check(&self) -> Result<()> {
        let (Ok(p), Ok(g)) = (self.p.cast::<PyUntypedArray>(), self.g.cast::<PyUntypedArray>())
        else {
            return Ok(());
        };
        if !is_writable(p) {
            return Err(Error::value("output array is read-only"));
        }
        let (p, g) = (p.shape(), g.shape());
        let broadcasts = g.len() <= p.len()
            && g.iter().rev().zip(p.iter().rev()).all(|(&g, &p)| g == p || g == 1);
        if broadcasts {
            return Ok(());
        }
        Err(Error::value(format!(
            "operands could not be broadcast together with shapes {} {}",
            Shape(p),
            Shape(g)
        )))
    }

    fn borrow<T: Float>(&self) -> Result<Borrowed<'py, T>> {
        let changed = || Error::runtime("an array changed while it was being updated");
        let write = |array| InOut::new(array)?.ok_or_else(changed);
        let state = self.state.iter().map(write).collect::<Result<_>>()?;
        Ok(Borrowed { p: write(&self.p)?, g: Input::new(&self.g)?, state })
    }
}

/// Updates every parameter that a kernel takes; returns the keys of the others.
fn update_all<'py>(
    rule: Rule,
    params: &Bound<'py, PyDict>,
    grads: &Bound<'py, PyAny>,
    states: &[Bound<'py, PyAny>],
) -> Result<Vec<Bound<'py, PyAny>>> {
    let (mut single, mut double, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (key, p) in params {
        let g = grads.get_item(&key)?;
        let state = states.iter().map(|state| state.get_item(&key)).collect::<PyResult<_>>()?;
        let job = Job { p, g, state };
        job.check()?;
        let alone = seen.insert(job.p.as_ptr()) && !job.g.is(&job.p);
        match job.precision().filter(|_| alone) {
            Some(Precision::Double) => double.push(job),
            Some(_) => single.push(job),
            None => left.push(key),
        }
    }
    let py = params.py();
    let mut single = single.iter().map(Job::borrow::<f32>).collect::<Result<Vec<_>>>()?;
    let mut double = double.iter().map(Job::borrow::<f64>).collect::<Result<Vec<_>>>()?;
    run(py, rule, &mut single)?;
    run(py, rule, &mut double)?;
    Ok(left)
}

fn run<T: Float>(py: Python<'_>, rule: Rule, jobs: &mut [Borrowed<'_, T>]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut slices = Vec::with_capacity(jobs.len());
    for job in jobs {
        let state = job.state.iter_mut().map(InOut::slice_mut).collect::<Result<Vec<_>>>()?;
        slices.push((job.p.slice_mut()?, job.g.slice()?, state));
    }
    let work = slices.iter().map(|(p, ..)| 4 * p.len()).sum();
    compute(py, work, || slices.iter_mut().try_for_each(|(p, g, state)| rule.update(p, g, state)))
}

/// One update of all parameters.
#[pymodule]
pub(crate) mod optimizer {
    use super::*;

    /// One step of the rule of this name with its numbers, which finds its `states` under the parameters' keys. Returns the keys of
    /// what is left to NumPy.
    #[pyfunction]
    fn update<'py>(
        params: &Bound<'py, PyDict>,
        grads: &Bound<'py, PyAny>,
        rule: &str,
        numbers: Vec<f64>,
        states: Vec<Bound<'py, PyAny>>,
    ) -> Result<Vec<Bound<'py, PyAny>>> {
        let unknown =
            || Error::value(format!("there is no rule {rule:?} of the numbers {numbers:?}"));
        let rule = Rule::of(rule, &numbers).ok_or_else(unknown)?;
        update_all(rule, params, grads, &states)
    }
}
