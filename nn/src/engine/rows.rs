//! Fully connected layers: samples in rows.
//!
//! What affine layers and activations do with a sample does not depend on the others. So a block of samples goes through all of
//! them on one thread, whose cache keeps what it has computed, forward and later back. Threads meet only once more, for the
//! gradients by the weights, which are sums over the whole batch: each takes some of their rows.

use std::fmt;
use std::ops::Range;

use super::folded::{Fold, Folded};
use super::plan::Span;
use crate::kernels::activation::{
    relu_backward, sigmoid_backward, sigmoid_in_place, tanh_backward, tanh_in_place,
};
use crate::kernels::gemm::{Bias, Epilogue, gemm, gemm_with};
use crate::kernels::lanes::{Buffer, for_each_stretch};
use crate::kernels::reduce::sum_axis;
use crate::kernels::rows::{Matrix, for_each_row_block};
use crate::kernels::{MatMut, MatRef, num_threads};
use crate::layers::{Layer, Operation, Parameter, Statistics, slice, slice_mut};
use crate::tensor::elements;
use crate::{Element, Result, Tensor, kernels};

/// Samples of a block, at least: with fewer, a tile of a matrix product has too few rows for what it reads of W. Of a longer one,
/// which reads W less often, where that leaves one for each thread. Blocks at most.
pub(super) const BLOCK: usize = 24;
const LONG_BLOCK: usize = 48;
const BLOCKS: usize = 8;
/// Rows of a part of a gradient by weights, and its multiply-adds, at least. Parts at most.
const PART: usize = 48;
const PART_WORK: usize = 1 << 18;
const PARTS: usize = 8;

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
    activation: Activation,
}

/// The plan of a segment.
#[derive(Debug)]
pub(super) struct Plan {
    /// The layers it stands for.
    pub(super) layers: Range<usize>,
    ops: Vec<Op>,
    /// For each operation its output and the gradient by the output of its affine layer; of width 0 where the arrays that come
    /// from outside serve.
    matrices: Vec<Matrix>,
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
    /// The last input, where it is needed again.
    x: Option<Tensor<T>>,
    /// For predictions.
    folded: Folded<T>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        Self { matrices: Buffer::new(0), x: None, folded: Folded::default() }
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
            if predicts
                && let Some(Operation::BatchNormalization(Statistics::PerFeature, _)) =
                    operation(at)
            {
                layers[at].output_shape(&shape)?;
                normalization = Some(at);
                at += 1;
            }
            let following = operation(at).and_then(Activation::of);
            at += usize::from(following.is_some());
            let (activation, mut factor) = (following.unwrap_or(Activation::None), 1.0);
            let is_linear = matches!(activation, Activation::None | Activation::Relu);
            if predicts
                && is_linear
                && let Some(Operation::Dropout(ratio)) = operation(at)
            {
                factor = 1.0 - ratio;
                at += 1;
            }
            let names: Vec<_> = layers[first..at].iter().map(|layer| layer.name()).collect();
            ops.push(Op {
                layer: first,
                name: names.join(" + "),
                inputs,
                outputs: shape.iter().product(),
                fold: Fold { normalization, factor },
                activation,
            });
        }
        if ops.is_empty() {
            return Ok(None);
        }
        let (mut matrices, mut memory_len) = (Vec::new(), 0);
        for (index, op) in ops.iter().enumerate() {
            let inside = index + 1 < ops.len() || op.activation != Activation::None;
            let outputs = if inside { op.outputs } else { 0 };
            for width in [outputs, if predicts { 0 } else { outputs }] {
                matrices.push(Matrix { start: memory_len, width });
                // The next one begins at a cache line: 64 bytes.
                memory_len += (samples * width).next_multiple_of(16);
            }
        }
        Ok(Some(Self {
            layers: first..at,
            ops,
            matrices,
            memory_len,
            output_shape: shape,
            samples,
            predicts,
            element_bytes: size_of::<T>(),
        }))
    }

    /// Where the output of an operation lies, and where the gradient by that of its affine layer.
    fn matrices_of(op: usize) -> [usize; 2] {
        [2 * op, 2 * op + 1]
    }

    /// All rows of a matrix.
    fn span(&self, matrix: usize) -> Span {
        let Matrix { start, width } = self.matrices[matrix];
        Span { start, len: self.samples * width }
    }

    /// The number of samples, and that of a block.
    fn rows(&self) -> kernels::Result<[usize; 2]> {
        let blocks = |rows: usize| (self.samples / rows).min(BLOCKS);
        let blocks = pieces(blocks(LONG_BLOCK).max(blocks(BLOCK).min(num_threads()?)))?;
        Ok([self.samples, self.samples.div_ceil(blocks)])
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

/// The output y of a batch x; in training, keeps what the way back needs.
pub(super) fn forward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    version: u64,
    memory: &mut Memory<T>,
    x: Tensor<T>,
    y: &mut [T],
) -> kernels::Result<()> {
    let Memory { matrices, x: kept_x, folded } = memory;
    if matrices.len() < plan.memory_len {
        *matrices = Buffer::new(plan.memory_len);
    }
    let (batch, size, last) = (elements(&x), plan.rows()?, plan.ops.len() - 1);
    if plan.predicts {
        folded.prepare(plan.ops.iter().map(|op| (op.fold, op.layer)), layers, version);
    }
    let mut weights = weights(plan, layers);
    for (index, weights) in weights.iter_mut().enumerate() {
        if let Some([w, b]) = folded.get(index) {
            *weights = [w, b];
        }
    }
    let y = (y, plan.ops[last].outputs);
    for_each_row_block(matrices, &plan.matrices, size, plan.work(), y, |mut block, y| {
        let rows = block.rows.clone();
        for (index, (op, [w, b])) in plan.ops.iter().zip(&weights).enumerate() {
            let [kept, _] = Plan::matrices_of(index);
            let (input, output) = if index == 0 {
                let [output] = block.get([kept]);
                (&batch[rows.start * op.inputs..rows.end * op.inputs], output)
            } else {
                let [input, output] = block.get([Plan::matrices_of(index - 1)[0], kept]);
                (&*input, output)
            };
            let output = if output.is_empty() { &mut *y } else { output };
            let relu = op.activation == Activation::Relu;
            gemm_with(
                T::one(),
                MatRef::new(input, [rows.len(), op.inputs])?,
                MatRef::new(w, [op.inputs, op.outputs])?,
                T::zero(),
                MatMut::new(output, [rows.len(), op.outputs])?,
                Epilogue { bias: Bias::PerColumn(b), relu },
            )?;
            match op.activation {
                Activation::None | Activation::Relu => {}
                Activation::Sigmoid => sigmoid_in_place(output)?,
                Activation::Tanh => tanh_in_place(output)?,
            }
        }
        let [kept] = block.get([Plan::matrices_of(last)[0]]);
        if !kept.is_empty() {
            y.copy_from_slice(kept);
        }
        Ok(())
    })?;
    *kept_x = (!plan.predicts).then_some(x);
    Ok(())
}

/// From dy, the gradient by the last forward pass's output, to dx, that by its input (empty where a layer of these, `first`, is
/// the first of the network that learns); leaves the gradients by the weights in the layers.
pub(super) fn backward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    dy: &[T],
    first: usize,
    dx: &mut [T],
) -> Result<()> {
    let Memory { matrices, x: Some(x), .. } = memory else {
        return Err(crate::Error::NoForward("Affine"));
    };
    let (size, last) = (plan.rows()?, plan.ops.len() - 1);
    let (weights, dx) = (weights(plan, layers), (dx, plan.ops[0].inputs));
    for_each_row_block(matrices, &plan.matrices, size, plan.work(), dx, |mut block, dx| {
        let rows = block.rows.clone();
        for (index, (op, [w, _])) in plan.ops.iter().zip(&weights).enumerate().rev() {
            let here = Plan::matrices_of(index);
            if op.layer < first {
                break;
            }
            let [y, dy_here] = block.get(here);
            if index == last {
                let outside = &dy[rows.start * op.outputs..rows.end * op.outputs];
                dy_here.copy_from_slice(&outside[..dy_here.len()]);
            }
            op.activation.backward(y, dy_here)?;
            if op.layer <= first {
                break;
            }
            let (dy_here, dx) = if index == 0 {
                let [dy_here] = block.get([here[1]]);
                (&*dy_here, &mut *dx)
            } else {
                let [dy_here, dx] = block.get([here[1], Plan::matrices_of(index - 1)[1]]);
                (&*dy_here, dx)
            };
            let dy_here = match dy_here.is_empty() {
                true => &dy[rows.start * op.outputs..rows.end * op.outputs],
                false => dy_here,
            };
            gemm(
                T::one(),
                MatRef::new(dy_here, [rows.len(), op.outputs])?,
                MatRef::new(w, [op.inputs, op.outputs])?.t(),
                T::zero(),
                MatMut::new(dx, [rows.len(), op.inputs])?,
            )?;
        }
        Ok(())
    })?;
    weight_gradients(plan, layers, matrices, elements(x), dy)
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
            _ => &matrices[plan.span(Plan::matrices_of(index - 1)[0]).range()],
        };
        let inside = &matrices[plan.span(Plan::matrices_of(index)[1]).range()];
        let dy = if inside.is_empty() { dy } else { inside };
        let dw = if w.frozen { &mut [] } else { slice_mut(&mut w.grad) };
        let mut db = if b.frozen { &mut [] } else { slice_mut(&mut b.grad) };
        let work = plan.samples * op.inputs * op.outputs;
        let parts = pieces((work / PART_WORK).min(op.inputs / PART).min(PARTS))?;
        let part = op.inputs.div_ceil(parts);
        if dw.is_empty() {
            jobs.push(Gradient { op, x, dy, first: 0, dw: &mut [], db });
            continue;
        }
        for (number, dw) in dw.chunks_mut(part * op.outputs).enumerate() {
            let db = std::mem::take(&mut db);
            jobs.push(Gradient { op, x, dy, first: number * part, dw, db });
        }
    }
    // The smallest come first: where one is too many, it has no other beside it.
    jobs.reverse();
    Ok(for_each_stretch(jobs.len(), plan.work(), [(&mut jobs, 1)], |_, [jobs]| {
        jobs.iter_mut().try_for_each(|job| job.compute(plan.samples))
    })?)
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
