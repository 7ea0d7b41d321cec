//! What a segment of convolutions does, decided once for a batch size.

use std::fmt;
use std::ops::Range;

use crate::kernels::conv::Window;
use crate::kernels::lanes::{self, Convolution, PooledGradient, Pooling};
use crate::layers::{Layer, Operation};
use crate::{Element, Result};

/// Tasks at most, each of which has a buffer for the gradients of its samples.
const MAX_TASKS: usize = 16;

/// Elements of a lane group's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// One operation: a layer, or several fused.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) kind: Kind,
    /// The layer it begins with, whose weights it uses.
    pub(super) layer: usize,
    /// The layers' names.
    name: String,
    pub(super) input: Span,
    pub(super) output: Span,
    shape: [usize; 3],
    /// Whether sums of 0 or less become 0 as they are stored.
    pub(super) relu: bool,
    /// Whether its input is the output of such a ReLU, whose gradient it takes on the way back.
    pub(super) masks_input: bool,
    /// Whether its own ReLU's gradient is taken elsewhere: by the operation after it, or with its pooling's.
    pub(super) masked: bool,
    /// Floating-point operations of the forward pass of a sample.
    flops: f64,
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
    /// Elements that a group keeps for the way back.
    pub(super) group_len: usize,
    /// The longest gradient by an operation's output.
    pub(super) gradient_span: usize,
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

/// Hands out the memory of a group.
struct Layout {
    lanes: usize,
    end: usize,
}

impl Layout {
    /// Every span begins at a cache line: 64 bytes.
    fn span(&mut self, shape: &[usize; 3]) -> Span {
        let (start, len) = (self.end, shape.iter().product::<usize>() * self.lanes);
        self.end += len.next_multiple_of(16);
        Span { start, len }
    }
}

/// The layers that have not been planned yet, and the shape that arrives there.
pub(super) struct Ahead<'a, T> {
    pub(super) layers: &'a [Box<dyn Layer<T>>],
    pub(super) at: usize,
    pub(super) shape: [usize; 3],
    /// Of the operation that begins.
    pub(super) name: String,
}

impl<'a, T: Element> Ahead<'a, T> {
    /// From layer `first` on, at which samples of shape `input` arrive; `None` where it is no convolution.
    pub(super) fn from_convolution(
        layers: &'a [Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
    ) -> Option<Self> {
        let convolves = matches!(layers[first].operation(), Operation::Convolution(..));
        let (true, &[channels, height, width]) = (convolves, input) else { return None };
        Some(Self { layers, at: first, shape: [channels, height, width], name: String::new() })
    }

    /// Takes the next layer if `wanted` knows what to do with it.
    pub(super) fn take<R>(&mut self, wanted: impl Fn(Operation) -> Option<R>) -> Result<Option<R>> {
        let Some(layer) = self.layers.get(self.at) else { return Ok(None) };
        let Some(found) = wanted(layer.operation()) else { return Ok(None) };
        let output = layer.output_shape(&self.shape)?;
        let Ok(shape) = output.try_into() else { return Ok(None) };
        let plus = if self.name.is_empty() { "" } else { " + " };
        self.name = format!("{}{plus}{}", self.name, layer.name());
        self.shape = shape;
        self.at += 1;
        Ok(Some(found))
    }

    /// Filters and window of the next layer, if it is a convolution.
    pub(super) fn take_convolution(&mut self) -> Result<Option<(usize, Window)>> {
        self.take(|operation| match operation {
            Operation::Convolution(filters, window) => Some((filters, window)),
            _ => None,
        })
    }

    pub(super) fn take_relu(&mut self) -> Result<bool> {
        Ok(self.take(|operation| (operation == Operation::Relu).then_some(()))?.is_some())
    }

    fn take_max_pooling(&mut self, layout: &mut Layout) -> Result<Option<Pool>> {
        let before = self.shape;
        let window = self.take(|operation| match operation {
            Operation::MaxPooling(window) => Some(window),
            _ => None,
        })?;
        let Some(window) = window else { return Ok(None) };
        let pooling = Pooling::new::<T>(before, window)?;
        let planes = [before, self.shape].map(|[_, height, width]| height * width * layout.lanes);
        Ok(Some(Pool { pooling, index: layout.span(&self.shape), planes }))
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
        let mut layout = Layout { lanes, end: 0 };
        let mut value = layout.span(&ahead.shape);
        let (mut ops, mut filters_len, mut gradient_len) = (Vec::<Op>::new(), 0, 0);
        loop {
            let (layer, before) = (ahead.at, ahead.shape);
            ahead.name.clear();
            let (mut relu, mut flops) = (false, 0.0);
            let kind = if let Some((filters, window)) = ahead.take_convolution()? {
                let plan = Box::new(Convolution::new::<T>(before, filters, window)?);
                flops = plan.flops();
                if plan.is_winograd() {
                    ahead.name.push_str(" (Winograd)");
                }
                let gradient = gradient_len;
                gradient_len += plan.geometry().weight_len() + filters;
                let filters = Span { start: filters_len, len: plan.filters_len() };
                filters_len += filters.len;
                relu = ahead.take_relu()?;
                let pool = ahead.take_max_pooling(&mut layout)?;
                relu |= pool.is_some() && !relu && ahead.take_relu()?;
                Kind::Convolution { plan, pool, filters, gradient }
            } else if let Some(pool) = ahead.take_max_pooling(&mut layout)? {
                Kind::MaxPooling(pool)
            } else if ahead.take_relu()? {
                Kind::Relu
            } else {
                let window = ahead.take(|operation| match operation {
                    Operation::AveragePooling(window) => Some(window),
                    _ => None,
                })?;
                let Some(window) = window else { break };
                Kind::AveragePooling(Pooling::new::<T>(before, window)?)
            };
            let mut masks_input = false;
            if let (Kind::Convolution { .. }, Some(previous)) = (&kind, ops.last_mut()) {
                masks_input = previous.relu && !previous.masked;
                previous.masked |= masks_input;
            }
            let masked = matches!(kind, Kind::Convolution { pool: Some(_), .. });
            let output = layout.span(&ahead.shape);
            let input = std::mem::replace(&mut value, output);
            let (name, shape) = (std::mem::take(&mut ahead.name), ahead.shape);
            ops.push(Op {
                kind,
                layer,
                name,
                input,
                output,
                shape,
                relu,
                masks_input,
                masked,
                flops,
            });
        }
        let groups = samples.div_ceil(lanes);
        // The gradient by the input sums over all filters; the network's first layer has none, and a part is enough.
        let unpooled = |op: &Op| match &op.kind {
            Kind::Convolution { plan, pool: Some(_), .. } if op.layer == 0 => plan.part_len(),
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
            layers: first..ahead.at,
            input_shape: input.to_vec(),
            output_shape: ahead.shape.to_vec(),
            samples,
            lanes,
            groups,
            task_groups: groups.div_ceil(MAX_TASKS),
            group_len: layout.end,
            gradient_span: ops.iter().map(|op| op.input.len.max(op.output.len)).max().unwrap_or(0),
            unpooled: ops.iter().map(unpooled).max().unwrap_or(0),
            pooled_gradient,
            filters_len,
            gradient_len,
            element_bytes: size_of::<T>(),
            ops,
        }))
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
            kib(self.group_len * self.groups),
            kib(self.gradient_len * self.tasks()),
            kib(2 * self.gradient_span + self.unpooled)
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
