//! A segment as it was planned.

use super::plan::{Kind, Op, Plan, Pool, Span};
use crate::kernels::activation::{relu, relu_backward};
use crate::kernels::lanes::{self, Buffer, Convolution, PooledGradient};
use crate::layers::{Layer, Mode, forget_frozen, learns, slice, slice_mut};
use crate::{Element, kernels};

/// What lasts from the forward pass to the backward pass, and from step to step.
#[derive(Debug)]
pub(super) struct Memory<T> {
    /// The activations of each group.
    groups: Buffer<T>,
    /// The weights, prepared for a pass.
    filters: Buffer<T>,
    /// The gradients of each task.
    gradients: Buffer<T>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        Self { groups: Buffer::new(0), filters: Buffer::new(0), gradients: Buffer::new(0) }
    }
}

/// Which way through the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    Backward,
}

/// Prepares the weights of all convolutions for a pass.
fn prepare<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    pass: Pass,
    filters: &mut Buffer<T>,
) -> kernels::Result<()> {
    if filters.len() < plan.filters_len {
        *filters = Buffer::new(plan.filters_len);
    }
    for op in &plan.ops {
        let Kind::Convolution { plan, filters: span, .. } = &op.kind else { continue };
        let Some([w, _]) = layers[op.layer].weights() else { continue };
        let (w, filters) = (slice(&w.value), &mut filters[span.range()]);
        match pass {
            Pass::Forward => plan.forward_filters(w, filters)?,
            Pass::Backward => plan.backward_filters(w, filters)?,
        }
    }
    Ok(())
}

/// The bias of each operation, or nothing.
fn biases<'a, T: Element>(plan: &Plan, layers: &'a [Box<dyn Layer<T>>]) -> Vec<&'a [T]> {
    let of = |op: &Op| layers[op.layer].weights();
    plan.ops.iter().map(|op| of(op).map_or(&[][..], |[_, b]| slice(&b.value))).collect()
}

/// The parts of a group's memory, which do not overlap.
fn get<T, const N: usize>(memory: &mut [T], spans: [Span; N]) -> [&mut [T]; N] {
    memory.get_disjoint_mut(spans.map(Span::range)).expect("the spans of a plan are apart")
}

/// The output y of a batch x, samples one after another; in training, keeps what the way back needs.
pub(super) fn forward<T: Element>(
    plan: &Plan,
    layers: &[Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    mode: Mode,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    prepare(plan, layers, Pass::Forward, &mut memory.filters)?;
    let (filters, biases) = (&memory.filters, biases(plan, layers));
    let [inputs, outputs] = plan.features();
    let (kept, kept_len): (&mut [T], _) = match mode {
        Mode::Train { .. } => {
            if memory.groups.len() < plan.groups * plan.group_len {
                memory.groups = Buffer::new(plan.groups * plan.group_len);
            }
            (&mut memory.groups, plan.group_len)
        }
        Mode::Test => (&mut [], 0),
    };
    let widths = [kept_len, plan.lanes * outputs].map(|len| len * plan.task_groups);
    let slices = [(kept, widths[0]), (y, widths[1])];
    lanes::for_each_stretch(plan.tasks(), plan.work(), slices, |task, [kept, y]| {
        lanes::with_scratch(plan.group_len - kept_len, |own| {
            let mut y = y.chunks_mut(plan.lanes * outputs);
            for (number, group) in plan.groups_of(task).enumerate() {
                let memory = match kept_len {
                    0 => &mut *own,
                    _ => &mut kept[number * kept_len..][..kept_len],
                };
                let x = &x[plan.part(group, inputs)];
                lanes::gather(x, inputs, &mut memory[plan.ops[0].input.range()])?;
                for (op, bias) in plan.ops.iter().zip(&biases) {
                    forward_op(op, filters, bias, memory)?;
                }
                let last = plan.ops[plan.ops.len() - 1].output;
                lanes::scatter(&memory[last.range()], outputs, y.next().unwrap_or_default())?;
            }
            Ok(())
        })
    })
}

fn forward_op<T: Element>(
    op: &Op,
    filters: &[T],
    bias: &[T],
    memory: &mut [T],
) -> kernels::Result<()> {
    match &op.kind {
        Kind::Convolution { plan, pool: None, filters: span, .. } => {
            let [x, y] = get(memory, [op.input, op.output]);
            plan.forward(x, &filters[span.range()], Some(bias), op.relu, y)
        }
        Kind::Convolution { plan, pool: Some(pool), filters: span, .. } => {
            let Pool { pooling, index, planes: [unpooled_plane, plane] } = pool;
            let [x, y, index] = get(memory, [op.input, op.output, *index]);
            // Where this group is all there is to do, threads share its parts.
            let pooled = plan.part_len() / unpooled_plane * plane;
            let (parts, slices) = (plan.parts().count(), [(y, pooled), (index, pooled)]);
            lanes::for_each_stretch(parts, plan.work(), slices, |number, [y, index]| {
                let Some(part) = plan.parts().nth(number) else { return Ok(()) };
                lanes::with_scratch(part.len() * unpooled_plane, |unpooled| {
                    let filters = &filters[span.range()];
                    plan.forward_part(part, x, filters, Some(bias), false, unpooled)?;
                    pooling.max_forward(unpooled, op.relu, y, index)
                })
            })
        }
        Kind::MaxPooling(Pool { pooling, index, .. }) => {
            let [x, y, index] = get(memory, [op.input, op.output, *index]);
            pooling.max_forward(x, false, y, index)
        }
        Kind::AveragePooling(pooling) => {
            let [x, y] = get(memory, [op.input, op.output]);
            pooling.average_forward(x, y)
        }
        Kind::Relu => {
            let [x, y] = get(memory, [op.input, op.output]);
            relu(x, y)
        }
    }
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
) -> kernels::Result<()> {
    prepare(plan, layers, Pass::Backward, &mut memory.filters)?;
    let filters = &memory.filters;
    let learn: Vec<bool> = plan.ops.iter().map(|op| learns(&*layers[op.layer])).collect();
    let [inputs, outputs] = plan.features();
    if memory.gradients.len() < plan.tasks() * plan.gradient_len {
        memory.gradients = Buffer::new(plan.tasks() * plan.gradient_len);
    }
    // Whether the gradient by the weights is all that is wanted.
    let alone = dx.is_empty() && learn.iter().all(|&learns| learns);
    let widths = [plan.group_len, plan.lanes * inputs].map(|len| len * plan.task_groups);
    let slices = [
        (&mut memory.groups[..], widths[0]),
        (&mut memory.gradients[..], plan.gradient_len),
        (dx, widths[1]),
    ];
    let work = 2 * plan.work();
    lanes::for_each_stretch(plan.tasks(), work, slices, |task, [kept, gradients, dx]| {
        gradients.fill(T::zero());
        lanes::with_scratch(plan.unpooled + 2 * plan.gradient_span, |scratch| {
            let (unpooled, scratch) = scratch.split_at_mut(plan.unpooled);
            let (mut dy_here, mut dx_here) = scratch.split_at_mut(plan.gradient_span);
            let mut dx = dx.chunks_mut(plan.lanes * inputs);
            let memories = kept.chunks_exact_mut(plan.group_len);
            for (group, memory) in plan.groups_of(task).zip(memories) {
                let dy = &dy[plan.part(group, outputs)];
                if let ([op], Some(pooled), true) = (&plan.ops[..], &plan.pooled_gradient, alone) {
                    add_pooled_gradient(op, pooled, memory, dy, gradients)?;
                    continue;
                }
                lanes::gather(dy, outputs, &mut dy_here[..outputs * plan.lanes])?;
                for (op, &learns) in plan.ops.iter().zip(&learn).rev() {
                    if op.layer < first {
                        break;
                    }
                    let dx = if op.layer > first { op.input.len } else { 0 };
                    let (dy, dx) = (&mut dy_here[..op.output.len], &mut dx_here[..dx]);
                    let gradients = if learns { &mut *gradients } else { &mut [] };
                    backward_op(op, filters, memory, unpooled, dy, dx, gradients)?;
                    std::mem::swap(&mut dy_here, &mut dx_here);
                }
                if let Some(dx) = dx.next() {
                    lanes::scatter(&dy_here[..inputs * plan.lanes], inputs, dx)?;
                }
            }
            Ok(())
        })
    })?;
    for (op, learns) in plan.ops.iter().zip(learn) {
        let Kind::Convolution { gradient, .. } = &op.kind else { continue };
        let (true, Some([w, b])) = (learns, layers[op.layer].weights_mut()) else { continue };
        let (dw, db) = (slice_mut(&mut w.grad), slice_mut(&mut b.grad));
        let (gradients, stride) = (&memory.gradients, plan.gradient_len);
        lanes::sum_stretches(gradients, stride, *gradient, dw)?;
        lanes::sum_stretches(gradients, stride, gradient + dw.len(), db)?;
        forget_frozen([w, b]);
    }
    Ok(())
}

/// Where the gradients by a convolution's weights and bias are added up, which begin at `first` of those of the segment.
fn sums<'a, T>(
    plan: &Convolution,
    first: usize,
    gradients: &'a mut [T],
) -> (&'a mut [T], &'a mut [T]) {
    let (dw, db) = gradients[first..].split_at_mut(plan.geometry().weight_len());
    (dw, &mut db[..plan.geometry().weight()[0]])
}

/// Adds the gradients by the weights of a convolution and the pooling behind it; `dy` are samples in rows.
fn add_pooled_gradient<T: Element>(
    op: &Op,
    pooled: &PooledGradient,
    memory: &[T],
    dy: &[T],
    gradients: &mut [T],
) -> kernels::Result<()> {
    let Kind::Convolution { plan, pool: Some(Pool { index, .. }), gradient, .. } = &op.kind else {
        return Ok(());
    };
    let (dw, db) = sums(plan, *gradient, gradients);
    pooled.add(&memory[op.input.range()], dy, &memory[index.range()], dw, db)
}

/// The gradient by the input, from dy to dx (empty where nobody needs it); adds those by the weights to `gradients` (empty where
/// they do not learn).
fn backward_op<T: Element>(
    op: &Op,
    filters: &[T],
    memory: &[T],
    unpooled: &mut [T],
    dy: &mut [T],
    dx: &mut [T],
    gradients: &mut [T],
) -> kernels::Result<()> {
    if op.relu && !op.masked {
        relu_backward(&memory[op.output.range()], dy)?;
    }
    match &op.kind {
        Kind::Convolution { plan, pool, filters: span, gradient } => {
            let (x, outputs) = (&memory[op.input.range()], plan.geometry().weight()[0]);
            let mut added = match gradients {
                [] => None,
                gradients => Some(sums(plan, *gradient, gradients)),
            };
            let dy = match pool {
                Some(Pool { pooling, index, planes: [unpooled_plane, plane] }) => {
                    let index = &memory[index.range()];
                    for part in plan.parts() {
                        // Where all of them are wanted afterwards, each has a place of its own.
                        let at = if dx.is_empty() { 0 } else { part.start * unpooled_plane };
                        let unpooled = &mut unpooled[at..][..part.len() * unpooled_plane];
                        let pooled = part.start * plane..part.end * plane;
                        pooling.max_backward(&dy[pooled.clone()], &index[pooled], unpooled)?;
                        if let Some((dw, db)) = &mut added {
                            plan.add_weight_gradient_part(part, x, unpooled, dw, db)?;
                        }
                    }
                    if dx.is_empty() {
                        return Ok(());
                    }
                    &mut unpooled[..outputs * unpooled_plane]
                }
                None => {
                    if let Some((dw, db)) = added {
                        plan.add_weight_gradient(x, dy, dw, db)?;
                    }
                    dy
                }
            };
            if dx.is_empty() {
                return Ok(());
            }
            plan.backward_data(dy, &filters[span.range()], op.masks_input.then_some(x), dx)
        }
        Kind::MaxPooling(Pool { pooling, index, .. }) => {
            pooling.max_backward(dy, &memory[index.range()], dx)
        }
        Kind::AveragePooling(pooling) => pooling.average_backward(dy, dx),
        Kind::Relu => {
            dx.copy_from_slice(dy);
            relu_backward(&memory[op.output.range()], dx)
        }
    }
}
