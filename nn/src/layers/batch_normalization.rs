//! Batch normalisation.

use ndarray::ArrayD;

use crate::layers::{
    Layer, Mode, Operation, Parameter, Role, check_gradient, forget_frozen, slice, slice_mut,
};
use crate::tensor::{contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::batch_norm::{
    BatchStatistics, batch_norm_backward, batch_norm_forward, batch_norm_inference,
};

/// What shares a mean and a variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Each feature of a flattened sample has its own, taken over the batch, as in the book.
    PerFeature,
    /// All pixels of a channel share one, as in convolutional networks (Ioffe and Szegedy 2015, §3.2).
    PerChannel,
}

/// What is added to the variance; the book writes 10e-7.
pub(crate) const EPSILON: f64 = 10e-7;

/// Subtracts the batch's mean, divides by its standard deviation, scales by gamma and shifts by beta; when testing, by running
/// statistics instead (chapter 6; Ioffe and Szegedy 2015).
///
/// Where gamma and beta are frozen, training is as testing: with the running statistics, which stay as they are.
#[derive(Debug, Clone)]
pub struct BatchNormalization<T: Element> {
    gamma: Parameter<T>,
    beta: Parameter<T>,
    statistics: Statistics,
    momentum: T,
    running_mean: ArrayD<T>,
    running_var: ArrayD<T>,
    last: Option<Last<T>>,
}

/// What `backward` needs.
#[derive(Debug, Clone)]
enum Last<T: Element> {
    /// The batch's own statistics were used.
    Batch(Normalised<T>),
    /// Those of earlier batches, on a batch of this shape.
    Running(Vec<usize>),
}

#[derive(Debug, Clone)]
struct Normalised<T: Element> {
    x: Tensor<T>,
    shape: [usize; 3],
    mean: Vec<T>,
    inv_std: Vec<T>,
}

impl<T: Element> BatchNormalization<T> {
    /// The layer for `channels` channels (or features): gamma 1, beta 0, running statistics 0 as in the book, of which
    /// `momentum` (the book: 0.9) is kept at each step.
    pub fn new(channels: usize, statistics: Statistics, momentum: f64) -> Self {
        let zeros = ArrayD::zeros(ndarray::IxDyn(&[channels]));
        Self {
            gamma: Parameter::full(Role::Gamma, &[channels], T::one()),
            beta: Parameter::full(Role::Beta, &[channels], T::zero()),
            statistics,
            momentum: T::of(momentum),
            running_mean: zeros.clone(),
            running_var: zeros,
            last: None,
        }
    }

    /// (batch, channels, elements of a channel in a sample), as the kernels take it.
    fn shape(&self, x: &[usize]) -> Result<[usize; 3]> {
        let channels = self.gamma.value.len();
        let shape = match (self.statistics, x) {
            (Statistics::PerFeature, [batch, sample @ ..]) => [*batch, sample.iter().product(), 1],
            (Statistics::PerChannel, [batch, channels, inner @ ..]) => {
                [*batch, *channels, inner.iter().product()]
            }
            _ => [0, 0, 0],
        };
        if shape[1] != channels {
            let what = match self.statistics {
                Statistics::PerFeature => "features",
                Statistics::PerChannel => "channels",
            };
            return Err(Error::shape("BatchNormalization", x, format!("{channels} {what}")));
        }
        Ok(shape)
    }

    /// Whether by the batch's own statistics, not the running ones.
    pub(crate) fn takes_statistics(&self, mode: Mode) -> bool {
        mode != Mode::Test && !(self.gamma.frozen && self.beta.frozen)
    }

    /// Takes the statistics of a batch into the running ones.
    pub(crate) fn remember(&mut self, mean: &[T], var: &[T]) {
        for (running, batch) in [(&mut self.running_mean, mean), (&mut self.running_var, var)] {
            for (running, &batch) in slice_mut(running).iter_mut().zip(batch) {
                *running = self.momentum * *running + (T::one() - self.momentum) * batch;
            }
        }
    }

    /// Gamma, beta, and the running mean and variance.
    pub(crate) fn constants(&self) -> [&[T]; 4] {
        let [gamma, beta] = [&self.gamma, &self.beta].map(|parameter| slice(&parameter.value));
        [gamma, beta, slice(&self.running_mean), slice(&self.running_var)]
    }

    /// Sets the gradients of what is not frozen.
    pub(crate) fn set_gradients(&mut self, dgamma: &[T], dbeta: &[T]) {
        slice_mut(&mut self.gamma.grad).copy_from_slice(dgamma);
        slice_mut(&mut self.beta.grad).copy_from_slice(dbeta);
        forget_frozen([&mut self.gamma, &mut self.beta]);
    }

    /// dout·gamma/√(var + ε) with the running variance: the gradient where that is a constant.
    fn scale(&self, dout: &Tensor<T>) -> Result<Tensor<T>> {
        let shape = self.shape(dout.shape())?;
        let (mut dx, no_shift) = (zeros(dout.shape()), vec![T::zero(); shape[1]]);
        batch_norm_inference(
            shape,
            elements(dout),
            slice(&self.gamma.value),
            &no_shift,
            &no_shift,
            slice(&self.running_var),
            T::of(EPSILON),
            elements_mut(&mut dx),
        )?;
        Ok(dx)
    }
}

impl<T: Element> Layer<T> for BatchNormalization<T> {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let mut batch = vec![1];
        batch.extend_from_slice(input);
        self.shape(&batch)?;
        Ok(input.to_vec())
    }

    fn operation(&self) -> Operation {
        Operation::BatchNormalization(self.statistics, EPSILON)
    }

    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        let shape = self.shape(x.shape())?;
        let x = contiguous(x);
        let mut y = zeros(x.shape());
        let (gamma, beta, epsilon) =
            (slice(&self.gamma.value), slice(&self.beta.value), T::of(EPSILON));
        let (x_elements, y_elements) = (elements(&x), elements_mut(&mut y));
        if !self.takes_statistics(mode) {
            let (mean, var) = (slice(&self.running_mean), slice(&self.running_var));
            batch_norm_inference(shape, x_elements, gamma, beta, mean, var, epsilon, y_elements)?;
            if mode != Mode::Test {
                self.last = Some(Last::Running(x.shape().to_vec()));
            }
            return Ok(y);
        }
        let mut mean = vec![T::zero(); shape[1]];
        let (mut var, mut inv_std) = (mean.clone(), mean.clone());
        let statistics = BatchStatistics { mean: &mut mean, var: &mut var, inv_std: &mut inv_std };
        batch_norm_forward(shape, x_elements, gamma, beta, epsilon, y_elements, statistics)?;
        self.remember(&mean, &var);
        self.last = Some(Last::Batch(Normalised { x, shape, mean, inv_std }));
        Ok(y)
    }

    /// The gradient of the last forward pass in training: by the batch's statistics too.
    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let Normalised { x, shape, mean, inv_std } =
            match self.last.as_ref().ok_or(Error::NoForward("BatchNormalization"))? {
                Last::Batch(last) => last,
                Last::Running(shape) => {
                    check_gradient("BatchNormalization", dout.shape(), shape)?;
                    return self.scale(&contiguous(dout));
                }
            };
        check_gradient("BatchNormalization", dout.shape(), x.shape())?;
        let dout = contiguous(dout);
        let mut dx = zeros(x.shape());
        batch_norm_backward(
            *shape,
            elements(x),
            slice(&self.gamma.value),
            mean,
            inv_std,
            elements(&dout),
            elements_mut(&mut dx),
            slice_mut(&mut self.gamma.grad),
            slice_mut(&mut self.beta.grad),
        )?;
        forget_frozen([&mut self.gamma, &mut self.beta]);
        Ok(dx)
    }

    fn parameters(&self) -> Vec<&Parameter<T>> {
        vec![&self.gamma, &self.beta]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        vec![&mut self.gamma, &mut self.beta]
    }

    fn batch_normalization(&mut self) -> Option<&mut BatchNormalization<T>> {
        Some(self)
    }

    fn state(&mut self) -> Vec<(&'static str, &mut ArrayD<T>)> {
        vec![
            (Role::Gamma.prefix(), &mut self.gamma.value),
            (Role::Beta.prefix(), &mut self.beta.value),
            ("running_mean", &mut self.running_mean),
            ("running_var", &mut self.running_var),
        ]
    }
}
