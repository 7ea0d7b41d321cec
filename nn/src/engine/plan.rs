//! What a segment of convolutions does, decided once for a batch size.

use std::fmt;
use std::ops::Range;

use super::gradients::Places;
use super::planner::{Planned, Planner};
use crate::kernels::lanes::{self, Convolution, Normalization, PooledGradient, Pooling};
use crate::layers::Layer;
use crate::{Element, Result};

/// Tasks at most, each of which has a buffer for the gradients of its samples.
const MAX_TASKS: usize = 16;

/// Elements of a lane group's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end()
    }

    pub(super) fn end(self) -> usize {
        self.start + self.len
    }
}

/// What an operation reads, and where the gradient by it goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    /// Its number among the segment's values.
    pub(super) value: usize,
    pub(super) span: Span,
    /// Where the operation leaves the gradient by it.
    pub(super) dx: Span,
    /// What that is added to, where another operation, which reads the same, has been asked before.
    pub(super) sum: Option<Span>,
    /// The layers of the network before it.
    pub(super) after: usize,
}

impl Input {
    /// Whether the gradient by it is of use where layer `first` of the network is the first one that learns.
    pub(super) fn is_wanted(&self, first: usize) -> bool {
        self.after > first
    }
}

/// One operation: a layer, or several fused.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) kind: Kind,
    /// The layer of the network that it begins with, or is part of.
    pub(super) layer: usize,
    /// The layer it begins with, whose weights it uses, among the network's [`leaves`](crate::layers::leaves).
    pub(super) leaf: usize,
    /// The layers' names.
    pub(super) name: String,
    pub(super) input: Input,
    /// The number of its output among the segment's values.
    pub(super) value: usize,
    pub(super) output: Span,
    /// Where the gradient by its output lies.
    pub(super) dy: Span,
    pub(super) shape: [usize; 3],
    /// Whether sums of 0 or less become 0 as they are stored.
    pub(super) relu: bool,
    /// Whether its input is the output of such ReLUs, whose gradient it takes on the way back.
    pub(super) masks_input: bool,
    /// Whether its own ReLU's gradient is taken elsewhere: by the operation after it, or with its pooling's.
    pub(super) masked: bool,
    /// Floating-point operations of the forward pass of a sample.
    pub(super) flops: f64,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// `filters` is where its prepared weights lie among those of the segment, `gradient` where its gradients begin: by the
    /// weights, then by the bias.
    Convolution {
        plan: Box<Convolution>,
        pool: Option<Pool>,
        filters: Span,
        gradient: usize,
    },
    MaxPooling(Pool),
    AveragePooling(Pooling),
    Relu,
    /// By the statistics of the whole batch, for which all groups wait; with its number among those of the segment.
    Normalization(Normalization, usize),
    /// Of its input and this one.
    Sum(Input),
}

/// A max-pooling and where its indices lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool {
    pub(super) pooling: Pooling,
    pub(super) index: Span,
    /// Elements of a channel's plane, before and after.
    pub(super) planes: [usize; 2],
}

/// The plan of a segment.
#[derive(Debug)]
pub(super) struct Plan {
    /// The layers it stands for.
    pub(super) layers: Range<usize>,
    pub(super) ops: Vec<Op>,
    input_shape: Vec<usize>,
    pub(super) output_shape: Vec<usize>,
    pub(super) samples: usize,
    pub(super) lanes: usize,
    pub(super) groups: usize,
    /// Lane groups of a task.
    pub(super) task_groups: usize,
    /// Elements of a group's activations.
    pub(super) group_len: usize,
    /// Where its output lies among them.
    pub(super) output: Span,
    /// Of the gradients by what passes between operations.
    pub(super) places: Places,
    /// The channels of each normalisation.
    pub(super) normalized: Vec<usize>,
    /// The longest part of a convolution's output, or of its gradient, before the pooling.
    pub(super) unpooled: usize,
    /// The gradient by the weights where a single operation is all there is, and this is the better way to it.
    pub(super) pooled_gradient: Option<PooledGradient>,
    /// Of all weights, prepared for a pass.
    pub(super) filters_len: usize,
    /// Of the gradients by all weights and biases.
    pub(super) gradient_len: usize,
    element_bytes: usize,
}

impl Plan {
    /// The plan of the segment that begins with layer `first`, for `samples` samples of shape `input`; `None` where that is no
    /// convolution, nor branches that have some.
    pub(super) fn new<T: Element>(
        layers: &[Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
        samples: usize,
    ) -> Result<Option<Self>> {
        let lanes = lanes::count::<T>()?;
        let Some(planned) = Planner::plan(layers, first, input, lanes)? else { return Ok(None) };
        let Planned { ops, end, output_shape, group_len, places, .. } = planned;
        let Planned { output, filters_len, gradient_len, normalized, .. } = planned;
        let groups = samples.div_ceil(lanes);
        // The gradient by the input sums over all filters; the network's input needs none, and a part is enough.
        let unpooled = |op: &Op| match &op.kind {
            Kind::Convolution { plan, pool: Some(_), .. } if op.input.after == 0 => plan.part_len(),
            Kind::Convolution { plan, pool: Some(pool), .. } => {
                plan.geometry().weight()[0] * pool.planes[0]
            }
            _ => 0,
        };
        let pooled_gradient = match ops.as_slice() {
            [Op { kind: Kind::Convolution { plan, pool: Some(pool), .. }, .. }] => {
                PooledGradient::new::<T>(plan, &pool.pooling)?
            }
            _ => None,
        };
        Ok(Some(Self {
            layers: first..end,
            input_shape: input.to_vec(),
            output_shape,
            samples,
            lanes,
            groups,
            task_groups: groups.div_ceil(MAX_TASKS),
            group_len,
            output,
            places,
            normalized,
            unpooled: ops.iter().map(unpooled).max().unwrap_or(0),
            pooled_gradient,
            filters_len,
            gradient_len,
            element_bytes: size_of::<T>(),
            ops,
        }))
    }

    /// The operations between those for which all groups wait, in `training`: each of these begins a stage.
    pub(super) fn stages(&self, training: bool) -> Vec<Range<usize>> {
        let waits = |&at: &usize| training && self.normalization(at).is_some();
        let mut ends: Vec<_> = (0..self.ops.len()).filter(waits).collect();
        ends.push(self.ops.len());
        let mut start = 0;
        ends.into_iter().map(|end| std::mem::replace(&mut start, end)..end).collect()
    }

    /// The normalisation that operation `at` is, if it is one, and its number.
    pub(super) fn normalization(&self, at: usize) -> Option<(&Normalization, usize)> {
        match self.ops.get(at)?.kind {
            Kind::Normalization(ref plan, number) => Some((plan, number)),
            _ => None,
        }
    }

    /// Elements that a group gives to the statistics of a normalisation, at most.
    pub(super) fn longest_part(&self) -> usize {
        2 * self.normalized.iter().copied().max().unwrap_or(0)
    }

    /// Where a group's input lies.
    pub(super) fn input(&self) -> Span {
        self.ops[0].input.span
    }

    /// Elements that a group keeps from stage to stage, in training: its activations, and where it has to wait on the way back,
    /// the gradients by them.
    pub(super) fn kept_len(&self) -> usize {
        let waits = !self.normalized.is_empty();
        self.group_len + if waits { self.places.len } else { 0 }
    }

    /// The share of the lanes that have a sample.
    pub(super) fn utilisation(&self) -> f64 {
        self.samples as f64 / (self.groups * self.lanes) as f64
    }

    pub(super) fn tasks(&self) -> usize {
        self.groups.div_ceil(self.task_groups)
    }

    /// The lane groups of a task.
    pub(super) fn groups_of(&self, task: usize) -> Range<usize> {
        let first = task * self.task_groups;
        first..(first + self.task_groups).min(self.groups)
    }

    /// The samples of a group, as a part of a batch whose samples have `features` elements.
    pub(super) fn part(&self, group: usize, features: usize) -> Range<usize> {
        let [start, end] = [group, group + 1].map(|g| (g * self.lanes).min(self.samples));
        start * features..end * features
    }

    /// Elements of a sample, as it comes in and as it goes out.
    pub(super) fn features(&self) -> [usize; 2] {
        [&self.input_shape, &self.output_shape].map(|shape| shape.iter().product())
    }

    /// Multiply-adds of a forward pass of the batch.
    pub(super) fn work(&self) -> usize {
        let flops: f64 = self.ops.iter().map(|op| op.flops).sum();
        flops as usize / 2 * self.samples
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, lanes, groups, .. } = self;
        let utilisation = 100.0 * self.utilisation();
        let kib = |elements: usize| (elements * self.element_bytes).div_ceil(1024);
        writeln!(
            f,
            "in lanes: {groups} groups of {lanes} samples, {utilisation:.1} % of them filled, in {} tasks",
            self.tasks()
        )?;
        writeln!(
            f,
            "  memory: {} KiB for the batch, {} KiB of gradients, {} KiB a thread",
            kib(self.kept_len() * self.groups),
            kib(self.gradient_len * self.tasks()),
            kib(self.group_len + self.places.len + self.unpooled - self.kept_len())
        )?;
        writeln!(
            f,
            "  {:<44} {:>14} {:>12} {:>12}",
            "operation", "output", "KiB a group", "MFLOP"
        )?;
        for op in &self.ops {
            let shape = format!("{:?}", op.shape);
            let flops = op.flops * *samples as f64 / 1e6;
            writeln!(f, "  {:<44} {shape:>14} {:>12} {flops:>12.1}", op.name, kib(op.output.len))?;
        }
        if self.pooled_gradient.is_some() {
            writeln!(f, "  on the way back: the pixels that won their windows, sample by sample")?;
        }
        Ok(())
    }
}
