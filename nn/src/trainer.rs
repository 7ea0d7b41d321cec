//! Training: mini-batches, epochs, and what is remembered of them (chapter 4 and the book's `Trainer`).

use std::ops::ControlFlow;

use ndarray::{ArrayView, Axis, Dimension, Ix4};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::data::{Augmentation, Dataset};
use crate::networks::Sequential;
use crate::optimizers::Optimizer;
use crate::{Element, Error, Result, Tensor};

/// Samples and their labels, a few at a time.
pub trait Samples<T: Element> {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples at `indices`, and their labels.
    ///
    /// # Errors
    /// Where an index is out of range.
    fn batch(&self, indices: &[usize]) -> Result<(Tensor<T>, Vec<usize>)>;
}

/// Images kept as bytes: a batch is scaled to 0..=1 as it is gathered.
impl<T: Element> Samples<T> for Dataset {
    fn len(&self) -> usize {
        Dataset::len(self)
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor<T>, Vec<usize>)> {
        let (images, labels) = Dataset::batch(self, indices)?;
        Ok((images.into_dyn().into_shared(), labels.to_vec()))
    }
}

/// Samples in an array, the first axis the batch.
impl<T: Element, D: Dimension> Samples<T> for (ArrayView<'_, T, D>, &[usize]) {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor<T>, Vec<usize>)> {
        let (x, labels) = (self.0.view().into_dyn(), self.1);
        let samples = x.shape().first().copied().unwrap_or(0);
        let fits = |&&index: &&usize| index >= samples || index >= labels.len();
        if let Some(index) = indices.iter().find(fits) {
            return Err(Error::Argument {
                name: "sample index",
                value: index.to_string(),
                expected: format!("below {samples} samples and {} labels", labels.len()),
            });
        }
        let labels = indices.iter().map(|&index| labels[index]).collect();
        Ok((x.select(Axis(0), indices).into_shared(), labels))
    }
}

/// The order in which the samples come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Each sample once an epoch, in a new random order each time.
    Shuffle,
    /// Each batch drawn at random from all samples, as the book does (`np.random.choice`).
    Choice,
}

/// The learning rate over the course of training, as a factor of the optimizer's own.
#[derive(Debug, Clone, Copy)]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Multiplied by `factor` after every `epochs` epochs.
    Step {
        /// Epochs between two steps.
        epochs: usize,
        /// The factor of each.
        factor: f64,
    },
    /// Multiplied by `factor` after every epoch, a little each step.
    Exponential {
        /// The factor of an epoch.
        factor: f64,
    },
    /// Half a cosine from 1 down to `last` at the end (Loshchilov and Hutter 2017).
    Cosine {
        /// The factor at the end.
        last: f64,
    },
    /// Any function of the share of training that is done, 0 to 1.
    Custom(fn(f64) -> f64),
}

impl Schedule {
    /// The factor at `epoch` epochs (whole and part) of `epochs`.
    pub fn factor(self, epoch: f64, epochs: usize) -> f64 {
        let done = if epochs == 0 { 0.0 } else { epoch / epochs as f64 };
        match self {
            Self::Constant => 1.0,
            Self::Step { epochs, factor } => {
                factor.powi((epoch / epochs.max(1) as f64).floor() as i32)
            }
            Self::Exponential { factor } => factor.powf(epoch),
            Self::Cosine { last } => {
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Self::Custom(factor) => factor(done),
        }
    }
}

/// How to train.
///
/// ```
/// use std::ops::ControlFlow;
/// use kasoku_nn::{data, networks::TwoLayerNet, optimizers::Sgd, trainer::Trainer};
///
/// let digits = data::synthetic_split(300, 100, 1);
/// let mut network = TwoLayerNet::new(784, 20, 10).build::<f32>(1)?;
/// let trainer = Trainer { epochs: 2, ..Trainer::default() };
/// let mut sgd = Sgd::new(0.1, 0.0);
/// let history = trainer.train(&mut network, &digits.train, &digits.test, &mut sgd, |_| {
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(history.losses.len(), 6);
/// # Ok::<(), kasoku_nn::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Trainer {
    /// How often each sample is seen.
    pub epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// The seed of the order of the samples.
    pub seed: u64,
    /// The order of the samples.
    pub sampling: Sampling,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// How the images of each step are changed by chance, by `seed`; those that are tested on stay as they are.
    pub augmentation: Option<Augmentation>,
    /// The first so many samples are tested after each epoch; `None` for all.
    pub evaluate_sample_num: Option<usize>,
}

impl Default for Trainer {
    /// 20 epochs of batches of 100, as in the book, each sample once an epoch.
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 100,
            seed: 0,
            sampling: Sampling::Shuffle,
            schedule: Schedule::Constant,
            augmentation: None,
            evaluate_sample_num: None,
        }
    }
}

/// What a training run leaves behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The loss of each step, taken before its update.
    pub losses: Vec<f64>,
    /// The learning rate of each step.
    pub lrs: Vec<f64>,
    /// The accuracy on the training samples after each epoch.
    pub train_accuracies: Vec<f64>,
    /// The accuracy on the test samples after each epoch.
    pub test_accuracies: Vec<f64>,
    /// Whether the callback ended it early.
    pub stopped: bool,
}

/// What has just happened.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// A step is done.
    Step {
        /// Its epoch, from 1.
        epoch: usize,
        /// Its number over all epochs, from 1.
        step: usize,
        /// The steps of the whole run.
        steps: usize,
        /// The samples of the step.
        samples: usize,
        /// Its loss, taken before the update.
        loss: f64,
        /// Its learning rate.
        lr: f64,
    },
    /// An epoch is done.
    Epoch {
        /// Its number, from 1.
        epoch: usize,
        /// The epochs of the whole run.
        epochs: usize,
        /// The mean loss of its steps.
        loss: f64,
        /// The accuracy on the training samples.
        train_accuracy: f64,
        /// The accuracy on the test samples.
        test_accuracy: f64,
    },
}

/// One step of a run, before it is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Its samples.
    pub indices: Vec<usize>,
    /// What the optimizer's own learning rate is multiplied by.
    pub factor: f64,
    /// Whether it is the last of its epoch.
    pub ends_epoch: bool,
}

/// The steps of a run, in order: for those who take them themselves.
#[derive(Debug, Clone)]
pub struct Steps {
    trainer: Trainer,
    rng: Xoshiro256PlusPlus,
    order: Vec<usize>,
    taken: usize,
}

impl Steps {
    /// How many steps an epoch has.
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.trainer.batch_size)
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let Trainer { epochs, batch_size, sampling, schedule, .. } = self.trainer;
        let (samples, per_epoch) = (self.order.len(), self.per_epoch());
        let (epoch, step) = (self.taken / per_epoch, self.taken % per_epoch);
        if epoch == epochs {
            return None;
        }
        if step == 0 {
            self.order.shuffle(&mut self.rng);
        }
        let first = step * batch_size;
        let mut indices = self.order[first..samples.min(first + batch_size)].to_vec();
        if sampling == Sampling::Choice {
            indices.fill_with(|| self.rng.random_range(0..samples));
        }
        self.taken += 1;
        let at = epoch as f64 + step as f64 / per_epoch as f64;
        let (factor, ends_epoch) = (schedule.factor(at, epochs), step + 1 == per_epoch);
        Some(Step { epoch: epoch + 1, indices, factor, ends_epoch })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.trainer.epochs * self.per_epoch() - self.taken;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Steps {}

impl Trainer {
    /// The steps of a run on `samples` samples.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are no samples, or none in a batch.
    pub fn steps(&self, samples: usize) -> Result<Steps> {
        for (name, value) in [("batch_size", self.batch_size), ("the number of samples", samples)] {
            if value == 0 {
                let (value, expected) = (value.to_string(), "at least 1".into());
                return Err(Error::Argument { name, value, expected });
            }
        }
        let rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        Ok(Steps { trainer: self.clone(), rng, order: (0..samples).collect(), taken: 0 })
    }

    /// Trains `network` on `train`, and tests it on `train` and `test` after each epoch. `callback` hears of every step and epoch, and
    /// ends the run by [`ControlFlow::Break`].
    ///
    /// The same network, data and seeds give the same weights, whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is nothing to train on, and as [`Sequential::train_step`] and [`Augmentation::apply`].
    pub fn train<T: Element>(
        &self,
        network: &mut Sequential<T>,
        train: &impl Samples<T>,
        test: &impl Samples<T>,
        optimizer: &mut dyn Optimizer<T>,
        mut callback: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<History> {
        let steps = self.steps(train.len())?;
        let (epochs, count) = (self.epochs, steps.len());
        let base_lr = optimizer.lr();
        let mut history = History::default();
        let mut epoch_start = 0;
        for Step { epoch, indices, factor, ends_epoch } in steps {
            let lr = base_lr * factor;
            optimizer.set_lr(lr);
            let (x, t) = train.batch(&indices)?;
            let loss = self
                .augmented(x, history.losses.len() as u64)
                .and_then(|x| network.train_step(x, ndarray::aview1(&t), optimizer));
            let loss = loss.inspect_err(|_| optimizer.set_lr(base_lr))?.as_f64();
            history.losses.push(loss);
            history.lrs.push(lr);
            let (step, steps, samples) = (history.losses.len(), count, indices.len());
            if callback(&Progress::Step { epoch, step, steps, samples, loss, lr }).is_break() {
                history.stopped = true;
                break;
            }
            if !ends_epoch {
                continue;
            }
            let losses = &history.losses[epoch_start..];
            let loss = losses.iter().sum::<f64>() / losses.len() as f64;
            epoch_start = history.losses.len();
            let train_accuracy = accuracy(network, train, self.evaluate_sample_num)?;
            let test_accuracy = accuracy(network, test, self.evaluate_sample_num)?;
            history.train_accuracies.push(train_accuracy);
            history.test_accuracies.push(test_accuracy);
            let progress = Progress::Epoch { epoch, epochs, loss, train_accuracy, test_accuracy };
            if callback(&progress).is_break() {
                history.stopped = true;
                break;
            }
        }
        optimizer.set_lr(base_lr);
        Ok(history)
    }

    /// The samples of a step, changed where that is asked for.
    fn augmented<T: Element>(&self, x: Tensor<T>, step: u64) -> Result<Tensor<T>> {
        let Some(augmentation) = self.augmentation else { return Ok(x) };
        let images = x.view().into_dimensionality::<Ix4>().map_err(|_| {
            Error::shape("augmentation", x.shape(), "images (N, channels, height, width)")
        })?;
        Ok(augmentation.apply(images, self.seed, step)?.into_dyn().into_shared())
    }
}

/// The share of the first `limit` samples (`None`: of all) that the network gets right; NaN where there are none.
///
/// # Errors
/// As [`Sequential::predict`].
pub fn accuracy<T: Element>(
    network: &mut Sequential<T>,
    samples: &impl Samples<T>,
    limit: Option<usize>,
) -> Result<f64> {
    const BATCH: usize = 500;
    let indices: Vec<usize> = (0..samples.len().min(limit.unwrap_or(usize::MAX))).collect();
    let mut correct = 0;
    for batch in indices.chunks(BATCH) {
        let (x, t) = samples.batch(batch)?;
        correct += network.count_correct(x, &t)?;
    }
    Ok(correct as f64 / indices.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_each_sample_once_and_choice_draws() {
        let schedule = Schedule::Step { epochs: 1, factor: 0.5 };
        let trainer = Trainer { epochs: 2, batch_size: 4, schedule, ..Trainer::default() };
        let steps: Vec<Step> = trainer.steps(10).unwrap().collect();
        assert_eq!((steps.len(), trainer.steps(10).unwrap().len()), (6, 6));
        for (epoch, steps) in steps.chunks(3).enumerate() {
            let mut seen: Vec<usize> = steps.iter().flat_map(|step| step.indices.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
            assert!(steps.iter().all(|step| step.epoch == epoch + 1));
            assert!(steps.iter().all(|step| step.factor == 0.5f64.powi(epoch as i32)));
            assert_eq!(
                steps.iter().map(|step| step.ends_epoch).collect::<Vec<_>>(),
                [false, false, true]
            );
        }
        let drawn = Trainer { sampling: Sampling::Choice, ..trainer.clone() };
        let drawn: Vec<Step> = drawn.steps(10).unwrap().collect();
        assert!(drawn.iter().all(|step| step.indices.iter().all(|&index| index < 10)));
        assert_ne!(drawn[0].indices, steps[0].indices);
        assert!(trainer.steps(0).is_err());
        assert!(Trainer { batch_size: 0, ..trainer }.steps(10).is_err());
    }
}
