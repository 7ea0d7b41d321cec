//! Optimizers: what happens to the parameters once their gradients are known (chapter 6).
//!
//! Each is a rule of [`kernels::optimize`] (formulas and sources are there) with the state it keeps for each parameter.

use std::fmt::Debug;
use std::str::FromStr;

use crate::layers::{Parameter, slice};
use crate::{Element, Error, Result, kernels, shares};
use kernels::optimize as rules;

/// Changes parameters by their gradients.
pub trait Optimizer<T: Element>: Debug + Send {
    /// One step of the parameters that are not frozen. They must all come, in the same order, each time: the state goes by
    /// position.
    ///
    /// # Errors
    /// [`Error::Argument`] where the parameters are not those of the steps before.
    fn update(&mut self, parameters: &mut [&mut Parameter<T>]) -> Result<()>;

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the steps to come.
    fn set_lr(&mut self, lr: f64);
}

/// An update rule: one fused pass over a parameter, its gradient and the rule's state.
pub trait Rule<T: Element>: Debug + Send + Sync {
    /// Arrays of state, with an element for each of a parameter's, zeros at first.
    const STATES: usize;

    /// The learning rate.
    fn lr(&self) -> T;

    /// Sets the learning rate.
    fn set_lr(&mut self, lr: T);

    /// Step number `step` (the first is 1) for a part `p` of a parameter with gradient `g`; `states` holds [`Rule::STATES`] arrays.
    ///
    /// # Errors
    /// A kernel's, where the slices differ in length.
    fn apply(&self, step: u64, p: &mut [T], g: &[T], states: &mut [Vec<T>]) -> kernels::Result<()>;
}

/// A [`Rule`] and its state.
#[derive(Debug, Clone)]
pub struct RuleOptimizer<T, R> {
    /// The rule with its numbers.
    pub rule: R,
    /// For each parameter; none before the first step.
    states: Option<Vec<State<T>>>,
}

/// What a rule keeps of one parameter.
#[derive(Debug, Clone)]
struct State<T> {
    /// The steps it has taken, fewer than others where it was frozen.
    step: u64,
    /// The parameter's elements.
    len: usize,
    /// The rule's arrays for each of its parts.
    parts: Vec<Vec<Vec<T>>>,
}

/// Elements of a part of a parameter, at least.
const PART: usize = 4096;
/// What an element of a slice takes, in multiply-adds.
const ELEMENT_WORK: usize = 16;

/// The length of a parameter's parts.
fn part_len(len: usize) -> usize {
    len.div_ceil(shares::parts(len / PART)).max(1)
}

impl<T: Element, R: Rule<T>> RuleOptimizer<T, R> {
    /// The rule at its first step.
    pub fn from_rule(rule: R) -> Self {
        Self { rule, states: None }
    }
}

impl<T: Element, R: Rule<T>> Optimizer<T> for RuleOptimizer<T, R> {
    fn update(&mut self, parameters: &mut [&mut Parameter<T>]) -> Result<()> {
        let states = self.states.get_or_insert_with(|| {
            let part = |p: &[T]| (0..R::STATES).map(|_| vec![T::zero(); p.len()]).collect();
            let state = |parameter: &&mut Parameter<T>| {
                let p = slice(&parameter.value);
                let parts = p.chunks(part_len(p.len())).map(part).collect();
                State { step: 0, len: p.len(), parts }
            };
            parameters.iter().map(state).collect()
        });
        if states.len() != parameters.len() {
            return Err(Error::Argument {
                name: "the number of parameters",
                value: parameters.len().to_string(),
                expected: format!("{}, as in the first step", states.len()),
            });
        }
        let mut elements = 0;
        for (number, (parameter, state)) in parameters.iter().zip(&*states).enumerate() {
            elements += state.len;
            let lens = [&parameter.value, &parameter.grad].map(|array| array.len());
            if lens != [state.len; 2] {
                return Err(Error::Argument {
                    name: "the lengths of a parameter and its gradient",
                    value: format!("{lens:?} of number {number}"),
                    expected: format!("{}, as in the first step", state.len),
                });
            }
        }
        let learning = parameters.iter_mut().zip(states).enumerate();
        let learning = learning.filter(|(_, (parameter, _))| !parameter.frozen);
        let work = elements * (2 + R::STATES) * ELEMENT_WORK;
        let jobs = learning.flat_map(|(number, (parameter, state))| {
            state.step += 1;
            let (step, (p, g)) = (state.step, parameter.elements());
            let (len, parts) = (part_len(state.len), state.parts.len());
            let slices = p.chunks_mut(len).zip(g.chunks(len)).zip(&mut state.parts);
            slices.enumerate().map(move |(part, ((p, g), states))| {
                (shares::share(number, part, parts), (step, p, g, states))
            })
        });
        let rule = &self.rule;
        Ok(shares::run(jobs, work, |(step, p, g, states)| rule.apply(*step, p, g, states))?)
    }

    fn lr(&self) -> f64 {
        self.rule.lr().as_f64()
    }

    fn set_lr(&mut self, lr: f64) {
        self.rule.set_lr(T::of(lr));
    }
}

macro_rules! optimizer {
    ($(#[$doc:meta])* $name:ident, { $($field:ident: $value:literal),* }, [$($state:ident),*] $(, $step:ident)?) => {
        $(#[$doc])*
        pub type $name<T> = RuleOptimizer<T, rules::$name<T>>;

        impl<T: Element> Rule<T> for rules::$name<T> {
            const STATES: usize = <[&str]>::len(&[$(stringify!($state)),*]);

            fn lr(&self) -> T {
                self.lr
            }

            fn set_lr(&mut self, lr: T) {
                self.lr = lr;
            }

            fn apply(
                &self,
                _step: u64,
                p: &mut [T],
                g: &[T],
                states: &mut [Vec<T>],
            ) -> kernels::Result<()> {
                let [$($state),*] = states else {
                    unreachable!("as many states as the rule says");
                };
                $(let $step = _step;)?
                self.update($($step,)? p, g, $($state),*)
            }
        }

        impl<T: Element> $name<T> {
            /// With learning rate `lr`, L2 penalty `weight_decay` and the book's other numbers.
            pub fn new(lr: f64, weight_decay: f64) -> Self {
                Self::from_rule(rules::$name {
                    lr: T::of(lr),
                    weight_decay: T::of(weight_decay),
                    $($field: T::of($value)),*
                })
            }
        }
    };
}

optimizer!(
    /// Stochastic gradient descent; the book's learning rate is 0.01.
    Sgd, {}, []
);
optimizer!(
    /// Momentum 0.9; the book's learning rate is 0.01.
    Momentum, { momentum: 0.9 }, [v]
);
optimizer!(
    /// Nesterov's momentum 0.9; the book's learning rate is 0.01.
    Nesterov, { momentum: 0.9 }, [v]
);
optimizer!(
    /// AdaGrad; the book's learning rate is 0.01.
    AdaGrad, { epsilon: 1e-7 }, [h]
);
optimizer!(
    /// RMSprop with decay rate 0.99; the book's learning rate is 0.01.
    RmsProp, { decay_rate: 0.99, epsilon: 1e-7 }, [h]
);
optimizer!(
    /// AdaDelta with decay rate 0.95; its learning rate is 1.
    AdaDelta, { decay_rate: 0.95, epsilon: 1e-6 }, [h, d]
);
optimizer!(
    /// Adam with β₁ 0.9 and β₂ 0.999; the book's learning rate is 0.001.
    Adam, { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, [m, v], step
);
optimizer!(
    /// AdamW: [`Adam`] whose weight decay does not pass through the gradient.
    AdamW, { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, [m, v], step
);

/// An optimizer by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptimizerKind {
    /// [`Sgd`].
    Sgd,
    /// [`Momentum`].
    Momentum,
    /// [`Nesterov`].
    Nesterov,
    /// [`AdaGrad`].
    AdaGrad,
    /// [`RmsProp`].
    RmsProp,
    /// [`AdaDelta`].
    AdaDelta,
    /// [`Adam`].
    Adam,
    /// [`AdamW`].
    AdamW,
}

impl OptimizerKind {
    /// Every kind and its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("sgd", Self::Sgd),
        ("momentum", Self::Momentum),
        ("nesterov", Self::Nesterov),
        ("adagrad", Self::AdaGrad),
        ("rmsprop", Self::RmsProp),
        ("adadelta", Self::AdaDelta),
        ("adam", Self::Adam),
        ("adamw", Self::AdamW),
    ];

    /// The learning rate of the book (of the paper, for AdaDelta).
    pub fn default_lr(self) -> f64 {
        match self {
            Self::Adam | Self::AdamW => 0.001,
            Self::AdaDelta => 1.0,
            _ => 0.01,
        }
    }

    /// An optimizer of this kind.
    pub fn build<T: Element>(self, lr: f64, weight_decay: f64) -> Box<dyn Optimizer<T>> {
        match self {
            Self::Sgd => Box::new(Sgd::new(lr, weight_decay)),
            Self::Momentum => Box::new(Momentum::new(lr, weight_decay)),
            Self::Nesterov => Box::new(Nesterov::new(lr, weight_decay)),
            Self::AdaGrad => Box::new(AdaGrad::new(lr, weight_decay)),
            Self::RmsProp => Box::new(RmsProp::new(lr, weight_decay)),
            Self::AdaDelta => Box::new(AdaDelta::new(lr, weight_decay)),
            Self::Adam => Box::new(Adam::new(lr, weight_decay)),
            Self::AdamW => Box::new(AdamW::new(lr, weight_decay)),
        }
    }
}

impl FromStr for OptimizerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).ok_or_else(
            || Error::Argument {
                name: "optimizer",
                value: format!("{text:?}"),
                expected: format!("one of {}", Self::ALL.map(|(name, _)| name).join(", ")),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;
    use crate::layers::Role;

    #[test]
    fn parameters_other_than_those_of_the_first_step_are_refused() {
        let parameter = |len: usize| Parameter::full(Role::Weight, &[len], 1.0f32);
        let mut sgd = Sgd::new(0.1, 0.0);
        let mut step = |parameters: &mut [Parameter<f32>]| {
            sgd.update(&mut parameters.iter_mut().collect::<Vec<_>>())
        };
        step(&mut [parameter(2 * PART), parameter(3)]).unwrap();
        let mut longer = [parameter(4 * PART), parameter(3)];
        longer[0].grad.fill(1.0);
        let error = step(&mut longer).unwrap_err().to_string();
        assert!(error.contains("16384") && error.contains("8192"), "{error}");
        assert!(longer[0].value.iter().all(|&value| value == 1.0));
        assert!(step(&mut longer[..1]).unwrap_err().to_string().contains('2'));
        let mut odd = [parameter(2 * PART), parameter(3)];
        odd[1].grad = ArrayD::zeros(vec![2]);
        assert!(step(&mut odd).unwrap_err().to_string().contains("[3, 2]"));
    }
}
