//! The plan of a segment of affine layers.

use std::fmt;
use std::ops::Range;

use super::super::folded::Fold;
use super::super::plan::Span;
use crate::kernels::activation::{
    relu_backward, sigmoid_backward, sigmoid_in_place, tanh_backward, tanh_in_place,
};
use crate::kernels::dropout::{DropoutKey, dropout_part};
use crate::kernels::rows::Matrix;
use crate::kernels::{self, num_threads};
use crate::layers::{Layer, Mode, Operation, Statistics};
use crate::{Element, Result};

/// Samples of a block, at least: with fewer, a tile of a matrix product has too few rows for what it reads of W. Of a longer one,
/// which reads W less often, where that leaves one for each thread. Blocks at most.
pub(crate) const BLOCK: usize = 24;
const LONG_BLOCK: usize = 48;
const BLOCKS: usize = 8;
/// The first weights are cut in halves where each of their columns has at least so many elements for a sample.
const DEEP: usize = 4;

/// `count` pieces where there are threads to share them, else one: a matrix product has the same bits in pieces of many rows.
pub(super) fn pieces(count: usize) -> kernels::Result<usize> {
    Ok(if num_threads()? == 1 { 1 } else { count.max(1) })
}

/// What follows an affine layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
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
    pub(super) fn backward<T: Element>(self, y: &[T], dy: &mut [T]) -> kernels::Result<()> {
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
pub(super) struct Op {
    /// The affine layer.
    pub(super) layer: usize,
    /// The layers' names.
    name: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// What predictions have in its weights.
    pub(super) fold: Fold,
    /// The batch normalisation after it, in training.
    pub(super) normalization: Option<usize>,
    pub(super) activation: Activation,
    /// The ratio and the number of the dropout after a ReLU, in training.
    dropout: Option<(f64, u32)>,
}

impl Op {
    /// Whether it has something that learns among the layers from `first` on.
    pub(super) fn learns(&self, first: usize) -> bool {
        self.normalization.unwrap_or(self.layer) >= first
    }

    /// Whether the affine layer's output is what ReLU makes of it.
    pub(super) fn is_rectified(&self) -> bool {
        self.activation == Activation::Relu && self.normalization.is_none()
    }

    /// What follows the affine layer and its normalisation, where those have not been able to do it themselves.
    pub(super) fn activate<T: Element>(
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

/// The matrices of an operation; of width 0 where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// What is normalised: the affine layer's output.
    Normalized,
    /// Not of a prediction's last operation, which writes where it is wanted.
    Output,
    /// The gradient by the output, then by what the activation takes.
    Gradient,
    /// The gradient by what is normalised.
    NormalizedGradient,
}

impl Place {
    const COUNT: usize = 4;

    pub(super) fn of(self, op: usize) -> usize {
        Self::COUNT * op + self as usize
    }
}

/// The plan of a segment.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The layers it stands for.
    pub(crate) layers: Range<usize>,
    pub(super) ops: Vec<Op>,
    /// Operations between which nobody waits: each of these but the last ends with a normalisation.
    pub(super) stages: Vec<Range<usize>>,
    /// Of each operation, by [`Place`]; then the others.
    pub(super) matrices: Vec<Matrix>,
    /// What each half of the first weights adds to the output, where there are many for each sample, and each step changes them: so
    /// each half stays with a thread, which multiplies it by its features of all samples.
    pub(super) halves: Option<[usize; 2]>,
    /// Softmax of the output, of the segment before the loss.
    pub(super) probabilities: usize,
    pub(super) memory_len: usize,
    pub(crate) output_shape: Vec<usize>,
    pub(super) samples: usize,
    /// Whether nobody goes back.
    pub(super) predicts: bool,
    element_bytes: usize,
}

impl Plan {
    /// The plan of the segment that begins with layer `first`, for `samples` samples of shape `input`; `None` where the layer is
    /// not affine.
    pub(crate) fn new<T: Element>(
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
            let normalized = if op.normalization.is_some() { op.outputs } else { 0 };
            let output = if predicts && index + 1 == ops.len() { 0 } else { op.outputs };
            let gradient = if predicts { 0 } else { op.outputs };
            // In the order of `Place`.
            for width in [normalized, output, gradient, normalized] {
                add(width);
            }
        }
        let has_halves = !predicts && ops[0].inputs >= DEEP * samples;
        let halves = has_halves.then(|| [add(ops[0].outputs), add(ops[0].outputs)]);
        let is_last = !predicts && at == layers.len();
        let probabilities = add(if is_last { shape.iter().product() } else { 0 });
        Ok(Some(Self {
            layers: first..at,
            ops,
            stages,
            matrices,
            halves,
            probabilities,
            memory_len,
            output_shape: shape,
            samples,
            predicts,
            element_bytes: size_of::<T>(),
        }))
    }

    /// All rows of a matrix.
    pub(super) fn span(&self, matrix: usize) -> Span {
        let Matrix { start, width } = self.matrices[matrix];
        Span { start, len: self.samples * width }
    }

    /// Where the gradient by the output of the affine layer is.
    pub(super) fn affine_gradient(&self, op: usize) -> usize {
        let place = match self.ops[op].normalization {
            Some(_) => Place::NormalizedGradient,
            None => Place::Gradient,
        };
        place.of(op)
    }

    /// Samples of which a normalisation's sums are taken at a time, whatever the number of threads; 1 where there is none.
    pub(super) fn part(&self) -> usize {
        match self.stages.len() {
            1 => 1,
            _ => self.samples.div_ceil((self.samples / BLOCK).clamp(1, BLOCKS)),
        }
    }

    pub(super) fn parts(&self) -> usize {
        self.samples.div_ceil(self.part())
    }

    /// The number of samples, and that of a block: whole parts.
    pub(super) fn rows(&self) -> kernels::Result<[usize; 2]> {
        let blocks = |rows: usize| (self.samples / rows).min(BLOCKS);
        let blocks = pieces(blocks(LONG_BLOCK).max(blocks(BLOCK).min(num_threads()?)))?;
        Ok([self.samples, self.parts().div_ceil(blocks) * self.part()])
    }

    pub(super) fn last_stage(&self) -> &Range<usize> {
        &self.stages[self.stages.len() - 1]
    }

    /// Multiply-adds of a forward pass of the batch through a stage, more or less.
    pub(super) fn stage_work(&self) -> usize {
        self.work() / self.stages.len()
    }

    /// Multiply-adds of a forward pass of the batch.
    pub(super) fn work(&self) -> usize {
        self.ops.iter().map(|op| self.samples * op.inputs * op.outputs).sum()
    }
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
