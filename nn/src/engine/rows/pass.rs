//! Forward, back, and a step, where a block of samples goes on from its scores through the loss and back.

use std::ops::Range;

use super::super::folded::Folded;
use super::super::normalized::Normalized;
use super::Memory;
use super::plan::{Activation, Op, Place, Plan};
use super::weights::weight_gradients;
use crate::functions::CROSS_ENTROPY_EPSILON;
use crate::kernels::batch_norm::parts;
use crate::kernels::gemm::{Bias, Epilogue, gemm, gemm_with};
use crate::kernels::lanes::{self, Buffer, for_each_stretch};
use crate::kernels::rows::{RowBlock, for_each_row_block};
use crate::kernels::softmax::{
    Target, cross_entropy, softmax_cross_entropy_backward, softmax_rows,
};
use crate::kernels::{self, MatMut, MatRef};
use crate::layers::{BatchNormalization, Layer, Mode, Parameter, slice};
use crate::{Element, Error, Result};

/// W and b of each operation.
fn weights<'a, T: Element>(
    plan: &Plan,
    layers: &'a [Box<dyn Layer<T>>],
    folded: &'a Folded<T>,
) -> Vec<[&'a [T]; 2]> {
    let elements =
        |weights: [&'a Parameter<T>; 2]| weights.map(|parameter| slice(&parameter.value));
    let of = |(index, op): (usize, &Op)| match folded.get(index) {
        Some([w, b]) => [&w[..], &b[..]],
        None => layers[op.layer].weights().map_or([&[][..]; 2], elements),
    };
    plan.ops.iter().enumerate().map(of).collect()
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

/// Has the memory ready for a forward pass.
fn begin<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    mode: Mode,
) {
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
    let normalized = &mut memory.normalized;
    for_each_normalization(plan, layers, normalized, |own, layer| own.begin(layer, mode));
}

/// The output y of a batch x; in training, keeps what the way back needs.
pub(crate) fn forward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    version: u64,
    memory: &mut Memory<T>,
    mode: Mode,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    begin(plan, layers, memory, mode);
    if plan.predicts {
        let folds = plan.ops.iter().map(|op| (op.fold, op.layer));
        memory.folded.prepare(folds, layers, version);
    }
    let Memory { matrices, folded, normalized, parts } = memory;
    let weights = &weights(plan, layers, folded);
    let pass = Forward { plan, mode, x, weights };
    pass.run_to_last([matrices, parts], normalized)?;
    let (size, statistics, last) = (plan.rows()?, &*normalized, plan.ops.len() - 1);
    let y = (y, size[1] * plan.ops[last].outputs);
    for_each_row_block(matrices, &plan.matrices, size, plan.stage_work(), y, |mut block, y| {
        pass.run(plan.last_stage(), statistics, &mut block, y)?;
        let [kept] = block.get([Place::Output.of(last)]);
        if !kept.is_empty() {
            y.copy_from_slice(kept);
        }
        Ok(())
    })?;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_forward(layer));
    Ok(())
}

/// From dy, the gradient by the output of the last forward pass, that of x, to dx, the one by its input (empty where a layer of these,
/// `first`, is the first of the network that learns); leaves the gradients by the weights in the layers.
pub(crate) fn backward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    x: &[T],
    dy: &[T],
    first: usize,
    dx: &mut [T],
) -> Result<()> {
    if memory.matrices.len() < plan.memory_len {
        return Err(Error::NoForward("Affine"));
    }
    let Memory { matrices, folded, normalized, parts } = memory;
    let pass = Backward { plan, first, weights: &weights(plan, layers, folded) };
    let last = plan.ops.len() - 1;
    pass.run_all([matrices, parts], normalized, dx, |_, block| {
        let (rows, width) = (block.rows.clone(), plan.ops[last].outputs);
        let [gradient] = block.get([Place::Gradient.of(last)]);
        gradient.copy_from_slice(&dy[rows.start * width..rows.end * width]);
        Ok(())
    })?;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_backward(layer));
    weight_gradients(plan, layers, matrices, x)
}

/// A step of the segment before the loss.
pub(crate) struct Step<'a, T> {
    /// The mode of the forward pass.
    pub(crate) mode: Mode,
    /// The input.
    pub(crate) x: &'a [T],
    /// What the scores should be.
    pub(crate) target: Target<'a, T>,
    /// The first layer that learns.
    pub(crate) first: usize,
    /// For the gradient by the input, where it is wanted.
    pub(crate) dx: &'a mut [T],
}

/// As [`forward`], the loss, which it returns, and [`backward`].
pub(crate) fn step<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    Step { mode, x, target, first, dx }: Step<'_, T>,
) -> Result<T> {
    let (samples, last) = (plan.samples, plan.ops.len() - 1);
    let classes = plan.ops[last].outputs;
    target.check("softmax_cross_entropy", samples, classes)?;
    begin(plan, layers, memory, mode);
    let Memory { matrices, folded, normalized, parts } = memory;
    let weights = &weights(plan, layers, folded);
    let (forward, back) = (Forward { plan, mode, x, weights }, Backward { plan, first, weights });
    forward.run_to_last([matrices, parts], normalized)?;
    back.run_all([matrices, parts], normalized, dx, |statistics, block| {
        forward.run(plan.last_stage(), statistics, block, &mut [])?;
        let target = target.rows(block.rows.clone(), classes);
        let places = [Place::Output.of(last), plan.probabilities, Place::Gradient.of(last)];
        let [scores, y, gradient] = block.get(places);
        softmax_rows(scores, classes, y)?;
        softmax_cross_entropy_backward(y, classes, target, samples, gradient)
    })?;
    let y = &matrices[plan.span(plan.probabilities).range()];
    let loss = cross_entropy(y, classes, target, T::of(CROSS_ENTROPY_EPSILON))?;
    for_each_normalization(plan, layers, normalized, |own, layer| {
        own.end_forward(layer);
        own.end_backward(layer);
    });
    weight_gradients(plan, layers, matrices, x)?;
    Ok(loss)
}

/// What the blocks share on the way forward.
struct Forward<'a, T> {
    plan: &'a Plan,
    mode: Mode,
    x: &'a [T],
    /// W and b of each operation.
    weights: &'a [[&'a [T]; 2]],
}

impl<T: Element> Forward<'_, T> {
    /// All stages but the last.
    fn run_to_last(
        &self,
        [matrices, parts]: [&mut Buffer<T>; 2],
        normalized: &mut [Option<Normalized<T>>],
    ) -> kernels::Result<()> {
        let (plan, size) = (self.plan, self.plan.rows()?);
        if let Some(halves) = plan.halves {
            self.multiply_halves(halves, matrices)?;
        }
        for stage in &plan.stages[..plan.stages.len() - 1] {
            let (waiting, statistics) = (stage.end - 1, &*normalized);
            let takes_moments =
                statistics[waiting].as_ref().is_some_and(Normalized::takes_statistics);
            let width = plan.ops[waiting].outputs;
            let part_len = if takes_moments { 2 * width } else { 0 };
            let moments = &mut parts[..plan.parts() * part_len];
            let other = (&mut *moments, size[1] / plan.part() * part_len);
            let work = plan.stage_work();
            for_each_row_block(
                matrices,
                &plan.matrices,
                size,
                work,
                other,
                |mut block, moments| {
                    self.run(stage, statistics, &mut block, &mut [])?;
                    if takes_moments {
                        let [x] = block.get([Place::Normalized.of(waiting)]);
                        let parts = x.chunks(plan.part() * width).zip(moments.chunks_mut(part_len));
                        for (x, moments) in parts {
                            parts::moments([x.len() / width, width, 1], x, moments)?;
                        }
                    }
                    Ok(())
                },
            )?;
            if takes_moments && let Some(normalized) = &mut normalized[waiting] {
                normalized.set_moments(moments, [plan.samples, plan.part()])?;
            }
        }
        Ok(())
    }

    /// What each half of the first weights adds to the output; the first half adds the bias as well.
    fn multiply_halves(&self, halves: [usize; 2], matrices: &mut [T]) -> kernels::Result<()> {
        let (plan, [w, b]) = (self.plan, self.weights[0]);
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
                let x = MatRef::strided(self.x, at, [rows, depth.len()], [inputs as isize, 1])?;
                let w = &w[depth.start * outputs..depth.end * outputs];
                let w = MatRef::new(w, [depth.len(), outputs])?;
                let epilogue = Epilogue { bias: *bias, relu: false };
                gemm_with(T::one(), x, w, T::zero(), MatMut::new(y, [rows, outputs])?, epilogue)
            })
        })
    }

    /// A stage of a block; the last operation of a prediction writes to `outside`.
    fn run(
        &self,
        stage: &Range<usize>,
        statistics: &[Option<Normalized<T>>],
        block: &mut RowBlock<'_, T>,
        outside: &mut [T],
    ) -> kernels::Result<()> {
        let (Self { plan, mode, .. }, rows) = (self, block.rows.clone());
        if let Some(before) = stage.start.checked_sub(1)
            && let Some(normalized) = &statistics[before]
        {
            let [x, y] = block.get([Place::Normalized, Place::Output].map(|p| p.of(before)));
            let op = &plan.ops[before];
            let (shape, relu) = ([rows.len(), op.outputs, 1], op.activation == Activation::Relu);
            parts::forward(shape, x, normalized.forward(), relu, y)?;
            op.activate(*mode, &rows, y)?;
        }
        for index in stage.clone() {
            let op = &plan.ops[index];
            let place = match op.normalization {
                Some(_) => Place::Normalized.of(index),
                None => Place::Output.of(index),
            };
            let y = match (index, plan.halves) {
                (0, Some([first, second])) => {
                    let [first, second, y] = block.get([first, second, place]);
                    lanes::add(first, second, op.is_rectified(), y)?;
                    y
                }
                (0, None) => {
                    let [y] = block.get([place]);
                    let y = if y.is_empty() { &mut *outside } else { y };
                    let x = &self.x[rows.start * op.inputs..rows.end * op.inputs];
                    affine(op, self.weights[0], x, y)?;
                    y
                }
                _ => {
                    let [x, y] = block.get([Place::Output.of(index - 1), place]);
                    let y = if y.is_empty() { &mut *outside } else { y };
                    affine(op, self.weights[index], x, y)?;
                    y
                }
            };
            if op.normalization.is_none() {
                op.activate(*mode, &rows, y)?;
            }
        }
        Ok(())
    }
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

/// dx = dy·Wᵀ of as many rows as there are.
fn affine_backward<T: Element>(
    op: &Op,
    [w, _]: [&[T]; 2],
    dy: &[T],
    dx: &mut [T],
) -> kernels::Result<()> {
    let rows = dy.len() / op.outputs;
    gemm(
        T::one(),
        MatRef::new(dy, [rows, op.outputs])?,
        MatRef::new(w, [op.inputs, op.outputs])?.t(),
        T::zero(),
        MatMut::new(dx, [rows, op.inputs])?,
    )
}

/// What the blocks share on the way back.
struct Backward<'a, T> {
    plan: &'a Plan,
    /// The first layer that learns.
    first: usize,
    /// W and b of each operation.
    weights: &'a [[&'a [T]; 2]],
}

impl<T: Element> Backward<'_, T> {
    /// The operation whose normalisation waits for the way back of a stage.
    fn before(&self, stage: &Range<usize>) -> Option<usize> {
        stage.start.checked_sub(1).filter(|&before| self.plan.ops[before].learns(self.first))
    }

    /// All stages, the last one first; a block begins with `begin`, which leaves the gradient by the output.
    fn run_all(
        &self,
        [matrices, parts]: [&mut Buffer<T>; 2],
        normalized: &mut [Option<Normalized<T>>],
        dx: &mut [T],
        begin: impl Fn(&[Option<Normalized<T>>], &mut RowBlock<'_, T>) -> kernels::Result<()> + Sync,
    ) -> kernels::Result<()> {
        let (plan, size) = (self.plan, self.plan.rows()?);
        for (number, stage) in plan.stages.iter().enumerate().rev() {
            let before = self.before(stage);
            let part_len = before.map_or(0, |before| 2 * plan.ops[before].outputs);
            let sums = &mut parts[..plan.parts() * part_len];
            let other = match number {
                0 => (&mut *dx, size[1] * plan.ops[0].inputs),
                _ => (&mut *sums, size[1] / plan.part() * part_len),
            };
            let (statistics, work) = (&*normalized, plan.stage_work());
            for_each_row_block(matrices, &plan.matrices, size, work, other, |mut block, other| {
                if number + 1 == plan.stages.len() {
                    begin(statistics, &mut block)?;
                }
                self.run(stage, statistics, &mut block, other)
            })?;
            let Some(before) = before else { break };
            if let Some(normalized) = &mut normalized[before] {
                normalized.set_gradients(sums, plan.samples)?;
            }
        }
        if plan.halves.is_some() && !dx.is_empty() {
            let dy = &matrices[plan.span(plan.affine_gradient(0)).range()];
            affine_backward(&plan.ops[0], self.weights[0], dy, dx)?;
        }
        Ok(())
    }

    /// A stage of a block; `other` is its part of dx, or of the sums for the normalisation before the stage.
    fn run(
        &self,
        stage: &Range<usize>,
        statistics: &[Option<Normalized<T>>],
        block: &mut RowBlock<'_, T>,
        other: &mut [T],
    ) -> kernels::Result<()> {
        let (Self { plan, first, .. }, rows) = (self, block.rows.len());
        for index in stage.clone().rev() {
            let op = &plan.ops[index];
            if op.layer < *first {
                return Ok(());
            }
            match &statistics[index] {
                Some(normalized) => {
                    let places = [Place::Normalized, Place::Gradient, Place::NormalizedGradient];
                    let [x, dy, dx] = block.get(places.map(|place| place.of(index)));
                    parts::backward([rows, op.outputs, 1], x, dy, normalized.backward(), dx)?;
                }
                None => self.activation(index, block)?,
            }
            // Of weights in halves threads share the columns of dx, not its rows.
            if op.layer == *first || (index == 0 && plan.halves.is_some()) {
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
            affine_backward(op, self.weights[index], dy, dx)?;
        }
        let Some(before) = self.before(stage) else { return Ok(()) };
        let Some(normalized) = &statistics[before] else { return Ok(()) };
        self.activation(before, block)?;
        let width = plan.ops[before].outputs;
        let [x, dy] = block.get([Place::Normalized, Place::Gradient].map(|p| p.of(before)));
        let step = plan.part() * width;
        let parts = x.chunks(step).zip(dy.chunks(step)).zip(other.chunks_mut(2 * width));
        for ((x, dy), sums) in parts {
            parts::gradients([x.len() / width, width, 1], x, dy, normalized.statistics(), sums)?;
        }
        Ok(())
    }

    /// Turns the gradient by an operation's output into that by what its activation takes.
    fn activation(&self, index: usize, block: &mut RowBlock<'_, T>) -> kernels::Result<()> {
        let [y, dy] = block.get([Place::Output, Place::Gradient].map(|place| place.of(index)));
        // Where dropout has made y 0, ReLU's gradient is 0 as well.
        self.plan.ops[index].activation.backward(y, dy)
    }
}
