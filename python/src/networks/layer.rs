//! A layer as `kasoku.onnx` reads it.

use std::collections::BTreeMap;

use kasoku_nn::layers::{Operation, Statistics};
use kasoku_nn::networks::Description;
use pyo3::prelude::*;

/// A setting of a layer.
#[derive(IntoPyObject)]
pub(super) enum Setting {
    Number(f64),
    Flag(bool),
    Pair([usize; 2]),
}

/// A layer: in Python, a dict.
#[derive(IntoPyObject)]
pub(super) struct Layer {
    name: &'static str,
    settings: BTreeMap<&'static str, Setting>,
    /// What an array is to the layer, and its name in `state`.
    arrays: BTreeMap<&'static str, String>,
    input: Vec<usize>,
    output: Vec<usize>,
    /// The layers inside, chain by chain.
    chains: Vec<Vec<Layer>>,
}

impl From<Description> for Layer {
    fn from(layer: Description) -> Self {
        let Description { name, operation, input, output, arrays, chains } = layer;
        let (settings, arrays) = (settings(operation), arrays.into_iter().collect());
        let chain = |chain: Vec<Description>| chain.into_iter().map(Self::from).collect();
        let (settings, chains) = (settings.into_iter().collect(), chains.into_iter().map(chain));
        Self { name, settings, arrays, input, output, chains: chains.collect() }
    }
}

/// What an operation is set to.
fn settings(operation: Operation) -> Vec<(&'static str, Setting)> {
    use Setting::{Flag, Number, Pair};
    match operation {
        Operation::Convolution(_, window)
        | Operation::MaxPooling(window)
        | Operation::AveragePooling(window) => vec![
            ("size", Pair(window.size)),
            ("stride", Pair(window.stride)),
            ("pad", Pair(window.pad)),
        ],
        Operation::Dropout(ratio, _) => vec![("ratio", Number(ratio))],
        Operation::BatchNormalization(statistics, epsilon) => vec![
            ("per_channel", Flag(statistics == Statistics::PerChannel)),
            ("epsilon", Number(epsilon)),
        ],
        Operation::LocalResponseNormalization(channels, [k, alpha, beta]) => vec![
            ("channels", Number(channels as f64)),
            ("k", Number(k)),
            ("alpha", Number(alpha)),
            ("beta", Number(beta)),
        ],
        _ => vec![],
    }
}
