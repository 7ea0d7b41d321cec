use std::collections::HashMap;
use std::ops::RangeBounds;

use ndarray::{Array2, ArrayD, ArrayView, Dimension, Ix2};

use super::{Batch, SequentialBuilder};
use crate::engine::{Engine, Versioned};
use crate::functions::Labels;
use crate::gradient::numerical_gradient;
use crate::layers::{Layer, Mode, Parameter, Role, SoftmaxWithLoss, slice};
use crate::optimizers::Optimizer;
use crate::tensor::elements;
use crate::trainer::accuracy;
use crate::{Element, Error, Result, Tensor, kernels};

/// Layers one after another, and softmax with cross-entropy at the end.
///
/// ```
/// use kasoku_nn::init::WeightInit::He;
/// use kasoku_nn::kernels::conv::Window;
/// use kasoku_nn::networks::Sequential;
///
/// let mut network = Sequential::<f32>::builder(&[1, 28, 28], 42)
///     .convolution(16, Window::new(3, 3).pad(1), He)
///     .relu()
///     .max_pooling(Window::new(2, 2).stride(2))
///     .affine(10, He)
///     .build()?;
/// let scores = network.predict(ndarray::Array4::zeros([5, 1, 28, 28]))?;
/// assert_eq!(scores.dim(), (5, 10));
/// # Ok::<(), kasoku_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Sequential<T: Element> {
    pub(super) layers: Versioned<T>,
    loss: SoftmaxWithLoss<T>,
    engine: Engine<T>,
    pub(super) input: Vec<usize>,
    weight_decay: f64,
    seed: u64,
    step: u64,
}

impl<T: Element> Sequential<T> {
    /// Begins a network for samples of shape `input`; `seed` decides its weights and the masks of its dropouts.
    pub fn builder(input: &[usize], seed: u64) -> SequentialBuilder<T> {
        SequentialBuilder::new(input, seed)
    }

    pub(super) fn new(
        layers: Vec<Box<dyn Layer<T>>>,
        input: Vec<usize>,
        weight_decay: f64,
        seed: u64,
    ) -> Self {
        let (layers, loss) = (Versioned::new(layers), SoftmaxWithLoss::new());
        let engine = Engine::new(true);
        Self { layers, loss, engine, input, weight_decay, seed, step: 0 }
    }

    /// The layers, the first one first.
    pub fn layers(&self) -> &[Box<dyn Layer<T>>] {
        &self.layers
    }

    /// The shape of one sample.
    pub fn input_shape(&self) -> &[usize] {
        &self.input
    }

    /// The seed it was built with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many steps of training it has taken: with the seed, the key of its dropouts' masks.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Sets the number of steps taken, to go on where a copy stopped.
    pub fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// Whether convolutions that follow each other are run together, as planned for each batch size (the default), or every layer
    /// by itself: the results differ by rounding alone.
    pub fn use_engine(&mut self, planned: bool) {
        self.engine = Engine::new(planned);
    }

    /// How a batch of `samples` samples is run: what is planned together, with its operations, memory and use of lanes, and what
    /// runs layer by layer.
    ///
    /// # Errors
    /// Where a layer does not fit its input.
    pub fn explain(&self, samples: usize) -> Result<String> {
        self.engine.explain(&self.layers, &self.input, samples)
    }

    /// The parameters with their names, `W1`, `b1`, …: numbered by kind, in the order of the layers.
    pub fn parameters(&self) -> Vec<(String, &Parameter<T>)> {
        let parameters: Vec<_> = self.layers.iter().flat_map(|layer| layer.parameters()).collect();
        numbered(parameters, |parameter| parameter.role.prefix())
    }

    /// As [`Sequential::parameters`], to change.
    pub fn parameters_mut(&mut self) -> Vec<(String, &mut Parameter<T>)> {
        let layers = self.layers.iter_mut();
        let parameters: Vec<_> = layers.flat_map(|layer| layer.parameters_mut()).collect();
        numbered(parameters, |parameter| parameter.role.prefix())
    }

    /// Freezes layers, by their numbers from 0 on, for transfer learning: their parameters stay as they are, batch normalisation
    /// computes with its running statistics and leaves them alone, and the way back ends at the first layer that learns. Dropout
    /// goes on. A single parameter is frozen by [`Parameter::freeze`].
    ///
    /// ```
    /// use kasoku_nn::networks::SimpleConvNet;
    ///
    /// let mut network = SimpleConvNet::default().build::<f32>(1)?;
    /// network.freeze(..3)?; // convolution, ReLU and pooling
    /// # Ok::<(), kasoku_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no such layer.
    pub fn freeze(&mut self, layers: impl RangeBounds<usize>) -> Result<()> {
        self.set_frozen(layers, true)
    }

    /// Lets layers learn again that [`Sequential::freeze`] froze. An optimizer goes on with the state it had for them.
    ///
    /// # Errors
    /// [`Error::Argument`] where there is no such layer.
    pub fn unfreeze(&mut self, layers: impl RangeBounds<usize>) -> Result<()> {
        self.set_frozen(layers, false)
    }

    fn set_frozen(&mut self, layers: impl RangeBounds<usize>, frozen: bool) -> Result<()> {
        let range = (layers.start_bound().cloned(), layers.end_bound().cloned());
        let count = self.layers.len();
        let Some(layers) = self.layers.get_mut(range) else {
            let value = format!("{range:?}");
            let expected = format!("a range of the {count} layers");
            return Err(Error::Argument { name: "the layers to freeze", value, expected });
        };
        for parameter in layers.iter_mut().flat_map(|layer| layer.parameters_mut()) {
            parameter.freeze(frozen);
        }
        Ok(())
    }

    /// Everything that is saved: the parameters, and what layers keep beside them, with their names.
    pub fn state(&mut self) -> Vec<(String, &mut ArrayD<T>)> {
        let state: Vec<_> = self.layers.iter_mut().flat_map(|layer| layer.state()).collect();
        numbered(state, |(prefix, _)| prefix)
            .into_iter()
            .map(|(name, (_, value))| (name, value))
            .collect()
    }

    /// How many numbers are learned.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, parameter)| parameter.value.len()).sum()
    }

    /// The scores (batch, classes) of a batch, before softmax; dropout and batch normalisation as when testing.
    ///
    /// # Errors
    /// [`Error::Shape`] where x does not hold samples of the network's input.
    pub fn predict<'a>(&mut self, x: impl Into<Batch<'a, T>>) -> Result<Array2<T>> {
        self.predict_in(x, Mode::Test)
    }

    /// [`Sequential::predict`] in a given mode: [`Sequential::train_mode`] for dropout and batch normalisation as in training.
    ///
    /// # Errors
    /// As [`Sequential::predict`].
    pub fn predict_in<'a>(&mut self, x: impl Into<Batch<'a, T>>, mode: Mode) -> Result<Array2<T>> {
        let x = self.batch(x)?;
        let y = self.forward(&x, mode)?;
        let shape = y.shape().to_vec();
        y.into_owned()
            .into_dimensionality::<Ix2>()
            .map_err(|_| Error::shape("the network's output", &shape, "(batch, classes)"))
    }

    /// The loss of a batch as when testing: cross-entropy, plus ½·λ·ΣW² where there is weight decay.
    ///
    /// # Errors
    /// As [`Sequential::predict`], and where the labels do not fit.
    pub fn loss<'a>(
        &mut self,
        x: impl Into<Batch<'a, T>>,
        t: impl Into<Labels<'a, T>>,
    ) -> Result<T> {
        self.loss_in(x, t, Mode::Test)
    }

    /// [`Sequential::loss`] in a given mode, as [`Sequential::predict_in`].
    ///
    /// # Errors
    /// As [`Sequential::loss`].
    pub fn loss_in<'a>(
        &mut self,
        x: impl Into<Batch<'a, T>>,
        t: impl Into<Labels<'a, T>>,
        mode: Mode,
    ) -> Result<T> {
        let x = self.batch(x)?;
        self.forward_loss(&x, &t.into(), mode)
    }

    /// The share of samples whose highest score is their label's.
    ///
    /// # Errors
    /// As [`Sequential::loss`].
    pub fn accuracy<D: Dimension>(
        &mut self,
        x: ArrayView<'_, T, D>,
        labels: &[usize],
    ) -> Result<f64> {
        if x.ndim() == 0 || x.shape()[0] != labels.len() || labels.is_empty() {
            let expected = format!("{} samples, and at least one", labels.len());
            return Err(Error::shape("accuracy", x.shape(), expected));
        }
        accuracy(self, &(x, labels), None)
    }

    /// How many samples of a batch have their highest score at their label.
    pub(crate) fn count_correct(&mut self, x: Tensor<T>, labels: &[usize]) -> Result<usize> {
        let x = self.batch(x)?;
        let y = self.forward(&x, Mode::Test)?;
        let classes = y.shape().last().copied().unwrap_or(0);
        let mut predicted = vec![0; labels.len()];
        kernels::reduce::argmax_rows(elements(&y), classes, &mut predicted)?;
        Ok(predicted.iter().zip(labels).filter(|(predicted, label)| predicted == label).count())
    }

    /// The loss of a batch as when training, by a forward and a backward pass; the gradients are left in the parameters (of those
    /// that are frozen, zeros).
    ///
    /// # Errors
    /// As [`Sequential::loss`].
    pub fn gradient<'a>(
        &mut self,
        x: impl Into<Batch<'a, T>>,
        t: impl Into<Labels<'a, T>>,
    ) -> Result<T> {
        let (x, t, mode) = (self.batch(x)?, t.into(), self.train_mode());
        let Self { layers, input, loss, .. } = self;
        let loss = self.engine.gradient(layers, input, &x, &t, mode, loss)? + self.penalty()?;
        if self.weight_decay != 0.0 {
            let decay = T::of(self.weight_decay);
            for (_, parameter) in self.parameters_mut() {
                if parameter.role == Role::Weight && !parameter.frozen {
                    parameter.grad.scaled_add(decay, &parameter.value);
                }
            }
        }
        Ok(loss)
    }

    /// One step of training: [`Sequential::gradient`], then the optimizer. Returns the loss before the step.
    ///
    /// # Errors
    /// As [`Sequential::gradient`] and [`Optimizer::update`].
    pub fn train_step<'a>(
        &mut self,
        x: impl Into<Batch<'a, T>>,
        t: impl Into<Labels<'a, T>>,
        optimizer: &mut dyn Optimizer<T>,
    ) -> Result<T> {
        let loss = self.gradient(x, t)?;
        let layers = self.layers.iter_mut();
        let mut parameters: Vec<_> = layers.flat_map(|layer| layer.parameters_mut()).collect();
        optimizer.update(&mut parameters)?;
        self.step += 1;
        Ok(loss)
    }

    /// The gradients by central differences of the training loss, with their names: slow, to check [`Sequential::gradient`]. As
    /// there, frozen parameters have zeros.
    ///
    /// # Errors
    /// As [`Sequential::gradient`].
    pub fn numerical_gradient<'a>(
        &mut self,
        x: impl Into<Batch<'a, T>>,
        t: impl Into<Labels<'a, T>>,
    ) -> Result<Vec<(String, ArrayD<T>)>> {
        let (x, t, mode) = (self.batch(x)?, t.into(), self.train_mode());
        let names: Vec<String> = self.parameters().into_iter().map(|(name, _)| name).collect();
        let mut gradients = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let parameter = self.parameters()[index].1;
            if parameter.frozen {
                gradients.push((name, ArrayD::zeros(parameter.value.raw_dim())));
                continue;
            }
            let mut value = parameter.value.clone();
            let gradient = numerical_gradient(
                |value| {
                    self.parameters_mut()[index].1.value.assign(value);
                    self.forward_loss(&x, &t, mode)
                },
                &mut value,
            );
            // Put back before an error is passed on.
            self.parameters_mut()[index].1.value.assign(&value);
            gradients.push((name, gradient?));
        }
        Ok(gradients)
    }

    /// The mode of the next step of training.
    pub fn train_mode(&self) -> Mode {
        Mode::Train { seed: self.seed, step: self.step }
    }

    /// Samples of the network's input.
    fn batch<'a>(&self, x: impl Into<Batch<'a, T>>) -> Result<Batch<'a, T>> {
        let x = x.into();
        let shape = x.shape();
        let samples = shape.first().copied().unwrap_or(0);
        let sample_len: usize = shape.iter().skip(1).product();
        let input_len: usize = self.input.iter().product();
        if shape.is_empty() || sample_len != input_len {
            let expected = format!("(batch, …) of samples of shape {:?}", self.input);
            return Err(Error::shape("the network's input", shape, expected));
        }
        let mut batch = vec![samples];
        batch.extend(&self.input);
        Ok(x.reshaped(&batch))
    }

    fn forward(&mut self, x: &Batch<'_, T>, mode: Mode) -> Result<Tensor<T>> {
        self.engine.forward(&mut self.layers, &self.input, x, mode)
    }

    fn forward_loss(&mut self, x: &Batch<'_, T>, t: &Labels<'_, T>, mode: Mode) -> Result<T> {
        let scores = self.forward(x, mode)?;
        Ok(self.loss.forward(scores, t)? + self.penalty()?)
    }

    /// ½·λ·ΣW².
    fn penalty(&self) -> Result<T> {
        let mut penalty = T::zero();
        if self.weight_decay != 0.0 {
            for (_, parameter) in self.parameters() {
                if parameter.role == Role::Weight {
                    penalty += kernels::reduce::sum_squares(slice(&parameter.value))?;
                }
            }
        }
        Ok(T::of(0.5 * self.weight_decay) * penalty)
    }
}

/// Gives each of `items` its prefix and its number among those of the same prefix.
pub(super) fn numbered<I>(items: Vec<I>, prefix: impl Fn(&I) -> &'static str) -> Vec<(String, I)> {
    let mut used = HashMap::new();
    let name = |item: &I| {
        let prefix = prefix(item);
        let number = used.entry(prefix).and_modify(|number| *number += 1).or_insert(1);
        format!("{prefix}{number}")
    };
    let names: Vec<_> = items.iter().map(name).collect();
    names.into_iter().zip(items).collect()
}
