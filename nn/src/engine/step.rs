//! A step as it was planned.

use super::Memory;
use super::plan::{Kind, Op, Place, Plan, Pool, Span};
use crate::functions::CROSS_ENTROPY_EPSILON;
use crate::layers::{Layer, Mode, slice, slice_mut};
use crate::{Element, Result, kernels};
use kernels::activation::{
    relu, relu_backward, relu_in_place, sigmoid, sigmoid_backward, tanh, tanh_backward,
};
use kernels::dropout::DropoutKey;
use kernels::lanes::{self, Blocks};
use kernels::softmax::Target;

/// Part of a batch, and the memory it has.
struct Pass<'a, T> {
    plan: &'a Plan,
    layers: &'a [Box<dyn Layer<T>>],
    mode: Mode,
    groups: usize,
    first_sample: usize,
    samples: usize,
    memory: Spans<'a, T>,
    /// Where a convolution's output waits for its pooling, a group at a time.
    unpooled: &'a mut [T],
}

/// The two memories of a pass.
struct Spans<'a, T> {
    groups: usize,
    arena: &'a mut [T],
    saved: &'a mut [T],
}

impl<T> Spans<'_, T> {
    /// The memory of spans that do not overlap.
    fn get<const N: usize>(&mut self, spans: [Span; N]) -> [&mut [T]; N] {
        // Empty where the span lies in the other memory.
        let ranges = |saved: bool| {
            spans.map(|Span { place, len }| match place {
                Place::Arena(start) if !saved => start..start + len * self.groups,
                Place::Saved(start) if saved => start..start + len * self.groups,
                _ => 0..0,
            })
        };
        let (in_arena, in_saved) = (ranges(false), ranges(true));
        let planned = "spans of a plan are apart";
        let mut saved = self.saved.get_disjoint_mut(in_saved).expect(planned).into_iter();
        let arena = self.arena.get_disjoint_mut(in_arena).expect(planned);
        let mut places = spans.iter().map(|span| span.place);
        arena.map(|arena| match (places.next(), saved.next()) {
            (Some(Place::Saved(_)), Some(saved)) => saved,
            _ => arena,
        })
    }
}

/// The loss of a batch; leaves the gradients in the layers' parameters.
pub(super) fn gradient<T: Element>(
    plan: &Plan,
    memory: &mut Memory<T>,
    layers: &mut [Box<dyn Layer<T>>],
    x: &[T],
    target: Target<'_, T>,
    mode: Mode,
) -> kernels::Result<T> {
    check_target(plan, target)?;
    let Memory { saved, gradients, losses } = memory;
    let pass_samples = plan.pass_groups * plan.lanes;
    let widths =
        [plan.saved_len * plan.task_passes, plan.gradient_len, pass_samples * plan.task_passes];
    let slices =
        [(&mut **saved, widths[0]), (&mut **gradients, widths[1]), (&mut **losses, widths[2])];
    let shared = &*layers;
    lanes::for_each_stretch(
        plan.tasks(),
        plan.work(),
        slices,
        |task, [saved, gradients, losses]| {
            gradients.fill(T::zero());
            each_pass(plan, task, shared, mode, saved, |mut pass, number| {
                let losses = &mut losses[number * pass_samples..][..pass.samples];
                pass.forward(x)?;
                pass.loss(target, losses)?;
                pass.backward(gradients)
            })
        },
    )?;
    for op in &plan.ops {
        let Some([w, b]) = layers[op.layer].weights_mut() else { continue };
        let (dw, db) = (slice_mut(&mut w.grad), slice_mut(&mut b.grad));
        match &op.kind {
            Kind::Convolution { gradient: [start, len], .. } => {
                lanes::sum_stretches(gradients, plan.gradient_len, *start, dw)?;
                lanes::sum_stretches(gradients, plan.gradient_len, start + len, db)?;
            }
            Kind::Affine { size, rows, .. } => {
                let blocks = |span: Span| match span.place {
                    Place::Saved(offset) => {
                        Blocks { buffer: &**saved, stride: plan.saved_len, offset }
                    }
                    Place::Arena(_) => unreachable!("an affine layer's operands are saved"),
                };
                let groups = |pass: usize| plan.cut(pass + 1) - plan.cut(pass);
                let (x, dy) = (blocks(op.input), blocks(*rows));
                lanes::affine_gradient(*size, plan.passes, &groups, x, dy, dw, db)?;
            }
            _ => {}
        }
    }
    let loss = |pass: usize| {
        let samples = plan.first_sample(pass + 1) - plan.first_sample(pass);
        losses[pass * pass_samples..][..samples].iter().copied().sum::<T>()
    };
    Ok((0..plan.passes).map(loss).sum::<T>() / T::of(plan.samples as f64))
}

/// The scores of a batch, a row for each sample.
pub(super) fn predict<T: Element>(
    plan: &Plan,
    memory: &mut Memory<T>,
    layers: &[Box<dyn Layer<T>>],
    x: &[T],
) -> Result<Vec<T>> {
    let saved = &mut memory.saved;
    let width = plan.saved_len * plan.task_passes;
    lanes::for_each_stretch(plan.tasks(), plan.work(), [(saved, width)], |task, [saved]| {
        each_pass(plan, task, layers, Mode::Test, saved, |mut pass, _| pass.forward(x))
    })?;
    let mut scores = vec![T::zero(); plan.samples * plan.classes];
    for pass in 0..plan.passes {
        let samples = plan.first_sample(pass)..plan.first_sample(pass + 1);
        let groups = plan.cut(pass + 1) - plan.cut(pass);
        let Place::Saved(offset) = plan.scores.place else { unreachable!("scores are saved") };
        let from = &memory.saved[pass * plan.saved_len + offset..][..groups * plan.scores.len];
        let rows = &mut scores[samples.start * plan.classes..samples.end * plan.classes];
        lanes::scatter(from, plan.classes, rows)?;
    }
    Ok(scores)
}

/// Labels are checked before anything is computed; `row` is of the whole batch.
fn check_target<T>(plan: &Plan, target: Target<'_, T>) -> kernels::Result<()> {
    const OP: &str = "softmax_cross_entropy";
    let (classes, samples) = (plan.classes, plan.samples);
    let length =
        |operand, expected, found| kernels::Error::Length { op: OP, operand, expected, found };
    match target {
        Target::Labels(labels) if labels.len() != samples => {
            Err(length("labels", samples, labels.len()))
        }
        Target::Labels(labels) => match labels.iter().position(|&label| label >= classes) {
            Some(row) => Err(kernels::Error::Label { op: OP, row, label: labels[row], classes }),
            None => Ok(()),
        },
        Target::OneHot(t) if t.len() != samples * classes => {
            Err(length("one-hot target", samples * classes, t.len()))
        }
        Target::OneHot(_) => Ok(()),
    }
}

/// Runs `body(pass, its number within the task)` for the passes of a task, which share the thread's arena.
fn each_pass<T: Element>(
    plan: &Plan,
    task: usize,
    layers: &[Box<dyn Layer<T>>],
    mode: Mode,
    saved: &mut [T],
    mut body: impl FnMut(Pass<'_, T>, usize) -> kernels::Result<()>,
) -> kernels::Result<()> {
    let first = task * plan.task_passes;
    let passes = first..(first + plan.task_passes).min(plan.passes);
    lanes::with_scratch(plan.arena_len, |arena| {
        for (number, pass) in passes.enumerate() {
            let (first_sample, end) = (plan.first_sample(pass), plan.first_sample(pass + 1));
            let groups = plan.cut(pass + 1) - plan.cut(pass);
            let (arena, unpooled) = arena.split_at_mut(plan.arena_len - plan.unpooled);
            let saved = &mut saved[number * plan.saved_len..][..plan.saved_len];
            let pass = Pass {
                plan,
                layers,
                mode,
                groups,
                first_sample,
                samples: end - first_sample,
                memory: Spans { groups, arena, saved },
                unpooled,
            };
            body(pass, number)?;
        }
        Ok(())
    })
}

impl<'a, T: Element> Pass<'a, T> {
    fn weights(&self, op: &Op) -> [&'a [T]; 2] {
        let weights = self.layers[op.layer].weights().expect("a planned layer has its weights");
        weights.map(|parameter| slice(&parameter.value))
    }

    fn dropout_key(&self, layer: u32) -> Option<DropoutKey> {
        match self.mode {
            Mode::Train { seed, step } => Some(DropoutKey { seed, step, layer }),
            Mode::Test => None,
        }
    }

    fn forward(&mut self, x: &[T]) -> kernels::Result<()> {
        let plan = self.plan;
        let features = plan.ops[0].features;
        let x = &x[self.first_sample * features..][..self.samples * features];
        let [input] = self.memory.get([plan.input]);
        lanes::gather(x, features, input)?;
        plan.ops.iter().try_for_each(|op| self.forward_op(op))
    }

    fn forward_op(&mut self, op: &Op) -> kernels::Result<()> {
        let groups = self.groups;
        let (first_sample, samples) = (self.first_sample, self.samples);
        let spans = [op.input, op.output];
        match &op.kind {
            Kind::Convolution { plan, pool: None, .. } => {
                let [w, b] = self.weights(op);
                let [x, y] = self.memory.get(spans);
                plan.forward(groups, x, w, b, op.relu, y)
            }
            Kind::Convolution { plan, pool: Some(Pool { pooling, index }), .. } => {
                let [w, b] = self.weights(op);
                let unpooled = &mut self.unpooled[..op.unpooled];
                let [x, y, index] = self.memory.get([op.input, op.output, *index]);
                let pooled = y.chunks_exact_mut(op.output.len);
                let pooled = pooled.zip(index.chunks_exact_mut(op.output.len));
                for (x, (y, index)) in x.chunks_exact(op.input.len).zip(pooled) {
                    plan.forward(1, x, w, b, false, unpooled)?;
                    pooling.max_forward(1, unpooled, y, index)?;
                }
                // The same before the pooling or after it; here there is less of it.
                if op.relu { relu_in_place(y) } else { Ok(()) }
            }
            Kind::Affine { plan, .. } => {
                let [w, b] = self.weights(op);
                let [x, y] = self.memory.get(spans);
                plan.forward(groups, x, w, b, op.relu, y)
            }
            Kind::MaxPooling(Pool { pooling, index }) => {
                let [x, y, index] = self.memory.get([op.input, op.output, *index]);
                pooling.max_forward(groups, x, y, index)
            }
            Kind::AveragePooling(pooling) => {
                let [x, y] = self.memory.get(spans);
                pooling.average_forward(groups, x, y)
            }
            Kind::Relu => {
                let [x, y] = self.memory.get(spans);
                relu(x, y)
            }
            Kind::Sigmoid => {
                let [x, y] = self.memory.get(spans);
                sigmoid(x, y)
            }
            Kind::Tanh => {
                let [x, y] = self.memory.get(spans);
                tanh(x, y)
            }
            Kind::Dropout { ratio, number } => {
                let key = self.dropout_key(*number);
                let [x, y] = self.memory.get(spans);
                match key {
                    Some(key) => {
                        lanes::dropout(key, *ratio, op.features, first_sample, samples, x, y)
                    }
                    None => {
                        let kept = T::of(1.0 - ratio);
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * kept);
                        Ok(())
                    }
                }
            }
        }
    }
    /// The losses of the pass's samples; leaves the gradient by the scores in the first of the two gradients.
    fn loss(&mut self, target: Target<'_, T>, losses: &mut [T]) -> kernels::Result<()> {
        let Plan { classes, scores, samples: batch, .. } = *self.plan;
        let samples = self.first_sample..self.first_sample + self.samples;
        let target = match target {
            Target::Labels(labels) => Target::Labels(&labels[samples]),
            Target::OneHot(t) => Target::OneHot(&t[samples.start * classes..samples.end * classes]),
        };
        let gradient = Span { len: scores.len, ..self.plan.gradients[0] };
        let [scores, gradient] = self.memory.get([scores, gradient]);
        gradient.copy_from_slice(scores);
        let epsilon = T::of(CROSS_ENTROPY_EPSILON);
        lanes::softmax_cross_entropy(gradient, classes, target, epsilon, batch, losses)
    }

    /// Adds the gradients of the convolutions to `gradients`, and saves what those of the affine layers need.
    fn backward(&mut self, gradients: &mut [T]) -> kernels::Result<()> {
        let plan = self.plan;
        let first = plan.first_learning();
        let [mut next, mut free] = plan.gradients;
        let mut dy = Span { len: plan.scores.len, ..next };
        for (index, op) in plan.ops.iter().enumerate().skip(first).rev() {
            if op.relu && !op.masked {
                let [y, dy] = self.memory.get([op.output, dy]);
                relu_backward(y, dy)?;
            }
            let dx = Span { len: op.input.len, ..free };
            self.backward_op(op, dy, (index > first).then_some(dx), gradients)?;
            dy = dx;
            std::mem::swap(&mut free, &mut next);
        }
        Ok(())
    }

    /// The gradient by the input, from `dy` to `dx`, where one is asked for, and those by the weights.
    fn backward_op(
        &mut self,
        op: &Op,
        dy: Span,
        dx: Option<Span>,
        gradients: &mut [T],
    ) -> kernels::Result<()> {
        let groups = self.groups;
        let (first_sample, samples) = (self.first_sample, self.samples);
        // Only what learns is ever first.
        let spans = [op.output, dy, dx.unwrap_or(Span { len: 0, ..dy })];
        match &op.kind {
            Kind::Convolution { plan, pool: None, gradient: [start, len] } => {
                let [w, b] = self.weights(op);
                let (dw, db) = gradients[*start..][..len + b.len()].split_at_mut(*len);
                let [x, dy] = self.memory.get([op.input, dy]);
                plan.add_weight_gradient(groups, x, dy, dw, db)?;
                let Some(dx) = dx else { return Ok(()) };
                let [x, dy, dx] = self.memory.get([op.input, spans[1], dx]);
                plan.backward_data(groups, dy, w, op.masks_input.then_some(x), dx)
            }
            Kind::Convolution { plan, pool: Some(pool), gradient: [start, len] } => {
                let [w, b] = self.weights(op);
                let (dw, db) = gradients[*start..][..len + b.len()].split_at_mut(*len);
                let unpooled = &mut self.unpooled[..op.unpooled];
                let nothing = Span { place: Place::Arena(0), len: 0 };
                let spans = [op.input, op.output, pool.index, dy, dx.unwrap_or(nothing)];
                let [x, y, index, dy, dx] = self.memory.get(spans);
                for group in 0..groups {
                    let of = |len: usize| group * len..(group + 1) * len;
                    let (x, pooled) = (&x[of(op.input.len)], of(op.output.len));
                    let mask = op.relu.then_some(&y[pooled.clone()]);
                    let (dy, index) = (&dy[pooled.clone()], &index[pooled]);
                    pool.pooling.max_backward(1, dy, index, mask, unpooled)?;
                    plan.add_weight_gradient(1, x, unpooled, dw, db)?;
                    if !dx.is_empty() {
                        let dx = &mut dx[of(op.input.len)];
                        plan.backward_data(1, unpooled, w, op.masks_input.then_some(x), dx)?;
                    }
                }
                Ok(())
            }
            Kind::Affine { plan, size: [_, outputs], rows } => {
                let [w, _] = self.weights(op);
                let [dy_lanes, rows] = self.memory.get([dy, *rows]);
                lanes::scatter_padded(dy_lanes, *outputs, rows)?;
                let Some(dx) = dx else { return Ok(()) };
                let [x, dy, dx] = self.memory.get([op.input, dy, dx]);
                plan.backward_data(groups, dy, w, op.masks_input.then_some(x), dx)
            }
            Kind::MaxPooling(Pool { pooling, index }) => {
                let [index, dy, dx] = self.memory.get([*index, spans[1], spans[2]]);
                pooling.max_backward(groups, dy, index, None, dx)
            }
            Kind::AveragePooling(pooling) => {
                let [dy, dx] = self.memory.get([spans[1], spans[2]]);
                pooling.average_backward(groups, dy, dx)
            }
            Kind::Relu | Kind::Sigmoid | Kind::Tanh => {
                let [y, dy, dx] = self.memory.get(spans);
                dx.copy_from_slice(dy);
                match op.kind {
                    Kind::Relu => relu_backward(y, dx),
                    Kind::Sigmoid => sigmoid_backward(y, dx),
                    _ => tanh_backward(y, dx),
                }
            }
            Kind::Dropout { ratio, number } => {
                let key = self.dropout_key(*number).expect("gradients are of training");
                let [dy, dx] = self.memory.get([spans[1], spans[2]]);
                lanes::dropout(key, *ratio, op.features, first_sample, samples, dy, dx)
            }
        }
    }
}
