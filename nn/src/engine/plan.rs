//! What a step does, decided once for a network and a batch size.

use std::fmt;

use crate::layers::{Layer, Operation};
use crate::{Element, Result, kernels};
use kernels::lanes::{self, Affine, Convolution, Pooling};

/// Groups that share each load of an affine layer's weights: the kernel's tile takes six, or seven as four and three.
const AFFINE_GROUPS: usize = 7;
/// Bytes of weights beyond which a pass of one group would wait for them.
const RESIDENT_WEIGHTS: usize = 256 << 10;
/// Buffers that tasks add their gradients to, and so tasks at most.
const MAX_TASKS: usize = 16;

/// Memory of a pass: where it lies, and how many elements a lane group takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) place: Place,
    /// Elements of one lane group.
    pub(super) len: usize,
}

/// Which memory, and the first element there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// The thread's: gone when the pass is over.
    Arena(usize),
    /// The batch's: what the gradients of affine layers are made of when all passes are over.
    Saved(usize),
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
    /// Elements of a sample's input.
    pub(super) features: usize,
    shape: Vec<usize>,
    /// Whether sums of 0 or less become 0 as they are stored.
    pub(super) relu: bool,
    /// Whether its input is the output of such a ReLU, whose gradient it takes on the way back.
    pub(super) masks_input: bool,
    /// Whether its own ReLU's gradient is taken by the operation after it.
    pub(super) masked: bool,
    /// Elements of a group of a convolution's output before its pooling.
    pub(super) unpooled: usize,
    /// Floating-point operations of the forward pass of a sample.
    flops: f64,
}

#[derive(Debug)]
pub(super) enum Kind {
    Convolution {
        plan: Box<Convolution>,
        pool: Option<Pool>,
        gradient: [usize; 2],
    },
    /// `rows` is where dy waits, as rows of samples.
    Affine {
        plan: Box<Affine>,
        size: [usize; 2],
        rows: Span,
    },
    MaxPooling(Pool),
    AveragePooling(Pooling),
    Relu,
    Sigmoid,
    Tanh,
    Dropout {
        ratio: f64,
        number: u32,
    },
}

/// A max-pooling and where its indices lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool {
    pub(super) pooling: Pooling,
    pub(super) index: Span,
}

/// The plan of a forward pass, or of a whole step.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) ops: Vec<Op>,
    pub(super) training: bool,
    pub(super) samples: usize,
    pub(super) lanes: usize,
    pub(super) groups: usize,
    /// Parts of the batch, each of which goes all the way forward and backward before its thread takes another.
    pub(super) passes: usize,
    pub(super) task_passes: usize,
    /// Lane groups of the longest pass.
    pub(super) pass_groups: usize,
    pub(super) input: Span,
    pub(super) scores: Span,
    pub(super) classes: usize,
    /// Two gradients, of an operation's output and of its input, in turns.
    pub(super) gradients: [Span; 2],
    /// The output of a convolution before its pooling, and the gradient by it: of one group.
    pub(super) unpooled: usize,
    pub(super) arena_len: usize,
    /// Of one pass.
    pub(super) saved_len: usize,
    /// Of all convolutions.
    pub(super) gradient_len: usize,
    /// Of the forward pass of a sample.
    flops: f64,
    element_bytes: usize,
}

/// Hands out memory.
struct Layout {
    lanes: usize,
    /// Lane groups of a pass.
    groups: usize,
    arena: usize,
    saved: usize,
}

impl Layout {
    /// Every span begins at a cache line: 64 bytes.
    fn span(&mut self, saved: bool, features: usize) -> Span {
        let len = features * self.lanes;
        let end = if saved { &mut self.saved } else { &mut self.arena };
        let start = *end;
        *end += (len * self.groups).next_multiple_of(16);
        Span { place: if saved { Place::Saved(start) } else { Place::Arena(start) }, len }
    }
}

impl Plan {
    /// The plan for `samples` samples of shape `input`; `Err` with the reason where there can be none.
    pub(super) fn new<T: Element>(
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
        training: bool,
    ) -> Result<Result<Self, String>> {
        if samples == 0 {
            return Ok(Err("the batch is empty".into()));
        }
        if let Some(other) = layers.iter().find(|layer| layer.operation() == Operation::Other) {
            return Ok(Err(format!("{} only runs by itself", other.name())));
        }
        let lanes = lanes::count::<T>()?;
        let groups = samples.div_ceil(lanes);
        let passes = groups.div_ceil(max_groups(layers));
        let task_passes = passes.div_ceil(MAX_TASKS);
        let pass_groups = groups.div_ceil(passes);
        let mut layout = Layout { lanes, groups: pass_groups, arena: 0, saved: 0 };

        let mut ops: Vec<Op> = Vec::new();
        let mut shape = input.to_vec();
        let features = |shape: &[usize]| shape.iter().product::<usize>();
        // An affine layer's input is saved for its gradient.
        let saves = |layer: usize| {
            let next = layers[layer..].iter().find(|l| l.operation() != Operation::Flatten);
            training && matches!(next.map(|l| l.operation()), Some(Operation::Affine(_)))
        };
        let first = layout.span(saves(0), features(&shape));
        let (mut value, mut gradient_len, mut unpooled) = (first, 0, 0);
        let mut at = 0;
        while at < layers.len() {
            let layer = at;
            let operation = layers[at].operation();
            let before = shape.clone();
            shape = layers[at].output_shape(&shape)?;
            at += 1;
            let mut name = layers[layer].name().to_owned();
            let mut then = |operation: fn(&Operation) -> bool, shape: &mut Vec<usize>| {
                let next = layers.get(at).filter(|next| operation(&next.operation()))?;
                *shape = next.output_shape(shape).ok()?;
                name = format!("{name} + {}", next.name());
                at += 1;
                Some(next.operation())
            };
            let is_relu = |operation: &Operation| *operation == Operation::Relu;
            let is_pool = |operation: &Operation| matches!(operation, Operation::MaxPooling(_));
            let chw = || [before[0], before[1], before[2]];
            let mut relu = false;
            let mut flops = 0.0;
            let mut op_unpooled = 0;
            let kind = match operation {
                Operation::Flatten => continue,
                Operation::Other => unreachable!("refused above"),
                Operation::Convolution(filters, window) => {
                    let plan = Box::new(Convolution::new::<T>(chw(), filters, window)?);
                    flops = plan.flops();
                    let [_, channels, height, width] = plan.geometry().weight();
                    let gradient = [gradient_len, filters * channels * height * width];
                    gradient_len += gradient[1] + filters;
                    relu = then(is_relu, &mut shape).is_some();
                    let unpooled_shape = shape.clone();
                    let pool = then(is_pool, &mut shape);
                    relu |= pool.is_some() && !relu && then(is_relu, &mut shape).is_some();
                    let pool = match pool {
                        Some(Operation::MaxPooling(window)) => {
                            let [c, h, w] =
                                [unpooled_shape[0], unpooled_shape[1], unpooled_shape[2]];
                            op_unpooled = features(&unpooled_shape) * lanes;
                            unpooled = unpooled.max(op_unpooled);
                            let index = layout.span(false, features(&shape));
                            Some(Pool { pooling: Pooling::new::<T>([c, h, w], window)?, index })
                        }
                        _ => None,
                    };
                    Kind::Convolution { plan, pool, gradient }
                }
                Operation::Affine(outputs) => {
                    let inputs = features(&before);
                    let plan = Box::new(Affine::new::<T>(inputs, outputs, pass_groups)?);
                    flops = plan.flops();
                    relu = then(is_relu, &mut shape).is_some();
                    let rows = if training { lanes::padded::<T>(outputs)? } else { 0 };
                    Kind::Affine { plan, size: [inputs, outputs], rows: layout.span(true, rows) }
                }
                Operation::MaxPooling(window) => {
                    let pooling = Pooling::new::<T>(chw(), window)?;
                    Kind::MaxPooling(Pool { pooling, index: layout.span(false, features(&shape)) })
                }
                Operation::AveragePooling(window) => {
                    Kind::AveragePooling(Pooling::new::<T>(chw(), window)?)
                }
                Operation::Relu => Kind::Relu,
                Operation::Sigmoid => Kind::Sigmoid,
                Operation::Tanh => Kind::Tanh,
                Operation::Dropout(ratio, number) => Kind::Dropout { ratio, number },
            };
            // A pooled convolution masks its own gradient.
            let pooled = matches!(kind, Kind::Convolution { pool: Some(_), .. });
            let masking = matches!(kind, Kind::Convolution { .. } | Kind::Affine { .. });
            let mut masks_input = false;
            if let Some(previous) = ops.last_mut() {
                let previous: &mut Op = previous;
                masks_input = masking && previous.relu && !previous.masked;
                previous.masked |= masks_input;
            }
            let last = !layers[at..].iter().any(|layer| layer.operation() != Operation::Flatten);
            let saved = if last { !training } else { saves(at) };
            let output = layout.span(saved, features(&shape));
            let features = features(&before);
            let input = std::mem::replace(&mut value, output);
            let shape = shape.clone();
            let masked = pooled;
            ops.push(Op {
                kind,
                layer,
                name,
                input,
                output,
                features,
                shape,
                relu,
                masks_input,
                masked,
                unpooled: op_unpooled,
                flops,
            });
        }
        let [classes] = shape[..] else {
            return Ok(Err(format!("its output is {shape:?}, not classes")));
        };
        if ops.is_empty() {
            return Ok(Err("it has no layers".into()));
        }
        let widest = ops.iter().map(|op| op.features.max(op.output.len / lanes)).max().unwrap_or(0);
        let gradient = if training { widest } else { 0 };
        let gradients = [layout.span(false, gradient), layout.span(false, gradient)];
        let arena_len = layout.arena + unpooled;
        Ok(Ok(Self {
            flops: ops.iter().map(|op| op.flops).sum(),
            ops,
            training,
            samples,
            lanes,
            groups,
            passes,
            task_passes,
            pass_groups,
            input: first,
            scores: value,
            classes,
            gradients,
            unpooled,
            arena_len,
            saved_len: layout.saved,
            gradient_len: if training { gradient_len } else { 0 },
            element_bytes: size_of::<T>(),
        }))
    }

    pub(super) fn tasks(&self) -> usize {
        self.passes.div_ceil(self.task_passes)
    }

    /// The first lane group of a pass: as many for each, give or take one.
    pub(super) fn cut(&self, pass: usize) -> usize {
        pass * self.groups / self.passes
    }

    /// The first sample of a pass.
    pub(super) fn first_sample(&self, pass: usize) -> usize {
        (self.cut(pass) * self.lanes).min(self.samples)
    }

    /// Multiply-adds of a step.
    pub(super) fn work(&self) -> usize {
        let passes = if self.training { 1.5 } else { 0.5 };
        (self.flops * passes) as usize * self.samples
    }

    /// The first operation that learns: nobody needs the gradient by its input.
    pub(super) fn first_learning(&self) -> usize {
        let learns = |op: &Op| matches!(op.kind, Kind::Convolution { .. } | Kind::Affine { .. });
        self.ops.iter().position(learns).unwrap_or(self.ops.len())
    }

    /// Floating-point operations of a whole step: forward, and for what learns by the weights and (but for the first) by the input.
    fn step_flops(&self) -> f64 {
        let first = self.first_learning();
        let passes = |index: usize| if index == first { 2.0 } else { 3.0 };
        let flops = |(index, op): (usize, &Op)| op.flops * passes(index);
        let sum: f64 = self.ops.iter().enumerate().map(flops).sum();
        (if self.training { sum } else { self.flops }) * self.samples as f64
    }
}

/// Lane groups of a pass at most. Depth first means one: its activations stay in cache. But an affine layer reads all its weights
/// for each pass, so where these are what counts, more groups share them.
fn max_groups<T: Element>(layers: &[Box<dyn Layer<T>>]) -> usize {
    let convolves = layers.iter().any(|l| matches!(l.operation(), Operation::Convolution(..)));
    let heavy = layers.iter().any(|layer| {
        let len = layer.weights().map_or(0, |[w, _]| w.value.len());
        matches!(layer.operation(), Operation::Affine(_)) && len * size_of::<T>() > RESIDENT_WEIGHTS
    });
    if heavy || !convolves { AFFINE_GROUPS } else { 1 }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, lanes, groups, passes, pass_groups, .. } = self;
        let utilisation = 100.0 * *samples as f64 / (groups * lanes) as f64;
        let kib = |elements: usize| (elements * self.element_bytes).div_ceil(1024);
        let what = if self.training { "a training step" } else { "a forward pass" };
        writeln!(f, "{what} of {samples} samples, {:.1} MFLOP", self.step_flops() / 1e6)?;
        writeln!(
            f,
            "  {groups} groups of {lanes} lanes, {utilisation:.1} % of them filled; {passes} passes of up to {pass_groups} groups, {} tasks",
            self.tasks()
        )?;
        writeln!(
            f,
            "  memory: {} KiB a thread, {} KiB for the batch, {} KiB of gradients",
            kib(self.arena_len),
            kib(self.saved_len * self.task_passes * self.tasks()),
            kib(self.gradient_len * self.tasks())
        )?;
        writeln!(
            f,
            "  {:<42} {:>14} {:>12} {:>12}",
            "operation", "output", "KiB a group", "MFLOP"
        )?;
        for op in &self.ops {
            let shape = format!("{:?}", op.shape);
            let flops = op.flops * *samples as f64 / 1e6;
            let (name, kib) = (&op.name, kib(op.output.len));
            writeln!(f, "  {name:<42} {shape:>14} {kib:>12} {flops:>12.1}")?;
        }
        Ok(())
    }
}
