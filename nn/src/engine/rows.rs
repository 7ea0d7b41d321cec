//! Fully connected layers: samples in rows.
//!
//! What affine layers and activations do with a sample does not depend on the others. So a block of samples goes through all of
//! them on one thread, whose cache keeps what it has computed, forward and later back. Threads meet only where a normalisation
//! needs the statistics of the whole batch, and for the gradients by the weights, which are sums over it: each takes some of their
//! rows.

use std::fmt;
use std::ops::Range;

use super::folded::{Fold, Folded};
use super::normalized::Normalized;
use super::plan::Span;
use crate::kernels::activation::{
    relu_backward, sigmoid_backward, sigmoid_in_place, tanh_backward, tanh_in_place,
};
use crate::kernels::batch_norm::parts;
use crate::kernels::dropout::{DropoutKey, dropout_part};
use crate::kernels::gemm::{Bias, Epilogue, gemm, gemm_with};
use crate::kernels::lanes::{self, Buffer, for_each_stretch};
use crate::kernels::reduce::sum_axis;
use crate::kernels::rows::{Matrix, RowBlock, for_each_row_block};
use crate::kernels::{MatMut, MatRef, num_threads};
use crate::layers::{
    BatchNormalization, Layer, Mode, Operation, Parameter, Statistics, slice, slice_mut,
};
use crate::{Element, Result, kernels, shares};

/// Samples of a block, at least: with fewer, a tile of a matrix product has too few rows for what it reads of W. Of a longer one,
/// which reads W less often, where that leaves one for each thread. Blocks at most.
pub(super) const BLOCK: usize = 24;
const LONG_BLOCK: usize = 48;
const BLOCKS: usize = 8;
/// A network's first weights are cut in halves where each of their columns has at least so many elements for a sample.
const DEEP: usize = 4;
/// Rows of a part of a gradient by weights, and its multiply-adds, at least.
const PART: usize = 48;
const PART_WORK: usize = 1 << 18;

/// `count` pieces where there are threads to share them, else one: a matrix product has the same bits in pieces of many rows.
fn pieces(count: usize) -> kernels::Result<usize> {
    Ok(if num_threads()? == 1 { 1 } else { count.max(1) })
}

/// What follows an affine layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    None,
    Relu,
    Sigmoid,
    Tanh,
}

impl Activation {
    fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Relu => Some(Self::Relu),
            Operation::Sigmoid => Some(Self::Sigmoid),
            Operation::Tanh => Some(Self::Tanh),
            _ => None,
        }
    }

    /// dy ← the gradient by the activation's input; `y` is its output.
    fn backward<T: Element>(self, y: &[T], dy: &mut [T]) -> kernels::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Relu => relu_backward(y, dy),
            Self::Sigmoid => sigmoid_backward(y, dy),
            Self::Tanh => tanh_backward(y, dy),
        }
    }
}

/// An affine layer and what is fused with it.
#[derive(Debug)]
struct Op {
    /// The affine layer.
    layer: usize,
    /// The layers' names.
    name: String,
    inputs: usize,
    outputs: usize,
    /// What predictions have in its weights.
    fold: Fold,
    /// The batch normalisation after it, in training.
    normalization: Option<usize>,
    activation: Activation,
    /// The ratio and the number of the dropout after a ReLU, in training.
    dropout: Option<(f64, u32)>,
}

impl Op {
    /// Whether it has something that learns among the layers from `first` on.
    fn learns(&self, first: usize) -> bool {
        self.normalization.unwrap_or(self.layer) >= first
    }

    /// Whether the affine layer's output is what ReLU makes of it.
    fn is_rectified(&self) -> bool {
        self.activation == Activation::Relu && self.normalization.is_none()
    }

    /// What follows the affine layer and its normalisation, where those have not been able to do it themselves.
    fn activate<T: Element>(
        &self,
        mode: Mode,
        rows: &Range<usize>,
        y: &mut [T],
    ) -> kernels::Result<()> {
        match self.activation {
            Activation::None | Activation::Relu => {}
            Activation::Sigmoid => sigmoid_in_place(y)?,
            Activation::Tanh => tanh_in_place(y)?,
        }
        match (self.dropout, mode) {
            (Some((ratio, layer)), Mode::Train { seed, step }) => {
                let key = DropoutKey { seed, step, layer };
                dropout_part(key, ratio, T::one(), rows.start * self.outputs, y)
            }
            _ => Ok(()),
        }
    }
}

/// The matrices of an operation; of width 0 where there is none, or the arrays that come from outside serve.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// What is normalised: the affine layer's output.
    Normalized,
    Output,
    /// The gradient by the output, then by what the activation takes.
    Gradient,
    /// The gradient by what is normalised.
    NormalizedGradient,
}

impl Place {
    const COUNT: usize = 4;

    fn of(self, op: usize) -> usize {
        Self::COUNT * op + self as usize
    }
}

/// The plan of a segment.
#[derive(Debug)]
pub(super) struct Plan {
    /// The layers it stands for.
    pub(super) layers: Range<usize>,
    ops: Vec<Op>,
    /// Operations between which nobody waits: each of these but the last ends with a normalisation.
    stages: Vec<Range<usize>>,
    /// Of each operation, by [`Place`].
    matrices: Vec<Matrix>,
    /// The matrices of what each half of the first weights adds to the output, after those of all operations. A network's first
    /// weights are its largest, and each step changes them: so each half stays with a thread, which multiplies it by its features
    /// of all samples.
    halves: Option<[usize; 2]>,
    memory_len: usize,
    pub(super) output_shape: Vec<usize>,
    samples: usize,
    /// Whether nobody goes back.
    predicts: bool,
    element_bytes: usize,
}

/// What lasts from the forward pass to the backward pass, and from step to step.
#[derive(Debug)]
pub(super) struct Memory<T> {
    matrices: Buffer<T>,
    /// For predictions.
    folded: Folded<T>,
    /// Of each operation that has one.
    normalized: Vec<Option<Normalized<T>>>,
    /// What each part of the batch knows of a normalisation's statistics or gradients.
    parts: Buffer<T>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        let (matrices, parts) = (Buffer::new(0), Buffer::new(0));
        Self { matrices, folded: Folded::default(), normalized: Vec::new(), parts }
    }
}

impl Plan {
    /// The plan of the segment that begins with layer `first`, for `samples` samples of shape `input`; `None` where the layer is
    /// not affine.
    pub(super) fn new<T: Element>(
        layers: &[Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
        samples: usize,
        predicts: bool,
    ) -> Result<Option<Self>> {
        let (mut ops, mut at, mut shape) = (Vec::new(), first, input.to_vec());
        while let Some(layer) =
            layers.get(at).filter(|layer| layer.operation() == Operation::Affine)
        {
            let inputs = shape.iter().product();
            shape = layer.output_shape(&shape)?;
            let first = at;
            at += 1;
            let operation = |at: usize| layers.get(at).map(|layer| layer.operation());
            let mut normalization = None;
            if let Some(Operation::BatchNormalization(Statistics::PerFeature, _)) = operation(at) {
                layers[at].output_shape(&shape)?;
                normalization = Some(at);
                at += 1;
            }
            let following = operation(at).and_then(Activation::of);
            at += usize::from(following.is_some());
            let activation = following.unwrap_or(Activation::None);
            // A factor passes through a linear function, zeros through a ReLU's gradient.
            let takes_dropout = match activation {
                Activation::None => predicts,
                Activation::Relu => true,
                Activation::Sigmoid | Activation::Tanh => false,
            };
            let mut dropout = None;
            if takes_dropout && let Some(Operation::Dropout(ratio, number)) = operation(at) {
                dropout = Some((ratio, number));
                at += 1;
            }
            let names: Vec<_> = layers[first..at].iter().map(|layer| layer.name()).collect();
            let factor = dropout.map_or(1.0, |(ratio, _)| 1.0 - ratio);
            ops.push(Op {
                layer: first,
                name: names.join(" + "),
                inputs,
                outputs: shape.iter().product(),
                fold: Fold { normalization, factor },
                normalization: normalization.filter(|_| !predicts),
                activation,
                dropout: dropout.filter(|_| !predicts),
            });
        }
        // Layers without outputs are left to themselves.
        if ops.is_empty() || ops.iter().any(|op: &Op| op.outputs == 0) {
            return Ok(None);
        }
        let waits = ops.iter().enumerate().filter(|(_, op)| op.normalization.is_some());
        let ends = waits.map(|(index, _)| index + 1).chain([ops.len()]);
        let stages = ends.scan(0, |start, end| Some(std::mem::replace(start, end)..end)).collect();
        let (mut matrices, mut memory_len) = (Vec::new(), 0);
        let mut add = |width: usize| {
            matrices.push(Matrix { start: memory_len, width });
            // The next one begins at a cache line: 64 bytes.
            memory_len += (samples * width).next_multiple_of(16);
            matrices.len() - 1
        };
        for (index, op) in ops.iter().enumerate() {
            let inside = index + 1 < ops.len() || op.activation != Activation::None;
            let normalized = if op.normalization.is_some() { op.outputs } else { 0 };
            let output = if inside { op.outputs } else { 0 };
            // In the order of `Place`.
            let gradient = if predicts { 0 } else { output };
            for width in [normalized, output, gradient, normalized] {
                add(width);
            }
        }
        let has_halves = first == 0 && !predicts && ops[0].inputs >= DEEP * samples;
        let halves = has_halves.then(|| [add(ops[0].outputs), add(ops[0].outputs)]);
        Ok(Some(Self {
            layers: first..at,
            ops,
            stages,
            matrices,
            halves,
            memory_len,
            output_shape: shape,
            samples,
            predicts,
            element_bytes: size_of::<T>(),
        }))
    }

    /// All rows of a matrix.
    fn span(&self, matrix: usize) -> Span {
        let Matrix { start, width } = self.matrices[matrix];
        Span { start, len: self.samples * width }
    }

    /// Where the gradient by the output of the affine layer is.
    fn affine_gradient(&self, op: usize) -> usize {
        let place = match self.ops[op].normalization {
            Some(_) => Place::NormalizedGradient,
            None => Place::Gradient,
        };
        place.of(op)
    }

    /// Samples of which a normalisation's sums are taken at a time, whatever the number of threads; 1 where there is none.
    fn part(&self) -> usize {
        match self.stages.len() {
            1 => 1,
            _ => self.samples.div_ceil((self.samples / BLOCK).clamp(1, BLOCKS)),
        }
    }

    fn parts(&self) -> usize {
        self.samples.div_ceil(self.part())
    }

    /// The number of samples, and that of a block: whole parts.
    fn rows(&self) -> kernels::Result<[usize; 2]> {
        let blocks = |rows: usize| (self.samples / rows).min(BLOCKS);
        let blocks = pieces(blocks(LONG_BLOCK).max(blocks(BLOCK).min(num_threads()?)))?;
        Ok([self.samples, self.parts().div_ceil(blocks) * self.part()])
    }

    /// Multiply-adds of a forward pass of the batch.
    fn work(&self) -> usize {
        self.ops.iter().map(|op| self.samples * op.inputs * op.outputs).sum()
    }
}

/// W and b of each operation.
fn weights<'a, T: Element>(plan: &Plan, layers: &'a [Box<dyn Layer<T>>]) -> Vec<[&'a [T]; 2]> {
    let of = |op: &Op| layers[op.layer].weights();
    let elements =
        |weights: [&'a Parameter<T>; 2]| weights.map(|parameter| slice(&parameter.value));
    plan.ops.iter().map(|op| of(op).map_or([&[][..]; 2], elements)).collect()
}

/// Calls `body` with each normalisation and its layer.
fn for_each_normalization<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    normalized: &mut [Option<Normalized<T>>],
    body: impl Fn(&mut Normalized<T>, &mut BatchNormalization<T>),
) {
    for (op, normalized) in plan.ops.iter().zip(normalized) {
        let layer = op.normalization.and_then(|at| layers[at].batch_normalization());
        if let (Some(normalized), Some(layer)) = (normalized, layer) {
            body(normalized, layer);
        }
    }
}

/// The output y of a batch x; in training, keeps what the way back needs.
pub(super) fn forward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    version: u64,
    memory: &mut Memory<T>,
    mode: Mode,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    if memory.matrices.len() < plan.memory_len {
        memory.matrices = Buffer::new(plan.memory_len);
    }
    if memory.normalized.is_empty() {
        let new = |op: &Op| op.normalization.map(|_| Normalized::new(op.outputs));
        memory.normalized = plan.ops.iter().map(new).collect();
        let normalized = plan.ops.iter().filter(|op| op.normalization.is_some());
        let longest = normalized.map(|op| 2 * op.outputs).max().unwrap_or(0);
        memory.parts = Buffer::new(plan.parts() * longest);
    }
    if plan.predicts {
        let folds = plan.ops.iter().map(|op| (op.fold, op.layer));
        memory.folded.prepare(folds, layers, version);
    }
    let normalized = &mut memory.normalized;
    for_each_normalization(plan, layers, normalized, |own, layer| own.begin(layer, mode));
    run_forward(plan, layers, memory, mode, x, y)?;
    let normalized = &mut memory.normalized;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_forward(layer));
    Ok(())
}

fn run_forward<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    mode: Mode,
    batch: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    let Memory { matrices, folded, normalized, parts, .. } = memory;
    let (size, last) = (plan.rows()?, plan.ops.len() - 1);
    let mut weights = weights(plan, layers);
    for (index, weights) in weights.iter_mut().enumerate() {
        if let Some([w, b]) = folded.get(index) {
            *weights = [w, b];
        }
    }
    if let Some(halves) = plan.halves {
        multiply_halves(plan, halves, weights[0], batch, matrices)?;
    }
    for (number, stage) in plan.stages.iter().enumerate() {
        let ends = number + 1 == plan.stages.len();
        let waiting = if ends { None } else { normalized[stage.end - 1].as_ref() };
        let takes_moments = waiting.is_some_and(Normalized::takes_statistics);
        let part_len = if takes_moments { 2 * plan.ops[stage.end - 1].outputs } else { 0 };
        let moments = &mut parts[..plan.parts() * part_len];
        let other = match ends {
            true => (&mut *y, size[1] * plan.ops[last].outputs),
            false => (&mut *moments, size[1] / plan.part() * part_len),
        };
        let (statistics, work) = (&*normalized, plan.work() / plan.stages.len());
        for_each_row_block(matrices, &plan.matrices, size, work, other, |mut block, other| {
            let rows = block.rows.clone();
            if let Some(before) = stage.start.checked_sub(1) {
                let [x, y] = block.get([Place::Normalized.of(before), Place::Output.of(before)]);
                let y = if y.is_empty() { &mut *other } else { y };
                normalize(&plan.ops[before], statistics[before].as_ref(), x, y)?;
                plan.ops[before].activate(mode, &rows, y)?;
            }
            for index in stage.clone() {
                let op = &plan.ops[index];
                let place = match op.normalization {
                    Some(_) => Place::Normalized,
                    None => Place::Output,
                };
                let y = match (index, plan.halves) {
                    (0, Some([first, second])) => {
                        let [first, second, y] = block.get([first, second, place.of(0)]);
                        let y = if y.is_empty() { &mut *other } else { y };
                        lanes::add(first, second, op.is_rectified(), y)?;
                        y
                    }
                    _ => {
                        let (x, y) = if index == 0 {
                            let [y] = block.get([place.of(0)]);
                            (&batch[rows.start * op.inputs..rows.end * op.inputs], y)
                        } else {
                            let [x, y] = block.get([Place::Output.of(index - 1), place.of(index)]);
                            (&*x, y)
                        };
                        let y = if y.is_empty() { &mut *other } else { y };
                        affine(op, weights[index], x, y)?;
                        y
                    }
                };
                if op.normalization.is_none() {
                    op.activate(mode, &rows, y)?;
                }
            }
            if takes_moments {
                let op = stage.end - 1;
                let ([x], width) = (block.get([Place::Normalized.of(op)]), plan.ops[op].outputs);
                for (x, moments) in x.chunks(plan.part() * width).zip(other.chunks_mut(part_len)) {
                    parts::moments([x.len() / width, width, 1], x, moments)?;
                }
            }
            if ends {
                let [kept] = block.get([Place::Output.of(last)]);
                if !kept.is_empty() {
                    other.copy_from_slice(kept);
                }
            }
            Ok(())
        })?;
        if takes_moments && let Some(normalized) = &mut normalized[stage.end - 1] {
            normalized.set_moments(moments, [plan.samples, plan.part()])?;
        }
    }
    Ok(())
}

/// What each half of the first weights adds to the output; the first half adds the bias as well.
fn multiply_halves<T: Element>(
    plan: &Plan,
    halves: [usize; 2],
    [w, b]: [&[T]; 2],
    batch: &[T],
    matrices: &mut [T],
) -> kernels::Result<()> {
    let (&Op { inputs, outputs, .. }, [samples, block]) = (&plan.ops[0], plan.rows()?);
    let (half, rows) = (inputs.div_ceil(2), 2 * block);
    let spans = halves.map(|half| plan.span(half).range());
    let [first, second] =
        matrices.get_disjoint_mut(spans).expect("the matrices of a plan are apart");
    let mut jobs = Vec::with_capacity(2 * samples.div_ceil(rows));
    for (depth, bias, y) in
        [(0..half, Bias::PerColumn(b), first), (half..inputs, Bias::None, second)]
    {
        for (number, y) in y.chunks_mut(rows * outputs).enumerate() {
            jobs.push((depth.clone(), bias, number * rows, y));
        }
    }
    let work = samples * inputs * outputs;
    for_each_stretch(jobs.len(), work, [(&mut jobs, 1)], |_, [jobs]| {
        jobs.iter_mut().try_for_each(|(depth, bias, first, y)| {
            let (rows, at) = (y.len() / outputs, *first * inputs + depth.start);
            let x = MatRef::strided(batch, at, [rows, depth.len()], [inputs as isize, 1])?;
            let w = &w[depth.start * outputs..depth.end * outputs];
            let w = MatRef::new(w, [depth.len(), outputs])?;
            let epilogue = Epilogue { bias: *bias, relu: false };
            gemm_with(T::one(), x, w, T::zero(), MatMut::new(y, [rows, outputs])?, epilogue)
        })
    })
}

/// y = x·W + b of the rows of a block, and ReLU where nothing is between.
fn affine<T: Element>(op: &Op, [w, b]: [&[T]; 2], x: &[T], y: &mut [T]) -> kernels::Result<()> {
    let rows = y.len() / op.outputs;
    gemm_with(
        T::one(),
        MatRef::new(x, [rows, op.inputs])?,
        MatRef::new(w, [op.inputs, op.outputs])?,
        T::zero(),
        MatMut::new(y, [rows, op.outputs])?,
        Epilogue { bias: Bias::PerColumn(b), relu: op.is_rectified() },
    )
}

/// y = what `normalized` makes of x, and ReLU.
fn normalize<T: Element>(
    op: &Op,
    normalized: Option<&Normalized<T>>,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    let Some(normalized) = normalized else { return Ok(()) };
    let shape = [x.len() / op.outputs, op.outputs, 1];
    parts::forward(shape, x, normalized.forward(), op.activation == Activation::Relu, y)
}

/// From dy, the gradient by the output of the last forward pass, that of x, to dx, the one by its input (empty where a layer of these,
/// `first`, is the first of the network that learns); leaves the gradients by the weights in the layers.
pub(super) fn backward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    x: &[T],
    dy: &[T],
    first: usize,
    dx: &mut [T],
) -> Result<()> {
    if memory.matrices.len() < plan.memory_len {
        return Err(crate::Error::NoForward("Affine"));
    }
    run_backward(plan, layers, memory, dy, first, dx)?;
    let normalized = &mut memory.normalized;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_backward(layer));
    weight_gradients(plan, layers, &memory.matrices, x, dy)
}

fn run_backward<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    dy: &[T],
    first: usize,
    dx: &mut [T],
) -> kernels::Result<()> {
    let Memory { matrices, normalized, parts, .. } = memory;
    let (size, weights) = (plan.rows()?, weights(plan, layers));
    for (number, stage) in plan.stages.iter().enumerate().rev() {
        let before = stage.start.checked_sub(1).filter(|&before| plan.ops[before].learns(first));
        let part_len = before.map_or(0, |before| 2 * plan.ops[before].outputs);
        let sums = &mut parts[..plan.parts() * part_len];
        let other = match number {
            0 => (&mut *dx, size[1] * plan.ops[0].inputs),
            _ => (&mut *sums, size[1] / plan.part() * part_len),
        };
        let (statistics, work) = (&*normalized, plan.work() / plan.stages.len());
        for_each_row_block(matrices, &plan.matrices, size, work, other, |mut block, other| {
            let rows = block.rows.clone();
            let outside = {
                let width = plan.output_shape.iter().product::<usize>();
                &dy[rows.start * width..rows.end * width]
            };
            for index in stage.clone().rev() {
                let op = &plan.ops[index];
                if op.layer < first {
                    return Ok(());
                }
                match &statistics[index] {
                    Some(normalized) => {
                        normalize_backward(op, index, normalized, &mut block, outside)?;
                    }
                    None => activation_backward(plan, index, &mut block, outside)?,
                }
                if op.layer == first {
                    return Ok(());
                }
                let here = plan.affine_gradient(index);
                let (dy, dx) = if index == 0 {
                    let [dy] = block.get([here]);
                    (dy, &mut *other)
                } else {
                    let [dy, dx] = block.get([here, Place::Gradient.of(index - 1)]);
                    (dy, dx)
                };
                let dy = if dy.is_empty() { outside } else { dy };
                gemm(
                    T::one(),
                    MatRef::new(dy, [rows.len(), op.outputs])?,
                    MatRef::new(weights[index][0], [op.inputs, op.outputs])?.t(),
                    T::zero(),
                    MatMut::new(dx, [rows.len(), op.inputs])?,
                )?;
            }
            let Some(before) = before else { return Ok(()) };
            let Some(normalized) = &statistics[before] else { return Ok(()) };
            activation_backward(plan, before, &mut block, outside)?;
            let width = plan.ops[before].outputs;
            let [x, dy] = block.get([Place::Normalized, Place::Gradient].map(|p| p.of(before)));
            let dy = if dy.is_empty() { outside } else { dy };
            let step = plan.part() * width;
            let parts = x.chunks(step).zip(dy.chunks(step)).zip(other.chunks_mut(part_len));
            for ((x, dy), sums) in parts {
                let shape = [x.len() / width, width, 1];
                parts::gradients(shape, x, dy, normalized.statistics(), sums)?;
            }
            Ok(())
        })?;
        let Some(before) = before else { break };
        if let Some(normalized) = &mut normalized[before] {
            normalized.set_gradients(sums, plan.samples)?;
        }
    }
    Ok(())
}

/// Turns the gradient by an operation's output, which for the last one comes from `outside`, into that by what its activation takes.
fn activation_backward<T: Element>(
    plan: &Plan,
    index: usize,
    block: &mut RowBlock<'_, T>,
    outside: &[T],
) -> kernels::Result<()> {
    let [y, dy] = block.get([Place::Output, Place::Gradient].map(|place| place.of(index)));
    if index + 1 == plan.ops.len() {
        dy.copy_from_slice(&outside[..dy.len()]);
    }
    // Where dropout has made y 0, ReLU's gradient is 0 as well.
    plan.ops[index].activation.backward(y, dy)
}

/// The gradient by what an operation normalises.
fn normalize_backward<T: Element>(
    op: &Op,
    index: usize,
    normalized: &Normalized<T>,
    block: &mut RowBlock<'_, T>,
    outside: &[T],
) -> kernels::Result<()> {
    let places = [Place::Normalized, Place::Gradient, Place::NormalizedGradient];
    let [x, dy, dx] = block.get(places.map(|place| place.of(index)));
    let dy = if dy.is_empty() { outside } else { dy };
    parts::backward([x.len() / op.outputs, op.outputs, 1], x, dy, normalized.backward(), dx)
}

/// A part of the gradients of an affine layer, or all of them.
struct Gradient<'a, T> {
    op: &'a Op,
    x: &'a [T],
    dy: &'a [T],
    /// The first of the rows of W whose gradients these are; the bias goes with the first part.
    first: usize,
    dw: &'a mut [T],
    db: &'a mut [T],
}

impl<T: Element> Gradient<'_, T> {
    /// dW = xᵀ·dy and db = the column sums of dy.
    fn compute(&mut self, samples: usize) -> kernels::Result<()> {
        let Self { op, x, dy, first, dw, db } = self;
        let Op { inputs, outputs, .. } = **op;
        if !dw.is_empty() {
            let rows = dw.len() / outputs;
            let x = MatRef::strided(x, *first, [rows, samples], [1, inputs as isize])?;
            let dy = MatRef::new(dy, [samples, outputs])?;
            gemm(T::one(), x, dy, T::zero(), MatMut::new(dw, [rows, outputs])?)?;
        }
        if !db.is_empty() {
            sum_axis([1, samples, outputs], dy, db)?;
        }
        Ok(())
    }
}

/// The gradients by all weights that learn, in parts that threads share.
fn weight_gradients<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    matrices: &[T],
    x: &[T],
    dy: &[T],
) -> Result<()> {
    let mut jobs = Vec::new();
    let learning = layers[plan.layers.clone()].iter_mut().filter_map(|layer| layer.weights_mut());
    for ((index, op), [w, b]) in plan.ops.iter().enumerate().zip(learning) {
        let x = match index {
            0 => x,
            _ => &matrices[plan.span(Place::Output.of(index - 1)).range()],
        };
        let inside = &matrices[plan.span(plan.affine_gradient(index)).range()];
        let dy = if inside.is_empty() { dy } else { inside };
        let dw = if w.frozen { &mut [] } else { slice_mut(&mut w.grad) };
        let mut db = if b.frozen { &mut [] } else { slice_mut(&mut b.grad) };
        if dw.is_empty() {
            jobs.push((shares::share(index, 0, 1), Gradient { op, x, dy, first: 0, dw, db }));
            continue;
        }
        let work = plan.samples * op.inputs * op.outputs;
        let parts = shares::parts(pieces((work / PART_WORK).min(op.inputs / PART))?);
        let rows = op.inputs.div_ceil(parts);
        for (part, dw) in dw.chunks_mut(rows * op.outputs).enumerate() {
            let (db, first) = (std::mem::take(&mut db), part * rows);
            let share = shares::share(index, part, parts);
            jobs.push((share, Gradient { op, x, dy, first, dw, db }));
        }
    }
    Ok(shares::run(jobs.into_iter(), plan.work(), |job| job.compute(plan.samples))?)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, .. } = self;
        let kib = |elements: usize| (elements * self.element_bytes).div_ceil(1024);
        writeln!(f, "samples in rows: {samples}; memory: {} KiB", kib(self.memory_len))?;
        writeln!(f, "  {:<44} {:>14} {:>12} {:>12}", "operation", "output", "KiB", "MFLOP")?;
        for op in &self.ops {
            let shape = format!("[{}]", op.outputs);
            let flops = 2e-6 * (samples * op.inputs * op.outputs) as f64;
            let kib = kib(samples * op.outputs);
            writeln!(f, "  {:<44} {shape:>14} {kib:>12} {flops:>12.1}", op.name)?;
        }
        Ok(())
    }
}
