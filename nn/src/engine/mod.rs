//! The engine: a whole training step planned ahead.
//!
//! Layers are run one after another, each over the whole batch. The engine knows the shapes beforehand and goes another
//! way: the batch lies in lanes ([`crate::kernels::lanes`]), a few samples go all the way forward and backward while they are in
//! cache, activations and pooling are part of the convolution before them, and all memory is there from the first step on.
//! docs/engine.md tells the story. The layers stay the oracle: the tests hold both to each other.

mod plan;
mod step;

use crate::functions::Labels;
use crate::layers::{Layer, Mode};
use crate::{Element, Result, kernels};
use kernels::lanes::{self, Buffer};
use plan::Plan;

/// Plans that are kept: the batch of an epoch and its last, smaller one, for training and for testing.
const KEPT: usize = 4;

/// The plans of a network and the memory they need.
#[derive(Debug, Default)]
pub(crate) struct Engine<T> {
    planned: Vec<Planned<T>>,
}

/// A plan, or why there is none, and its memory.
#[derive(Debug)]
struct Planned<T> {
    key: Key,
    plan: Result<Plan, String>,
    memory: Memory<T>,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key {
    samples: usize,
    training: bool,
    lanes: usize,
}

/// What lasts for a step.
#[derive(Debug)]
struct Memory<T> {
    saved: Buffer<T>,
    gradients: Buffer<T>,
    losses: Buffer<T>,
}

impl<T: Element> Engine<T> {
    pub(crate) fn new() -> Self {
        Self { planned: Vec::new() }
    }

    fn planned(
        &mut self,
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
        training: bool,
    ) -> Result<&mut Planned<T>> {
        let key = Key { samples, training, lanes: lanes::count::<T>()? };
        // The last used comes first.
        match self.planned.iter().position(|planned| planned.key == key) {
            Some(at) => self.planned[..=at].rotate_right(1),
            None => {
                let plan = Plan::new(layers, input, samples, training)?;
                let lens = plan.as_ref().map_or([0; 3], |plan| {
                    let tasks = plan.tasks();
                    let samples = plan.pass_groups * plan.lanes;
                    [
                        plan.saved_len * plan.task_passes * tasks,
                        plan.gradient_len * tasks,
                        samples * plan.task_passes * tasks,
                    ]
                });
                let [saved, gradients, losses] = lens.map(Buffer::new);
                let memory = Memory { saved, gradients, losses };
                self.planned.truncate(KEPT - 1);
                self.planned.insert(0, Planned { key, plan, memory });
            }
        }
        Ok(&mut self.planned[0])
    }

    /// The sum of the samples' losses over their number, with the gradients left in the parameters; `None` where there is no
    /// plan for the network. `x` is the samples one after another.
    pub(crate) fn gradient(
        &mut self,
        layers: &mut [Box<dyn Layer<T>>],
        input: &[usize],
        x: &[T],
        t: &Labels<'_, T>,
        mode: Mode,
    ) -> Result<Option<T>> {
        let samples = x.len() / input.iter().product::<usize>().max(1);
        let Planned { plan, memory, .. } = self.planned(layers, input, samples, true)?;
        let Ok(plan) = plan else { return Ok(None) };
        Ok(Some(t.with_target(|target| step::gradient(plan, memory, layers, x, target, mode))?))
    }

    /// The scores (samples, classes) as when testing; `None` where there is no plan for the network.
    pub(crate) fn predict(
        &mut self,
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        x: &[T],
    ) -> Result<Option<Vec<T>>> {
        let samples = x.len() / input.iter().product::<usize>().max(1);
        // Lanes that no sample fills are computed all the same: below half of them the layers are faster.
        if 2 * samples <= lanes::count::<T>()? {
            return Ok(None);
        }
        let Planned { plan, memory, .. } = self.planned(layers, input, samples, false)?;
        let Ok(plan) = plan else { return Ok(None) };
        step::predict(plan, memory, layers, x).map(Some)
    }

    /// The plan of a step, for people.
    pub(crate) fn explain(
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
        training: bool,
    ) -> Result<String> {
        Ok(match Plan::new(layers, input, samples, training)? {
            Ok(plan) => plan.to_string(),
            Err(reason) => format!("layer by layer: {reason}\n"),
        })
    }
}
