//! Layers as `kasoku.blocks` describes them.

use kasoku_nn::Element;
use kasoku_nn::init::WeightInit;
use kasoku_nn::kernels::conv::Window;
use kasoku_nn::layers::{LocalResponseNormalization, Statistics};
use kasoku_nn::networks::{Sequential, SequentialBuilder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::pair::Pair;

/// A layer to be, or several in one.
pub(super) enum Block {
    Affine(usize, WeightInit),
    Convolution(usize, Window, WeightInit),
    MaxPooling(Window),
    AveragePooling(Window),
    GlobalAveragePooling,
    BatchNormalization(Statistics),
    LocalResponseNormalization(usize, [f64; 3]),
    Dropout(f64),
    Flatten,
    Relu,
    Sigmoid,
    Tanh,
    Residual(Vec<Block>, Vec<Block>),
    Concat(Vec<Vec<Block>>),
}

fn window((Pair(size), Pair(stride), Pair(pad)): (Pair, Pair, Pair)) -> Window {
    Window { size, stride, pad }
}

fn init(text: &str) -> PyResult<WeightInit> {
    Ok(text.parse().map_err(Error::from)?)
}

/// From the name of its kind and what else there is to know.
impl<'a, 'py> FromPyObject<'a, 'py> for Block {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (kind, of): (String, Bound<'py, PyAny>) = object.extract()?;
        Ok(match kind.as_str() {
            "affine" => {
                let (outputs, std): (usize, String) = of.extract()?;
                Self::Affine(outputs, init(&std)?)
            }
            "convolution" => {
                let (filters, sizes, std): (usize, _, String) = of.extract()?;
                Self::Convolution(filters, window(sizes), init(&std)?)
            }
            "max_pooling" => Self::MaxPooling(window(of.extract::<(_,)>()?.0)),
            "average_pooling" => Self::AveragePooling(window(of.extract::<(_,)>()?.0)),
            "global_average_pooling" => Self::GlobalAveragePooling,
            "batch_normalization" => Self::BatchNormalization(match of.extract::<(bool,)>()?.0 {
                true => Statistics::PerFeature,
                false => Statistics::PerChannel,
            }),
            "local_response_normalization" => {
                let (n, k, alpha, beta) = of.extract()?;
                Self::LocalResponseNormalization(n, [k, alpha, beta])
            }
            "dropout" => Self::Dropout(of.extract::<(_,)>()?.0),
            "flatten" => Self::Flatten,
            "relu" => Self::Relu,
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "residual" => {
                let (body, shortcut) = of.extract()?;
                Self::Residual(body, shortcut)
            }
            "concat" => Self::Concat(of.extract::<(_,)>()?.0),
            other => return Err(PyValueError::new_err(format!("no layer is called {other:?}"))),
        })
    }
}

/// Adds the layers to a network, or to a chain of one.
pub(super) fn add_all<T: Element>(
    builder: SequentialBuilder<T>,
    blocks: &[Block],
) -> SequentialBuilder<T> {
    blocks.iter().fold(builder, |builder, block| block.add(builder))
}

impl Block {
    fn add<T: Element>(&self, builder: SequentialBuilder<T>) -> SequentialBuilder<T> {
        match self {
            Self::Affine(outputs, init) => builder.affine(*outputs, *init),
            Self::Convolution(filters, window, init) => {
                builder.convolution(*filters, *window, *init)
            }
            Self::MaxPooling(window) => builder.max_pooling(*window),
            Self::AveragePooling(window) => builder.average_pooling(*window),
            Self::GlobalAveragePooling => builder.global_average_pooling(),
            Self::BatchNormalization(statistics) => builder.batch_normalization(*statistics),
            Self::LocalResponseNormalization(n, [k, alpha, beta]) => {
                builder.try_layer(LocalResponseNormalization::new(*n, *k, *alpha, *beta))
            }
            Self::Dropout(ratio) => builder.dropout(*ratio),
            Self::Flatten => builder.flatten(),
            Self::Relu => builder.relu(),
            Self::Sigmoid => builder.sigmoid(),
            Self::Tanh => builder.tanh(),
            Self::Residual(body, shortcut) => builder
                .residual_with(|chain| add_all(chain, body), |chain| add_all(chain, shortcut)),
            Self::Concat(branches) => builder.concat(|joined| {
                branches
                    .iter()
                    .fold(joined, |joined, branch| joined.branch(|chain| add_all(chain, branch)))
            }),
        }
    }
}

/// [`Block`]s as a whole network.
pub(super) struct Blocks {
    pub(super) input: Vec<usize>,
    pub(super) layers: Vec<Block>,
    pub(super) weight_decay: f64,
}

impl Blocks {
    pub(super) fn build<T: Element>(&self, seed: u64) -> kasoku_nn::Result<Sequential<T>> {
        let builder = Sequential::builder(&self.input, seed);
        add_all(builder, &self.layers).weight_decay(self.weight_decay).build()
    }
}
