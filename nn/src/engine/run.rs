//! A segment as it was planned.

use super::normalized::Normalized;
use super::plan::{Input, Kind, Op, Plan, Pool, Span};
use crate::kernels::activation::{relu, relu_backward};
use crate::kernels::lanes::{self, Buffer, Convolution, PooledGradient};
use crate::layers::{
    BatchNormalization, Layer, Mode, forget_frozen, learns, leaves, leaves_mut, slice, slice_mut,
};
use crate::{Element, kernels};

/// What lasts from the forward pass to the backward pass, and from step to step.
#[derive(Debug)]
pub(super) struct Memory<T> {
    /// What each group keeps.
    groups: Buffer<T>,
    /// The weights, prepared for a pass.
    filters: Buffer<T>,
    /// The gradients of each task.
    gradients: Buffer<T>,
    /// What each group gives to the statistics of a normalisation.
    parts: Buffer<T>,
    /// Those of each normalisation.
    normalized: Vec<Normalized<T>>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        let [groups, filters, gradients, parts] = std::array::from_fn(|_| Buffer::new(0));
        Self { groups, filters, gradients, parts, normalized: Vec::new() }
    }
}

/// Makes `buffer` hold `len` elements or more.
fn grow<T: Element>(buffer: &mut Buffer<T>, len: usize) {
    if buffer.len() < len {
        *buffer = Buffer::new(len);
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
    leaves: &[&dyn Layer<T>],
    pass: Pass,
    filters: &mut Buffer<T>,
) -> kernels::Result<()> {
    grow(filters, plan.filters_len);
    for op in &plan.ops {
        let Kind::Convolution { plan, filters: span, .. } = &op.kind else { continue };
        let Some([w, _]) = leaves[op.leaf].weights() else { continue };
        let (w, filters) = (slice(&w.value), &mut filters[span.range()]);
        match pass {
            Pass::Forward => plan.forward_filters(w, filters)?,
            Pass::Backward => plan.backward_filters(w, filters)?,
        }
    }
    Ok(())
}

/// The bias of each convolution, nothing of other operations.
fn biases<'a, T: Element>(plan: &Plan, leaves: &[&'a dyn Layer<T>]) -> Vec<&'a [T]> {
    let of = |op: &Op| match op.kind {
        Kind::Convolution { .. } => leaves[op.leaf].weights(),
        _ => None,
    };
    plan.ops.iter().map(|op| of(op).map_or(&[][..], |[_, b]| slice(&b.value))).collect()
}

/// Calls `body` with each normalisation and its layer.
fn for_each_normalization<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    normalized: &mut [Normalized<T>],
    body: impl Fn(&mut Normalized<T>, &mut BatchNormalization<T>),
) {
    if normalized.is_empty() {
        return;
    }
    let mut leaves = leaves_mut(layers);
    for op in &plan.ops {
        let Kind::Normalization(_, number) = op.kind else { continue };
        if let Some(layer) = leaves[op.leaf].batch_normalization() {
            body(&mut normalized[number], layer);
        }
    }
}

/// The parts of a group's memory, which do not overlap.
fn get<T, const N: usize>(memory: &mut [T], spans: [Span; N]) -> [&mut [T]; N] {
    memory.get_disjoint_mut(spans.map(Span::range)).expect("the spans of a plan are apart")
}

/// The output y of a batch x, samples one after another; in training, keeps what the way back needs.
pub(super) fn forward<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    memory: &mut Memory<T>,
    mode: Mode,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    let Memory { groups, filters, parts, normalized, .. } = memory;
    if normalized.len() < plan.normalized.len() {
        *normalized = plan.normalized.iter().map(|&channels| Normalized::new(channels)).collect();
    }
    for_each_normalization(plan, layers, normalized, |own, layer| own.begin(layer, mode));
    run_forward(plan, &leaves(layers), [groups, filters, parts], normalized, mode, x, y)?;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_forward(layer));
    Ok(())
}

fn run_forward<T: Element>(
    plan: &Plan,
    leaves: &[&dyn Layer<T>],
    [groups, filters, parts]: [&mut Buffer<T>; 3],
    normalized: &mut [Normalized<T>],
    mode: Mode,
    x: &[T],
    y: &mut [T],
) -> kernels::Result<()> {
    prepare(plan, leaves, Pass::Forward, filters)?;
    let (filters, biases) = (&*filters, biases(plan, leaves));
    let [inputs, outputs] = plan.features();
    let training = mode != Mode::Test;
    let (stages, kept_len) = (plan.stages(training), if training { plan.kept_len() } else { 0 });
    grow(groups, plan.groups * kept_len);
    grow(parts, plan.groups * plan.longest_part());
    let kept: &mut [T] = if kept_len == 0 { &mut [] } else { groups };
    let work = plan.work() / stages.len();
    for (number, stage) in stages.iter().enumerate() {
        let (begins, ends) = (number == 0, number + 1 == stages.len());
        let next = plan.normalization(stage.end);
        let next = next.filter(|&(_, number)| normalized[number].takes_statistics());
        let part_len = next.map_or(0, |(_, number)| 2 * plan.normalized[number]);
        let slices = [
            (&mut *kept, kept_len * plan.task_groups),
            (if ends { &mut *y } else { &mut [] }, plan.lanes * outputs * plan.task_groups),
            (&mut parts[..plan.groups * part_len], part_len * plan.task_groups),
        ];
        let statistics = &*normalized;
        lanes::for_each_stretch(plan.tasks(), work, slices, |task, [kept, y, parts]| {
            lanes::with_scratch(if kept_len == 0 { plan.group_len } else { 0 }, |own| {
                let mut y = y.chunks_mut(plan.lanes * outputs);
                let mut parts = parts.chunks_mut(part_len.max(1));
                for (number, group) in plan.groups_of(task).enumerate() {
                    let memory = match kept_len {
                        0 => &mut *own,
                        _ => &mut kept[number * kept_len..][..plan.group_len],
                    };
                    if begins {
                        let x = &x[plan.part(group, inputs)];
                        lanes::gather(x, inputs, &mut memory[plan.input().range()])?;
                    }
                    for at in stage.clone() {
                        forward_op(&plan.ops[at], filters, biases[at], statistics, memory)?;
                    }
                    if let (Some((next, _)), Some(part)) = (next, parts.next()) {
                        let x = &memory[plan.ops[stage.end].input.span.range()];
                        next.moments(x, plan.part(group, 1).len(), part)?;
                    }
                    if ends {
                        let last = &memory[plan.output.range()];
                        lanes::scatter(last, outputs, y.next().unwrap_or_default())?;
                    }
                }
                Ok(())
            })
        })?;
        if let Some((next, number)) = next {
            let moments = &parts[..plan.groups * part_len];
            normalized[number].set_moments(moments, next.elements(plan.samples))?;
        }
    }
    Ok(())
}

fn forward_op<T: Element>(
    op: &Op,
    filters: &[T],
    bias: &[T],
    normalized: &[Normalized<T>],
    memory: &mut [T],
) -> kernels::Result<()> {
    match &op.kind {
        Kind::Convolution { plan, pool: None, filters: span, .. } => {
            let [x, y] = get(memory, [op.input.span, op.output]);
            plan.forward(x, &filters[span.range()], Some(bias), op.relu, y)
        }
        Kind::Convolution { plan, pool: Some(pool), filters: span, .. } => {
            let Pool { pooling, index, planes: [unpooled_plane, plane] } = pool;
            let [x, y, index] = get(memory, [op.input.span, op.output, *index]);
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
            let [x, y, index] = get(memory, [op.input.span, op.output, *index]);
            pooling.max_forward(x, false, y, index)
        }
        Kind::AveragePooling(pooling) => {
            let [x, y] = get(memory, [op.input.span, op.output]);
            pooling.average_forward(x, y)
        }
        Kind::Relu => {
            let [x, y] = get(memory, [op.input.span, op.output]);
            relu(x, y)
        }
        Kind::Normalization(plan, number) => {
            let [x, y] = get(memory, [op.input.span, op.output]);
            plan.forward(x, normalized[*number].forward(), op.relu, y)
        }
        Kind::Sum(other) => {
            let [x, other, y] = get(memory, [op.input.span, other.span, op.output]);
            lanes::add(x, other, op.relu, y)
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
    let learn: Vec<bool> = {
        let leaves = leaves(layers);
        prepare(plan, &leaves, Pass::Backward, &mut memory.filters)?;
        let learns = |op: &Op| leaves.get(op.leaf).is_some_and(|&leaf| learns(leaf));
        plan.ops.iter().map(learns).collect()
    };
    run_backward(plan, &learn, memory, dy, first, dx)?;
    let Memory { gradients, normalized, .. } = memory;
    for_each_normalization(plan, layers, normalized, |own, layer| own.end_backward(layer));
    let mut leaves = leaves_mut(layers);
    for (op, learns) in plan.ops.iter().zip(learn) {
        let Kind::Convolution { gradient, .. } = &op.kind else { continue };
        let (true, Some([w, b])) = (learns, leaves[op.leaf].weights_mut()) else { continue };
        let (dw, db) = (slice_mut(&mut w.grad), slice_mut(&mut b.grad));
        let (gradients, stride) =
            (&gradients[..plan.tasks() * plan.gradient_len], plan.gradient_len);
        lanes::sum_stretches(gradients, stride, *gradient, dw)?;
        lanes::sum_stretches(gradients, stride, gradient + dw.len(), db)?;
        forget_frozen([w, b]);
    }
    Ok(())
}

fn run_backward<T: Element>(
    plan: &Plan,
    learn: &[bool],
    memory: &mut Memory<T>,
    dy: &[T],
    first: usize,
    dx: &mut [T],
) -> kernels::Result<()> {
    let Memory { groups, filters, gradients, parts, normalized } = memory;
    let (filters, [inputs, outputs]) = (&*filters, plan.features());
    grow(gradients, plan.tasks() * plan.gradient_len);
    // Whether the gradient by the weights is all that is wanted.
    let alone = dx.is_empty() && learn.iter().all(|&learns| learns);
    let (stages, kept_len) = (plan.stages(true), plan.kept_len());
    let own_len = plan.group_len + plan.places.len - kept_len;
    let work = 2 * plan.work() / stages.len();
    for (number, stage) in stages.iter().enumerate().rev() {
        let (begins, ends) = (number == 0, number + 1 == stages.len());
        // The normalisation that waited for all groups, and the one that waits next: the stage's first operation.
        let last = plan.normalization(stage.end);
        let next = if begins { None } else { plan.normalization(stage.start) };
        let ops = if begins { stage.clone() } else { stage.start + 1..stage.end };
        let part_len = next.map_or(0, |(_, number)| 2 * plan.normalized[number]);
        let slices = [
            (&mut groups[..], kept_len * plan.task_groups),
            (&mut gradients[..], plan.gradient_len),
            (if begins { &mut *dx } else { &mut [] }, plan.lanes * inputs * plan.task_groups),
            (&mut parts[..plan.groups * part_len], part_len * plan.task_groups),
        ];
        let statistics = &*normalized;
        lanes::for_each_stretch(
            plan.tasks(),
            work,
            slices,
            |task, [kept, gradients, dx, parts]| {
                if ends {
                    gradients.fill(T::zero());
                }
                lanes::with_scratch(plan.unpooled + own_len, |scratch| {
                    let (unpooled, own) = scratch.split_at_mut(plan.unpooled);
                    let mut dx = dx.chunks_mut(plan.lanes * inputs);
                    let mut parts = parts.chunks_mut(part_len.max(1));
                    let memories = kept.chunks_exact_mut(kept_len);
                    for (group, memory) in plan.groups_of(task).zip(memories) {
                        let (memory, kept) = memory.split_at_mut(plan.group_len);
                        let passing = if kept.is_empty() { &mut *own } else { kept };
                        if ends {
                            let dy = &dy[plan.part(group, outputs)];
                            if let ([op], Some(pooled), true) =
                                (&plan.ops[..], &plan.pooled_gradient, alone)
                            {
                                add_pooled_gradient(op, pooled, memory, dy, gradients)?;
                                continue;
                            }
                            lanes::gather(dy, outputs, &mut passing[plan.places.dy.range()])?;
                        }
                        if let Some((last, number)) = last
                            && plan.ops[stage.end].input.is_wanted(first)
                        {
                            let Op { input, dy, .. } = plan.ops[stage.end];
                            let x = &memory[input.span.range()];
                            let [dy, dx] = get(passing, [dy, input.dx]);
                            let samples = plan.part(group, 1).len();
                            last.backward(x, dy, statistics[number].backward(), samples, dx)?;
                            add_to_sum(&input, passing)?;
                        }
                        for at in ops.clone().rev() {
                            let op = &plan.ops[at];
                            if op.layer >= first {
                                let gradients = if learn[at] { &mut *gradients } else { &mut [] };
                                let memories = [&mut *passing, &mut *unpooled, gradients];
                                backward_op(op, filters, memory, memories, first)?;
                            }
                        }
                        if let (Some((next, number)), Some(part)) = (next, parts.next())
                            && plan.ops[stage.start].layer >= first
                        {
                            let op = &plan.ops[stage.start];
                            take_relu(op, memory, passing)?;
                            let x = &memory[op.input.span.range()];
                            let dy = &passing[op.dy.range()];
                            next.gradients(x, dy, statistics[number].statistics(), part)?;
                        }
                        if let (true, Some(dx)) = (begins, dx.next()) {
                            lanes::scatter(&passing[plan.places.dx.range()], inputs, dx)?;
                        }
                    }
                    Ok(())
                })
            },
        )?;
        if let Some((next, number)) = next {
            let sums = &parts[..plan.groups * part_len];
            normalized[number].set_gradients(sums, next.elements(plan.samples)[0])?;
        }
    }
    Ok(())
}

/// Takes the gradient of an operation's own ReLU, if nobody else does.
fn take_relu<T: Element>(op: &Op, memory: &[T], passing: &mut [T]) -> kernels::Result<()> {
    match op.relu && !op.masked {
        true => relu_backward(&memory[op.output.range()], &mut passing[op.dy.range()]),
        false => Ok(()),
    }
}

/// Adds the gradient by an input to what is there already, if it is not the first.
fn add_to_sum<T: Element>(input: &Input, passing: &mut [T]) -> kernels::Result<()> {
    let Some(sum) = input.sum else { return Ok(()) };
    let [dx, sum] = get(passing, [input.dx, sum]);
    lanes::add_to(dx, sum)
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
    pooled.add(&memory[op.input.span.range()], dy, &memory[index.range()], dw, db)
}

/// The gradient by the input, where layers before it learn; adds those by the weights to `gradients` (empty where they do not
/// learn).
fn backward_op<T: Element>(
    op: &Op,
    filters: &[T],
    memory: &[T],
    [passing, unpooled, gradients]: [&mut [T]; 3],
    first: usize,
) -> kernels::Result<()> {
    take_relu(op, memory, passing)?;
    if let Kind::Sum(other) = &op.kind {
        return pass_on(op, other, passing, first);
    }
    let wanted = op.input.is_wanted(first);
    let [dy, dx] = get(passing, [op.dy, if wanted { op.input.dx } else { Span::default() }]);
    match &op.kind {
        Kind::Convolution { plan, pool, filters: span, gradient } => {
            let (x, outputs) = (&memory[op.input.span.range()], plan.geometry().weight()[0]);
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
                    if !wanted {
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
            if wanted {
                let mask = op.masks_input.then_some(x);
                plan.backward_data(dy, &filters[span.range()], mask, dx)?;
            }
        }
        _ if !wanted => {}
        Kind::MaxPooling(Pool { pooling, index, .. }) => {
            pooling.max_backward(dy, &memory[index.range()], dx)?;
        }
        Kind::AveragePooling(pooling) => pooling.average_backward(dy, dx)?,
        Kind::Relu => {
            dx.copy_from_slice(dy);
            relu_backward(&memory[op.output.range()], dx)?;
        }
        // Normalisations are between the stages.
        Kind::Normalization(..) | Kind::Sum(_) => {}
    }
    if wanted { add_to_sum(&op.input, passing) } else { Ok(()) }
}

/// Hands the gradient by a sum to both summands.
fn pass_on<T: Element>(
    op: &Op,
    other: &Input,
    passing: &mut [T],
    first: usize,
) -> kernels::Result<()> {
    for input in [other, &op.input] {
        // The one that lies where the sum's does has it.
        if input.is_wanted(first) && input.dx != op.dy {
            let [dy, to] = get(passing, [op.dy, input.sum.unwrap_or(input.dx)]);
            match input.sum {
                Some(_) => lanes::add_to(dy, to)?,
                None => to.copy_from_slice(dy),
            }
        }
    }
    Ok(())
}
