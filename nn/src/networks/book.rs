//! The book's networks, with its numbers as defaults.

use std::str::FromStr;

use super::{Sequential, SequentialBuilder};
use crate::init::WeightInit::{self, He, Std};
use crate::layers::Statistics;
use crate::{Element, Error, Result, kernels};
use kernels::conv::Window;

/// What stands between two fully connected layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "relu" => Ok(Self::Relu),
            "sigmoid" => Ok(Self::Sigmoid),
            "tanh" => Ok(Self::Tanh),
            _ => Err(Error::Argument {
                name: "activation",
                value: format!("{text:?}"),
                expected: "\"relu\", \"sigmoid\" or \"tanh\"".into(),
            }),
        }
    }
}

impl Activation {
    fn add<T: Element>(self, builder: SequentialBuilder<T>) -> SequentialBuilder<T> {
        match self {
            Self::Relu => builder.relu(),
            Self::Sigmoid => builder.sigmoid(),
            Self::Tanh => builder.tanh(),
        }
    }
}

/// Affine - ReLU - affine - softmax (chapter 5; chapter 4 has a sigmoid in the middle).
#[derive(Debug, Clone, PartialEq)]
pub struct TwoLayerNet {
    /// Elements of a sample.
    pub input_size: usize,
    /// Outputs of the first layer.
    pub hidden_size: usize,
    /// Classes.
    pub output_size: usize,
    /// Standard deviation of the weights.
    pub weight_init_std: f64,
    /// Between the two layers.
    pub activation: Activation,
}

impl TwoLayerNet {
    /// With the book's weights of standard deviation 0.01, and ReLU.
    pub fn new(input_size: usize, hidden_size: usize, output_size: usize) -> Self {
        let activation = Activation::Relu;
        Self { input_size, hidden_size, output_size, weight_init_std: 0.01, activation }
    }

    /// The network with the weights of `seed`.
    ///
    /// # Errors
    /// Where a size is impossible, here and in the other networks.
    pub fn build<T: Element>(&self, seed: u64) -> Result<Sequential<T>> {
        let init = Std(self.weight_init_std);
        let builder = Sequential::builder(&[self.input_size], seed).affine(self.hidden_size, init);
        self.activation.add(builder).affine(self.output_size, init).build()
    }
}

/// Any number of affine layers with an activation between them (chapter 6).
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLayerNet {
    /// Elements of a sample.
    pub input_size: usize,
    /// Outputs of the hidden layers.
    pub hidden_size_list: Vec<usize>,
    /// Classes.
    pub output_size: usize,
    /// After each hidden layer.
    pub activation: Activation,
    /// The spread of the weights, of the last layer too.
    pub weight_init_std: WeightInit,
    /// λ of the penalty ½·λ·ΣW².
    pub weight_decay_lambda: f64,
}

impl MultiLayerNet {
    /// With ReLU, He's weights and no penalty.
    pub fn new(input_size: usize, hidden_size_list: &[usize], output_size: usize) -> Self {
        Self {
            input_size,
            hidden_size_list: hidden_size_list.to_vec(),
            output_size,
            activation: Activation::Relu,
            weight_init_std: He,
            weight_decay_lambda: 0.0,
        }
    }

    /// The network with the weights of `seed`.
    ///
    /// # Errors
    /// Where a size is impossible.
    pub fn build<T: Element>(&self, seed: u64) -> Result<Sequential<T>> {
        MultiLayerNetExtend { net: self.clone(), dropout_ratio: None, use_batchnorm: false }
            .build(seed)
    }
}

/// [`MultiLayerNet`] with batch normalisation before, and dropout after, each activation (chapter 6).
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLayerNetExtend {
    /// The layers.
    pub net: MultiLayerNet,
    /// The share that dropout drops; `None` for no dropout.
    pub dropout_ratio: Option<f64>,
    /// Whether to normalise.
    pub use_batchnorm: bool,
}

impl MultiLayerNetExtend {
    /// The network with the weights of `seed`.
    ///
    /// # Errors
    /// Where a size or the ratio is impossible.
    pub fn build<T: Element>(&self, seed: u64) -> Result<Sequential<T>> {
        let net = &self.net;
        let mut builder = Sequential::builder(&[net.input_size], seed);
        for &size in &net.hidden_size_list {
            builder = builder.affine(size, net.weight_init_std);
            if self.use_batchnorm {
                builder = builder.batch_normalization(Statistics::PerFeature);
            }
            builder = net.activation.add(builder);
            if let Some(ratio) = self.dropout_ratio {
                builder = builder.dropout(ratio);
            }
        }
        let builder = builder.affine(net.output_size, net.weight_init_std);
        builder.weight_decay(net.weight_decay_lambda).build()
    }
}

/// 2×2, stride 2: all of the book's pooling.
fn pool() -> Window {
    Window::new(2, 2).stride(2)
}

/// Convolution - ReLU - pool - affine - ReLU - affine - softmax (chapter 7).
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleConvNet {
    /// (channels, height, width).
    pub input_dim: [usize; 3],
    /// Filters of the convolution.
    pub filter_num: usize,
    /// Their size, stride and padding.
    pub filter: Window,
    /// Outputs of the first affine layer.
    pub hidden_size: usize,
    /// Classes.
    pub output_size: usize,
    /// The spread of all weights.
    pub weight_init_std: WeightInit,
}

impl Default for SimpleConvNet {
    /// For MNIST: 30 filters of 5×5, 100 hidden units, weights of standard deviation 0.01.
    fn default() -> Self {
        Self {
            input_dim: [1, 28, 28],
            filter_num: 30,
            filter: Window::new(5, 5),
            hidden_size: 100,
            output_size: 10,
            weight_init_std: Std(0.01),
        }
    }
}

impl SimpleConvNet {
    /// The network with the weights of `seed`.
    ///
    /// # Errors
    /// Where the sizes do not fit together.
    pub fn build<T: Element>(&self, seed: u64) -> Result<Sequential<T>> {
        let init = self.weight_init_std;
        Sequential::builder(&self.input_dim, seed)
            .convolution(self.filter_num, self.filter, init)
            .relu()
            .max_pooling(pool())
            .affine(self.hidden_size, init)
            .relu()
            .affine(self.output_size, init)
            .build()
    }
}

/// Three times (convolution - ReLU - convolution - ReLU - pool), then affine - ReLU - dropout - affine - dropout - softmax
/// (chapter 8).
#[derive(Debug, Clone, PartialEq)]
pub struct DeepConvNet {
    /// (channels, height, width).
    pub input_dim: [usize; 3],
    /// The six convolutions: how many filters, and their size, stride and padding.
    pub convolutions: [(usize, Window); 6],
    /// Outputs of the first affine layer.
    pub hidden_size: usize,
    /// Classes.
    pub output_size: usize,
    /// The share that each dropout drops.
    pub dropout_ratio: f64,
}

impl Default for DeepConvNet {
    /// For MNIST, as the book has it; the fourth convolution is padded by 2.
    fn default() -> Self {
        let padded = |pad| Window::new(3, 3).pad(pad);
        let filters = [16, 16, 32, 32, 64, 64];
        let pads = [1, 1, 1, 2, 1, 1];
        Self {
            input_dim: [1, 28, 28],
            convolutions: std::array::from_fn(|index| (filters[index], padded(pads[index]))),
            hidden_size: 50,
            output_size: 10,
            dropout_ratio: 0.5,
        }
    }
}

impl DeepConvNet {
    /// The network with the weights of `seed`, by He's rule.
    ///
    /// # Errors
    /// Where the sizes do not fit together.
    pub fn build<T: Element>(&self, seed: u64) -> Result<Sequential<T>> {
        let mut builder = Sequential::builder(&self.input_dim, seed);
        for (index, &(filters, window)) in self.convolutions.iter().enumerate() {
            builder = builder.convolution(filters, window, He).relu();
            if index % 2 == 1 {
                builder = builder.max_pooling(pool());
            }
        }
        builder
            .affine(self.hidden_size, He)
            .relu()
            .dropout(self.dropout_ratio)
            .affine(self.output_size, He)
            .dropout(self.dropout_ratio)
            .build()
    }
}
