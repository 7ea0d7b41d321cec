//! The gradients by the weights: sums over the batch.

use super::plan::{Op, Place, Plan, pieces};
use crate::kernels::gemm::gemm;
use crate::kernels::reduce::sum_axis;
use crate::kernels::{self, MatMut, MatRef};
use crate::layers::{Layer, slice_mut};
use crate::{Element, Result, shares};

/// Rows of a part of a gradient by weights, and its multiply-adds, at least.
const PART: usize = 48;
const PART_WORK: usize = 1 << 18;

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
pub(super) fn weight_gradients<T: Element>(
    plan: &Plan,
    layers: &mut [Box<dyn Layer<T>>],
    matrices: &[T],
    x: &[T],
) -> Result<()> {
    let mut jobs = Vec::new();
    let learning = layers[plan.layers.clone()].iter_mut().filter_map(|layer| layer.weights_mut());
    for ((index, op), [w, b]) in plan.ops.iter().enumerate().zip(learning) {
        let x = match index {
            0 => x,
            _ => &matrices[plan.span(Place::Output.of(index - 1)).range()],
        };
        let dy = &matrices[plan.span(plan.affine_gradient(index)).range()];
        let dw = if w.frozen { &mut [] } else { slice_mut(&mut w.grad) };
        let mut db = if b.frozen { &mut [] } else { slice_mut(&mut b.grad) };
        if dw.is_empty() {
            jobs.push((shares::share(index, 0, 1), Gradient { op, x, dy, first: 0, dw, db }));
            continue;
        }
        let work = plan.samples * op.inputs * op.outputs;
        // A single column has other bits in pieces (docs/gemm.md).
        let most = if op.outputs == 1 { 1 } else { (work / PART_WORK).min(op.inputs / PART) };
        let parts = shares::parts(pieces(most)?);
        let rows = op.inputs.div_ceil(parts);
        for (part, dw) in dw.chunks_mut(rows * op.outputs).enumerate() {
            let (db, first) = (std::mem::take(&mut db), part * rows);
            let share = shares::share(index, part, parts);
            jobs.push((share, Gradient { op, x, dy, first, dw, db }));
        }
    }
    Ok(shares::run(jobs.into_iter(), plan.work(), |job| job.compute(plan.samples))?)
}
