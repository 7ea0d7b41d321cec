//! What a network is made of, in words.

use super::Sequential;
use super::sequential::numbered;
use crate::layers::{Layer, Operation};
use crate::{Element, Result};

/// One layer of a network, for programs that write networks in a form of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The layer's name.
    pub name: &'static str,
    /// What it computes.
    pub operation: Operation,
    /// The shape of one sample before it.
    pub input: Vec<usize>,
    /// The shape of one sample after it.
    pub output: Vec<usize>,
    /// Its arrays: what each is to the layer, `W`, and its name in [`Sequential::state`], `W3`. Those of the layers inside are
    /// with these.
    pub arrays: Vec<(&'static str, String)>,
    /// The layers inside, chain by chain, of a layer that contains layers.
    pub chains: Vec<Vec<Description>>,
}

impl<T: Element> Sequential<T> {
    /// The layers, described: with [`Sequential::state`], all that a prediction depends on.
    ///
    /// # Errors
    /// Where a layer does not fit its input.
    pub fn describe(&mut self) -> Result<Vec<Description>> {
        let state =
            self.layers.iter_mut().flat_map(|layer| layer.state()).map(|(prefix, _)| prefix);
        let mut names = numbered(state.collect(), |&prefix| prefix).into_iter();
        describe(&mut self.layers, &self.input, &mut names)
    }
}

/// The layers of a chain; `names` are those of the arrays from there on.
fn describe<T: Element>(
    layers: &mut [Box<dyn Layer<T>>],
    input: &[usize],
    names: &mut dyn Iterator<Item = (String, &'static str)>,
) -> Result<Vec<Description>> {
    let mut input = input.to_vec();
    let describe_layer = |layer: &mut Box<dyn Layer<T>>| {
        let (name, operation) = (layer.name(), layer.operation());
        let output = layer.output_shape(&input)?;
        let chains = layer.chains_mut().into_iter();
        let chains = chains.map(|chain| describe(chain.layers_mut(), &input, names));
        let chains = chains.collect::<Result<Vec<_>>>()?;
        let own = if chains.is_empty() { layer.state().len() } else { 0 };
        let arrays = names.take(own).map(|(name, prefix)| (prefix, name)).collect();
        let input = std::mem::replace(&mut input, output.clone());
        Ok(Description { name, operation, input, output, arrays, chains })
    };
    layers.iter_mut().map(describe_layer).collect()
}
