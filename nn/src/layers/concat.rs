//! Branches side by side.

use ndarray::ArrayD;

use crate::layers::residual::add;
use crate::layers::{Chain, Layer, Mode, Operation, Parameter, check_gradient};
use crate::tensor::{Recycled, contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor};

/// Every branch gets x; their outputs, which differ in their channels alone, are joined along those (chapter 8; GoogLeNet's
/// inception, Szegedy et al. 2014, §4).
///
/// Backward: each branch gets the dout of its channels, and dx is the sum of what they give.
#[derive(Debug)]
pub struct Concat<T: Element> {
    branches: Vec<Chain<T>>,
    /// The shapes of the branches' outputs in the last forward pass.
    parts: Option<Vec<Vec<usize>>>,
    outputs: Recycled<T>,
}

impl<T: Element> Concat<T> {
    /// The layer. Parameters come in the order of the branches.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no branch.
    pub fn new(branches: Vec<Chain<T>>) -> Result<Self> {
        if branches.is_empty() {
            let expected = "at least one".into();
            return Err(Error::Argument {
                name: "the number of branches",
                value: "0".into(),
                expected,
            });
        }
        Ok(Self { branches, parts: None, outputs: Recycled::default() })
    }

    /// The parts of the last forward pass, and the shape that they have together.
    fn last(&self) -> Result<(&[Vec<usize>], Vec<usize>)> {
        let parts = self.parts.as_ref().ok_or(Error::NoForward("Concat"))?;
        Ok((parts, joined(parts, 1)?))
    }

    /// The gradients of the branches.
    fn split(&self, dout: Tensor<T>) -> Result<Vec<Tensor<T>>> {
        let (parts, shape) = self.last()?;
        check_gradient("Concat", dout.shape(), &shape)?;
        let (dout, row) = (contiguous(dout), row_len(&shape));
        let mut start = 0;
        let part = |shape: &Vec<usize>| {
            let (mut part, width) = (zeros(shape), row_len(shape));
            let to = rows_mut(elements_mut(&mut part), width);
            for (to, from) in to.zip(rows(elements(&dout), row)) {
                to.copy_from_slice(&from[start..start + width]);
            }
            start += width;
            part
        };
        Ok(parts.iter().map(part).collect())
    }
}

/// The shape of outputs joined along `axis`, that of the channels.
fn joined(parts: &[Vec<usize>], axis: usize) -> Result<Vec<usize>> {
    let mut shape = parts[0].clone();
    if shape.len() <= axis {
        return Err(Error::shape("Concat: a branch's output", &shape, "channels to join"));
    }
    for part in &parts[1..] {
        let same = |(at, (a, b)): (usize, (&usize, &usize))| at == axis || a == b;
        if part.len() != shape.len() || !part.iter().zip(&shape).enumerate().all(same) {
            let expected =
                format!("{:?} but for its channels, as the first branch gives", parts[0]);
            return Err(Error::shape("Concat: a branch's output", part, expected));
        }
        shape[axis] += part[axis];
    }
    Ok(shape)
}

/// Elements of a sample of a batch.
fn row_len(batch: &[usize]) -> usize {
    batch[1..].iter().product()
}

/// The rows of (batch, width) in memory.
fn rows<T>(elements: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    elements.chunks_exact(width.max(1))
}

/// As [`rows`], to write to.
fn rows_mut<T>(elements: &mut [T], width: usize) -> impl Iterator<Item = &mut [T]> {
    elements.chunks_exact_mut(width.max(1))
}

impl<T: Element> Layer<T> for Concat<T> {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let parts = self.branches.iter().map(|branch| branch.output_shape(input));
        joined(&parts.collect::<Result<Vec<_>>>()?, 0)
    }

    fn operation(&self) -> Operation {
        Operation::Concat
    }

    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        let branches = self.branches.iter_mut();
        let parts = branches.map(|branch| branch.forward(x.clone(), mode).map(contiguous));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let shapes: Vec<_> = parts.iter().map(|part| part.shape().to_vec()).collect();
        let shape = joined(&shapes, 1)?;
        let (mut y, row, mut start) = (self.outputs.take(&shape), row_len(&shape), 0);
        for part in &parts {
            let width = row_len(part.shape());
            let to = rows_mut(elements_mut(&mut y), row);
            for (to, from) in to.zip(rows(elements(part), width)) {
                to[start..start + width].copy_from_slice(from);
            }
            start += width;
        }
        self.parts = Some(shapes);
        self.outputs.keep(&y);
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let parts = self.split(dout)?;
        let mut gradients =
            self.branches.iter_mut().zip(parts).map(|(branch, dout)| branch.backward(dout));
        let first = gradients.next().ok_or(Error::NoForward("Concat"))??;
        gradients.try_fold(first, |dx, gradient| Ok(add(dx, gradient?)))
    }

    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        let parts = self.split(dout)?;
        let mut branches = self.branches.iter_mut().zip(parts);
        branches.try_for_each(|(branch, dout)| branch.backward_parameters(dout))
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        self.branches.iter().flat_map(Layer::parameters).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        self.branches.iter_mut().flat_map(Layer::parameters_mut).collect()
    }

    fn state(&mut self) -> Vec<(&'static str, &mut ArrayD<T>)> {
        self.branches.iter_mut().flat_map(Layer::state).collect()
    }

    fn chains(&self) -> Vec<&Chain<T>> {
        self.branches.iter().collect()
    }

    fn chains_mut(&mut self) -> Vec<&mut Chain<T>> {
        self.branches.iter_mut().collect()
    }
}
