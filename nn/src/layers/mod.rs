//! Layers: a forward pass, and a backward pass that turns the gradient by the output into that by the input.

mod activation;
mod affine;
mod arithmetic;
mod batch_normalization;
mod chain;
mod concat;
mod convolution;
mod dropout;
mod flatten;
mod global_pooling;
mod pooling;
mod residual;
mod response_normalization;
mod softmax_with_loss;

pub use activation::{Relu, Sigmoid, Tanh};
pub use affine::Affine;
pub use arithmetic::{AddLayer, MulLayer};
pub(crate) use batch_normalization::EPSILON;
pub use batch_normalization::{BatchNormalization, Statistics};
pub use chain::Chain;
pub use concat::Concat;
pub use convolution::Convolution;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use global_pooling::GlobalAveragePooling;
pub use pooling::{AveragePooling, MaxPooling};
pub use residual::Residual;
pub use response_normalization::LocalResponseNormalization;
pub use softmax_with_loss::SoftmaxWithLoss;

use std::fmt::Debug;

use ndarray::{ArrayD, IxDyn};

use crate::{Element, Error, Result, Tensor, kernels};
use kernels::conv::Window;

/// Whether a network learns or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing random, and running statistics instead of the batch's.
    Test,
    /// A training step: `seed` and `step` key the masks of [`Dropout`].
    Train {
        /// The seed of the run.
        seed: u64,
        /// The number of the step.
        step: u64,
    },
}

/// What a parameter is, which gives it its name in a network: `W1`, `b1`, `gamma1`, `beta1`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The weights of [`Affine`] and [`Convolution`], the only ones that decay.
    Weight,
    /// The bias of [`Affine`] and [`Convolution`].
    Bias,
    /// The scale of [`BatchNormalization`].
    Gamma,
    /// The shift of [`BatchNormalization`].
    Beta,
}

impl Role {
    /// The name without its number.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Weight => "W",
            Self::Bias => "b",
            Self::Gamma => "gamma",
            Self::Beta => "beta",
        }
    }
}

/// An array that is learned, and the gradient of the loss by it.
#[derive(Debug, Clone)]
pub struct Parameter<T> {
    /// What it is.
    pub role: Role,
    /// The numbers, in standard layout.
    pub value: ArrayD<T>,
    /// The gradient of the last backward pass, in the shape of `value`; zeros before the first.
    pub grad: ArrayD<T>,
    /// Whether it stays as it is: no gradient is taken and no optimizer changes it.
    pub frozen: bool,
}

impl<T: Element> Parameter<T> {
    /// A parameter with a gradient of zeros.
    pub fn new(role: Role, value: ArrayD<T>) -> Self {
        let value = if value.is_standard_layout() {
            value
        } else {
            value.as_standard_layout().into_owned()
        };
        Self { role, grad: ArrayD::zeros(value.raw_dim()), value, frozen: false }
    }

    /// A parameter that is `value` everywhere.
    pub fn full(role: Role, shape: &[usize], value: T) -> Self {
        Self::new(role, ArrayD::from_elem(IxDyn(shape), value))
    }

    /// Keeps it as it is from now on, or lets it learn again; the gradient is zeros until the next backward pass.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        self.grad.fill(T::zero());
    }

    /// The elements of the value and of the gradient, the first to be changed by an optimizer.
    pub(crate) fn elements(&mut self) -> (&mut [T], &[T]) {
        (slice_mut(&mut self.value), slice(&self.grad))
    }
}

/// The elements of a parameter, which is kept in standard layout.
pub(crate) fn slice<T>(array: &ArrayD<T>) -> &[T] {
    array.as_slice().expect("parameters are in standard layout")
}

/// As [`slice`], to write to.
pub(crate) fn slice_mut<T>(array: &mut ArrayD<T>) -> &mut [T] {
    array.as_slice_mut().expect("parameters are in standard layout")
}

/// What a layer computes, for those who do it in their own way: the engine, and files for other programs
/// ([`Sequential::describe`](crate::networks::Sequential::describe)).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Convolution`] of so many filters, with [`Layer::weights`].
    Convolution(usize, Window),
    /// [`MaxPooling`].
    MaxPooling(Window),
    /// [`AveragePooling`].
    AveragePooling(Window),
    /// [`Relu`].
    Relu,
    /// [`Sigmoid`].
    Sigmoid,
    /// [`Tanh`].
    Tanh,
    /// [`Affine`].
    Affine,
    /// [`Flatten`].
    Flatten,
    /// [`Dropout`] of this share, and its number in the network.
    Dropout(f64, u32),
    /// [`BatchNormalization`] with this added to the variance.
    BatchNormalization(Statistics, f64),
    /// [`LocalResponseNormalization`] over so many channels, with k, alpha and beta.
    LocalResponseNormalization(usize, [f64; 3]),
    /// [`Residual`]: [`Layer::chains`] has its body and its shortcut.
    Residual,
    /// [`Concat`]: [`Layer::chains`] has its branches.
    Concat,
    /// Anything else: only the layer itself can do it.
    Other,
}

/// A layer of a network. The first axis of its input and output is the batch.
pub trait Layer<T: Element>: Debug + Send {
    /// The layer's name, for messages.
    fn name(&self) -> &'static str;

    /// The shape of one sample's output for the shape of one sample's input.
    ///
    /// # Errors
    /// [`Error::Shape`] (or a kernel's) where the input does not fit.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>>;

    /// The output for `x`; keeps what `backward` needs.
    ///
    /// # Errors
    /// As [`Layer::output_shape`].
    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>>;

    /// The gradient by the last forward pass's input, from `dout`, the gradient by its output; leaves the gradients by the
    /// layer's parameters in them.
    ///
    /// # Errors
    /// [`Error::NoForward`] before the first forward pass, [`Error::Shape`] where `dout` does not have the output's shape.
    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>>;

    /// [`Layer::backward`] where nobody needs the gradient by the input: for a network's first layer.
    ///
    /// # Errors
    /// As [`Layer::backward`].
    fn backward_parameters(&mut self, dout: Tensor<T>) -> Result<()> {
        self.backward(dout).map(drop)
    }

    /// The parameters, in a fixed order.
    fn parameters(&self) -> Vec<&Parameter<T>> {
        Vec::new()
    }

    /// The parameters, in the same order.
    fn parameters_mut(&mut self) -> Vec<&mut Parameter<T>> {
        Vec::new()
    }

    /// What it computes. A layer of one's own is [`Operation::Other`], and runs by itself.
    fn operation(&self) -> Operation {
        Operation::Other
    }

    /// The weights and the bias, of a layer that the engine knows and that learns these two.
    fn weights(&self) -> Option<[&Parameter<T>; 2]> {
        None
    }

    /// As [`Layer::weights`], to change.
    fn weights_mut(&mut self) -> Option<[&mut Parameter<T>; 2]> {
        None
    }

    /// The layer itself, where it is [`BatchNormalization`], whose statistics the engine takes.
    fn batch_normalization(&mut self) -> Option<&mut BatchNormalization<T>> {
        None
    }

    /// What is saved, by the names without their numbers: the parameters, and what else lasts from batch to batch.
    fn state(&mut self) -> Vec<(&'static str, &mut ArrayD<T>)> {
        let parameters = self.parameters_mut().into_iter();
        parameters.map(|parameter| (parameter.role.prefix(), &mut parameter.value)).collect()
    }

    /// The chains of layers inside, of a layer that contains layers.
    fn chains(&self) -> Vec<&Chain<T>> {
        Vec::new()
    }

    /// The chains of layers inside, in the same order, which is that of [`Layer::state`].
    fn chains_mut(&mut self) -> Vec<&mut Chain<T>> {
        Vec::new()
    }
}

/// Whether a layer has a parameter that is not frozen.
pub(crate) fn learns<T: Element>(layer: &dyn Layer<T>) -> bool {
    layer.parameters().iter().any(|parameter| !parameter.frozen)
}

/// The layers that contain no others, in the order of their parameters.
pub(crate) fn leaves<T: Element>(layers: &[Box<dyn Layer<T>>]) -> Vec<&dyn Layer<T>> {
    let mut found = Vec::with_capacity(layers.len());
    add_leaves(layers, &mut found);
    found
}

fn add_leaves<'a, T: Element>(layers: &'a [Box<dyn Layer<T>>], found: &mut Vec<&'a dyn Layer<T>>) {
    for layer in layers {
        let chains = layer.chains();
        if chains.is_empty() {
            found.push(&**layer);
        }
        chains.into_iter().for_each(|chain| add_leaves(chain.layers(), found));
    }
}

/// As [`leaves`], to change.
pub(crate) fn leaves_mut<T: Element>(layers: &mut [Box<dyn Layer<T>>]) -> Vec<&mut dyn Layer<T>> {
    let mut found = Vec::with_capacity(layers.len());
    add_leaves_mut(layers, &mut found);
    found
}

fn add_leaves_mut<'a, T: Element>(
    layers: &'a mut [Box<dyn Layer<T>>],
    found: &mut Vec<&'a mut dyn Layer<T>>,
) {
    for layer in layers {
        match layer.chains().is_empty() {
            true => found.push(&mut **layer),
            false => {
                let chains = layer.chains_mut().into_iter();
                chains.for_each(|chain| add_leaves_mut(chain.layers_mut(), found));
            }
        }
    }
}

/// Checks that `dout` has the shape of the output that a forward pass gave.
pub(crate) fn check_gradient(layer: &'static str, found: &[usize], output: &[usize]) -> Result<()> {
    if found == output {
        return Ok(());
    }
    Err(Error::shape(format!("{layer}: dout"), found, format!("the output's, {output:?}")))
}

/// Makes the gradients of frozen parameters zeros, where they came with those of others.
pub(crate) fn forget_frozen<T: Element>(parameters: [&mut Parameter<T>; 2]) {
    for parameter in parameters {
        if parameter.frozen {
            parameter.grad.fill(T::zero());
        }
    }
}
