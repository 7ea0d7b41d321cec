//! The weights of affine layers as predictions take them: with the constants of what follows multiplied in.

use crate::Element;
use crate::layers::{EPSILON, Layer, slice};

/// What is multiplied into the weights of an affine layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fold {
    /// The batch normalisation after it: with running statistics, y·s + (beta − mean·s), where s is gamma/√(var + ε).
    pub(super) normalization: Option<usize>,
    /// What a dropout multiplies with; a ReLU before it does not mind.
    pub(super) factor: f64,
}

impl Fold {
    /// W and b of affine layer `layer`; `None` where there is nothing to multiply with.
    fn weights<T: Element>(
        self,
        layer: usize,
        layers: &mut [Box<dyn Layer<T>>],
    ) -> Option<[Vec<T>; 2]> {
        if self.normalization.is_none() && self.factor == 1.0 {
            return None;
        }
        let [mut w, mut b] = layers[layer].weights()?.map(|weights| slice(&weights.value).to_vec());
        let factor = T::of(self.factor);
        let mut scale = vec![factor; b.len()];
        match self.normalization.and_then(|at| layers[at].batch_normalization()) {
            Some(layer) => {
                let [gamma, beta, mean, var] = layer.constants();
                for (at, b) in b.iter_mut().enumerate() {
                    let slope = gamma[at] / (var[at] + T::of(EPSILON)).sqrt();
                    *b = ((*b - mean[at]) * slope + beta[at]) * factor;
                    scale[at] *= slope;
                }
            }
            None => b.iter_mut().for_each(|b| *b *= factor),
        }
        for row in w.chunks_exact_mut(scale.len().max(1)) {
            row.iter_mut().zip(&scale).for_each(|(w, &scale)| *w *= scale);
        }
        Some([w, b])
    }
}

/// The folded weights of each operation that has some, good for a version of the network's weights.
#[derive(Debug)]
pub(super) struct Folded<T> {
    weights: Vec<Option<[Vec<T>; 2]>>,
    version: Option<u64>,
}

impl<T> Default for Folded<T> {
    fn default() -> Self {
        Self { weights: Vec::new(), version: None }
    }
}

impl<T: Element> Folded<T> {
    /// Makes those of `folds`, each with its affine layer, of version `version`, unless they are here already.
    pub(super) fn prepare(
        &mut self,
        folds: impl Iterator<Item = (Fold, usize)>,
        layers: &mut [Box<dyn Layer<T>>],
        version: u64,
    ) {
        if self.version != Some(version) {
            self.weights = folds.map(|(fold, layer)| fold.weights(layer, layers)).collect();
            self.version = Some(version);
        }
    }

    /// W and b of an operation, if they are others than the layer's.
    pub(super) fn get(&self, op: usize) -> Option<&[Vec<T>; 2]> {
        self.weights.get(op)?.as_ref()
    }
}
