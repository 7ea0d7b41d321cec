//! Where the gradients by what passes between operations lie: on the way back each is needed from the first operation that gives
//! a part of it to the one that made the value, and no longer.

use super::plan::{Input, Kind, Op, Span};
use super::planner::Value;

/// The memory of those gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Elements, as many as are needed at a time.
    pub(super) len: usize,
    /// The gradient by the segment's input.
    pub(super) dx: Span,
    /// The gradient by its output.
    pub(super) dy: Span,
}

/// Gives each gradient a place, and each ReLU one operation that takes its gradient. Value 0 is the segment's input, `last` its
/// output.
pub(super) fn place(ops: &mut [Op], values: &[Value], last: usize) -> Places {
    take_masks(ops, values);
    let mut memory = Memory::default();
    let mut gradients = vec![None; values.len()];
    // How many operations have yet to read each gradient: those which write the value or a part of it.
    let mut unread = vec![0; values.len()];
    ops.iter().for_each(|op| unread[whole(values, op.value).0] += 1);
    let dy = memory.take(values[last].span.len);
    gradients[last] = Some(dy);
    for op in ops.iter_mut().rev() {
        let (root, offset) = whole(values, op.value);
        let Some(gradient) = gradients[root] else { continue };
        op.dy = Span { start: gradient.start + offset, len: op.output.len };
        if let Kind::Sum(other) = &mut op.kind {
            memory.give(&mut gradients, other);
        }
        // What is added to something else has its gradient where that of the sum is.
        let passes_on = matches!(op.kind, Kind::Sum(_)) && root == op.value;
        if passes_on && gradients[op.input.value].is_none() {
            gradients[op.input.value] = Some(gradient);
            op.input.dx = gradient;
            continue;
        }
        memory.give(&mut gradients, &mut op.input);
        unread[root] -= 1;
        if unread[root] == 0 {
            memory.free(gradient);
        }
    }
    Places { len: memory.len, dx: gradients[0].unwrap_or_default(), dy }
}

/// The value that has a gradient of its own, of which this one is a part, and the elements before it there.
fn whole(values: &[Value], value: usize) -> (usize, usize) {
    values[value].whole.unwrap_or((value, 0))
}

/// Lets convolutions take the gradient of the ReLU before them, where nobody else reads what that gives.
fn take_masks(ops: &mut [Op], values: &[Value]) {
    let mut readers = vec![0; values.len()];
    for op in ops.iter() {
        readers[op.input.value] += 1;
        if let Kind::Sum(other) = &op.kind {
            readers[other.value] += 1;
        }
    }
    for at in 0..ops.len() {
        let value = ops[at].input.value;
        let (before, after) = ops.split_at_mut(at);
        let writers = || before.iter().filter(|op| whole(values, op.value).0 == value);
        let convolves = matches!(after[0].kind, Kind::Convolution { .. });
        if convolves
            && readers[value] == 1
            && writers().next().is_some()
            && writers().all(|op| op.relu && !op.masked)
        {
            after[0].masks_input = true;
            let writers = before.iter_mut().filter(|op| whole(values, op.value).0 == value);
            writers.for_each(|op| op.masked = true);
        }
    }
}

/// Memory of which parts are taken and given back.
#[derive(Default)]
struct Memory {
    /// In their order.
    taken: Vec<Span>,
    len: usize,
}

impl Memory {
    /// The first gap of this length.
    fn take(&mut self, len: usize) -> Span {
        let gap = len.next_multiple_of(16).max(16);
        let (mut start, mut at) = (0, 0);
        for span in &self.taken {
            if start + gap <= span.start {
                break;
            }
            (start, at) = (span.end(), at + 1);
        }
        self.taken.insert(at, Span { start, len: gap });
        self.len = self.len.max(start + gap);
        Span { start, len }
    }

    fn free(&mut self, span: Span) {
        self.taken.retain(|taken| taken.start != span.start);
    }

    /// Gives the gradient by an input its place, and the operation one for what it adds to that if it is not the first.
    fn give(&mut self, gradients: &mut [Option<Span>], input: &mut Input) {
        input.sum = gradients[input.value];
        input.dx = self.take(input.span.len);
        match input.sum {
            Some(_) => self.free(input.dx),
            None => gradients[input.value] = Some(input.dx),
        }
    }
}
