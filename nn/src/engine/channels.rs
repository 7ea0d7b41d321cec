//! Predictions: channels in lanes.
//!
//! A sample goes through the whole segment by itself ([`crate::kernels::lanes::channels`]): a single one fills as many lanes as a
//! hundred, and needs less memory than a lane group, most of it in L1. Threads share the samples, or the pixels of a single one. The
//! filters are transformed and laid out anew only after the network's weights may have changed.

use std::fmt;
use std::ops::Range;

use super::plan::Span;
use super::planner::Ahead;
use crate::kernels;
use crate::kernels::activation::relu;
use crate::kernels::lanes::channels::{self, Convolution, Input};
use crate::kernels::lanes::{self, Buffer, Pooling};
use crate::layers::{Layer, Operation, slice};
use crate::{Element, Result};

/// One operation: a layer, or several fused.
#[derive(Debug)]
struct Op {
    kind: Kind,
    /// The layer it begins with, whose weights it uses.
    layer: usize,
    /// The layers' names.
    name: String,
    output: [usize; 3],
    /// Elements of its output for a sample, in whole registers.
    len: usize,
    /// Floating-point operations of a sample.
    flops: f64,
}

#[derive(Debug)]
enum Kind {
    /// With ReLU or without; `filters` is where its prepared weights and bias lie among those of the segment.
    Convolution {
        plan: Box<Convolution>,
        relu: bool,
        filters: Span,
    },
    MaxPooling(Pooling),
    AveragePooling(Pooling),
    Relu,
}

/// The plan of a segment.
#[derive(Debug)]
pub(super) struct Plan {
    /// The layers it stands for.
    pub(super) layers: Range<usize>,
    pub(super) output_shape: Vec<usize>,
    ops: Vec<Op>,
    samples: usize,
    lanes: usize,
    /// Elements of a sample, as it comes in and as it goes out.
    features: [usize; 2],
    /// The longest output of an operation for a sample.
    longest: usize,
    /// Of all weights and biases, prepared.
    filters_len: usize,
    element_bytes: usize,
}

/// What lasts from prediction to prediction.
#[derive(Debug)]
pub(super) struct Memory<T> {
    filters: Buffer<T>,
    /// The version of the weights they were prepared from.
    version: Option<u64>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        Self { filters: Buffer::new(0), version: None }
    }
}

impl Plan {
    /// The plan of the segment that begins with layer `first`, for `samples` samples of shape `input`; `None` where the layer is
    /// no convolution.
    pub(super) fn new<T: Element>(
        layers: &[Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
        samples: usize,
    ) -> Result<Option<Self>> {
        let Some(mut ahead) = Ahead::from_convolution(layers, first, input) else {
            return Ok(None);
        };
        let lanes = lanes::count::<T>()?;
        let (mut ops, mut filters_len) = (Vec::new(), 0);
        loop {
            let (layer, before) = (ahead.at, ahead.shape);
            let registers = before[0].div_ceil(lanes);
            let planes = [registers, before[1], before[2]];
            ahead.name.clear();
            let mut flops = 0.0;
            let kind = if let Some((filters, window)) = ahead.take_convolution()? {
                let from = if layer == first { Input::Planes } else { Input::Lanes };
                let mut plan = Convolution::new::<T>(before, from, filters, window)?;
                flops = plan.flops();
                if plan.is_winograd() {
                    ahead.name.push_str(" (Winograd)");
                }
                let mut relu = ahead.take_relu()?;
                let pooled = ahead.take(|operation| match operation {
                    Operation::MaxPooling(window) => plan.max_pooled(window).transpose(),
                    _ => None,
                })?;
                if let Some(pooled) = pooled {
                    plan = pooled?;
                    relu = ahead.take_relu()? || relu;
                }
                let filters = Span { start: filters_len, len: plan.filters_len() };
                // Every span begins at a cache line: 64 bytes.
                filters_len += filters.len.next_multiple_of(16);
                Kind::Convolution { plan: Box::new(plan), relu, filters }
            } else if ahead.take_relu()? {
                Kind::Relu
            } else {
                let pooling = ahead.take(|operation| match operation {
                    Operation::MaxPooling(window) => {
                        Some(Pooling::new::<T>(planes, window).map(Kind::MaxPooling))
                    }
                    Operation::AveragePooling(window) => {
                        Some(Pooling::new::<T>(planes, window).map(Kind::AveragePooling))
                    }
                    _ => None,
                })?;
                let Some(pooling) = pooling else { break };
                pooling?
            };
            let output @ [channels, height, width] = ahead.shape;
            let len = channels.next_multiple_of(lanes) * height * width;
            ops.push(Op { kind, layer, name: std::mem::take(&mut ahead.name), output, len, flops });
        }
        Ok(Some(Self {
            layers: first..ahead.at,
            output_shape: ahead.shape.to_vec(),
            samples,
            lanes,
            features: [input, &ahead.shape].map(|shape| shape.iter().product()),
            longest: ops.iter().map(|op| op.len).max().unwrap_or(0),
            filters_len,
            element_bytes: size_of::<T>(),
            ops,
        }))
    }

    /// The share of the lanes of the filters' registers that have a filter, over all multiplications.
    pub(super) fn utilisation(&self) -> f64 {
        let filled = |op: &Op| {
            let filters = op.output[0];
            filters as f64 / filters.next_multiple_of(self.lanes) as f64
        };
        let flops: f64 = self.ops.iter().map(|op| op.flops).sum();
        let lanes: f64 = self.ops.iter().map(|op| op.flops / filled(op)).sum();
        flops / lanes.max(f64::MIN_POSITIVE)
    }

    /// Multiply-adds of the batch.
    fn work(&self) -> usize {
        let flops: f64 = self.ops.iter().map(|op| op.flops).sum();
        flops as usize / 2 * self.samples
    }
}

/// Prepares all weights, unless they are those of last time.
fn prepare<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    version: u64,
    memory: &mut Memory<T>,
) -> kernels::Result<()> {
    if memory.version == Some(version) {
        return Ok(());
    }
    memory.version = None;
    if memory.filters.len() < plan.filters_len {
        memory.filters = Buffer::new(plan.filters_len);
    }
    for op in &plan.ops {
        let Kind::Convolution { plan, filters, .. } = &op.kind else { continue };
        let Some([w, b]) = layers[op.layer].weights() else { continue };
        plan.prepare(slice(&w.value), slice(&b.value), &mut memory.filters[filters.range()])?;
    }
    memory.version = Some(version);
    Ok(())
}

/// The output y of samples x, as layers hold both. `version` names the weights: where it is that of the last call, they are the same.
pub(super) fn forward<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    version: u64,
    memory: &mut Memory<T>,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    prepare(plan, layers, version, memory)?;
    let filters = &*memory.filters;
    let [inputs, outputs] = plan.features;
    lanes::for_each_stretch(plan.samples, plan.work(), [(y, outputs)], |sample, [y]| {
        forward_sample(plan, filters, &x[sample * inputs..][..inputs], y)
    })
}

fn forward_sample<T: Element>(
    plan: &Plan,
    filters: &[T],
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    lanes::with_scratch(2 * plan.longest, |scratch| {
        // Where an operation's input lies, and where its output goes.
        let (mut from, mut to) = scratch.split_at_mut(plan.longest);
        let mut len = 0;
        for (number, op) in plan.ops.iter().enumerate() {
            let input = if number == 0 { x } else { &from[..len] };
            let output = &mut to[..op.len];
            match &op.kind {
                Kind::Convolution { plan, relu, filters: span } => {
                    plan.forward(input, &filters[span.range()], *relu, output)?;
                }
                Kind::MaxPooling(pooling) => pooling.max(input, output)?,
                Kind::AveragePooling(pooling) => pooling.average_forward(input, output)?,
                Kind::Relu => relu(input, output)?,
            }
            len = op.len;
            std::mem::swap(&mut from, &mut to);
        }
        let [channels, height, width] = plan.ops[plan.ops.len() - 1].output;
        channels::scatter(&from[..len], [channels, height * width], y)
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, lanes, .. } = self;
        let kib = |elements: usize| (elements * self.element_bytes).div_ceil(1024);
        writeln!(
            f,
            "channels in lanes: {samples} samples, registers of {lanes} channels, {:.1} % of them filled",
            100.0 * self.utilisation()
        )?;
        writeln!(
            f,
            "  memory: {} KiB of prepared weights, {} KiB of activations a thread",
            kib(self.filters_len),
            kib(2 * self.longest)
        )?;
        writeln!(
            f,
            "  {:<44} {:>14} {:>12} {:>12}",
            "operation", "output", "KiB a sample", "MFLOP"
        )?;
        for op in &self.ops {
            let (shape, flops) = (format!("{:?}", op.output), op.flops * *samples as f64 / 1e6);
            writeln!(f, "  {:<44} {shape:>14} {:>12} {flops:>12.1}", op.name, kib(op.len))?;
        }
        Ok(())
    }
}
