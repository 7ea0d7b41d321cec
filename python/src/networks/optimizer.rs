//! Optimizers that update a network's parameters where they lie.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kasoku_nn::optimizers::{self as nn, OptimizerKind};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::array::Float;
use crate::error::{Error, Result};

/// An optimizer of [`kasoku_nn`] with its state; it belongs to the network it first updates.
#[pyclass(frozen, module = "kasoku._core.networks")]
pub(crate) struct Optimizer {
    kind: OptimizerKind,
    /// The numbers of the rule that are not the book's, by name.
    numbers: Vec<(String, f64)>,
    state: Mutex<State>,
}

struct State {
    lr: f64,
    rule: Option<Rule>,
    /// The shapes of the parameters it updates.
    shapes: Vec<Vec<usize>>,
}

/// The rule in the type of its network.
pub(super) enum Rule {
    Single(Box<dyn nn::Optimizer<f32>>),
    Double(Box<dyn nn::Optimizer<f64>>),
}

/// What a rule and a network have in common.
pub(super) trait Ruled: Float {
    fn wrap(rule: Box<dyn nn::Optimizer<Self>>) -> Rule;
    fn unwrap(rule: &mut Rule) -> Option<&mut dyn nn::Optimizer<Self>>;
}

macro_rules! impl_ruled {
    ($float:ty, $variant:ident) => {
        impl Ruled for $float {
            fn wrap(rule: Box<dyn nn::Optimizer<Self>>) -> Rule {
                Rule::$variant(rule)
            }

            fn unwrap(rule: &mut Rule) -> Option<&mut dyn nn::Optimizer<Self>> {
                match rule {
                    Rule::$variant(rule) => Some(rule.as_mut()),
                    _ => None,
                }
            }
        }
    };
}

impl_ruled!(f32, Single);
impl_ruled!(f64, Double);

/// The rule of `kind` with the book's numbers, but for `numbers`.
///
/// # Errors
/// `TypeError` for a number that the rule does not have.
fn build<T: Float>(
    kind: OptimizerKind,
    lr: f64,
    numbers: &[(String, f64)],
) -> Result<Box<dyn nn::Optimizer<T>>> {
    macro_rules! rule {
        ($name:ident $(, $field:ident)*) => {{
            let mut optimizer = nn::$name::<T>::new(lr, 0.0);
            for (name, value) in numbers {
                match name.as_str() {
                    "weight_decay" => optimizer.rule.weight_decay = T::of(*value),
                    $(stringify!($field) => optimizer.rule.$field = T::of(*value),)*
                    _ => {
                        let known = ["lr", "weight_decay" $(, stringify!($field))*].join(", ");
                        let rule = stringify!($name);
                        return Err(Error::type_error(format!("{rule} has no {name}; it has {known}")));
                    }
                }
            }
            Ok(Box::new(optimizer))
        }};
    }
    use OptimizerKind as Kind;
    match kind {
        Kind::Sgd => rule!(Sgd),
        Kind::Momentum => rule!(Momentum, momentum),
        Kind::Nesterov => rule!(Nesterov, momentum),
        Kind::AdaGrad => rule!(AdaGrad, epsilon),
        Kind::RmsProp => rule!(RmsProp, decay_rate, epsilon),
        Kind::AdaDelta => rule!(AdaDelta, decay_rate, epsilon),
        Kind::Adam => rule!(Adam, beta1, beta2, epsilon),
        Kind::AdamW => rule!(AdamW, beta1, beta2, epsilon),
    }
}

impl Optimizer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `step` with the rule, its learning rate multiplied by `factor`, for parameters of `shapes`.
    ///
    /// # Errors
    /// `Argument` where it has updated a network of other parameters or another type before, and what `step` gives.
    pub(super) fn with<T: Ruled, R>(
        &self,
        factor: f64,
        shapes: &[(String, Vec<usize>)],
        step: impl FnOnce(&mut dyn nn::Optimizer<T>) -> kasoku_nn::Result<R>,
    ) -> kasoku_nn::Result<R> {
        let other = || kasoku_nn::Error::Argument {
            name: "optimizer",
            value: "that of another network".into(),
            expected: "one for each network: its state belongs to the parameters".into(),
        };
        let mut state = self.state();
        let lr = state.lr;
        if state.rule.is_none() {
            let rule = build::<T>(self.kind, lr, &self.numbers).map_err(|_| other())?;
            state.shapes = shapes.iter().map(|(_, shape)| shape.clone()).collect();
            state.rule = Some(T::wrap(rule));
        }
        if !state.shapes.iter().eq(shapes.iter().map(|(_, shape)| shape)) {
            return Err(other());
        }
        let rule = state.rule.as_mut().and_then(T::unwrap).ok_or_else(other)?;
        rule.set_lr(lr * factor);
        step(rule)
    }
}

#[pymethods]
impl Optimizer {
    #[new]
    #[pyo3(signature = (name, lr, numbers))]
    fn new(name: &str, lr: Option<f64>, numbers: Vec<(String, f64)>) -> Result<Self> {
        let kind: OptimizerKind = name.parse()?;
        let lr = lr.unwrap_or(kind.default_lr());
        build::<f64>(kind, lr, &numbers)?;
        let state = State { lr, rule: None, shapes: Vec::new() };
        Ok(Self { kind, numbers, state: Mutex::new(state) })
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &'static str {
        let named = OptimizerKind::ALL.into_iter().find(|(_, kind)| *kind == self.kind);
        named.map_or("", |(name, _)| name)
    }

    /// The numbers of the rule that are not the book's.
    #[getter]
    fn numbers(&self) -> Vec<(String, f64)> {
        self.numbers.clone()
    }

    /// The learning rate of the steps to come.
    #[getter]
    fn lr(&self) -> f64 {
        self.state().lr
    }

    #[setter]
    fn set_lr(&self, lr: f64) {
        self.state().lr = lr;
    }

    /// A copy begins anew.
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let this = slf.get();
        let arguments = (this.name(), this.lr(), this.numbers()).into_pyobject(slf.py())?;
        Ok((slf.get_type().into_any(), arguments))
    }
}
