//! What a network is made of, in words.

use super::Sequential;
use super::sequential::numbered;
use crate::layers::Operation;
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
    /// Its arrays: what each is to the layer, `W`, and its name in [`Sequential::state`], `W3`.
    pub arrays: Vec<(&'static str, String)>,
}

impl<T: Element> Sequential<T> {
    /// The layers, described: with [`Sequential::state`], all that a prediction depends on.
    ///
    /// # Errors
    /// Where a layer does not fit its input.
    pub fn describe(&mut self) -> Result<Vec<Description>> {
        let (mut descriptions, mut prefixes) = (Vec::new(), Vec::new());
        let mut input = self.input.clone();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let output = layer.output_shape(&input)?;
            prefixes.extend(layer.state().into_iter().map(|(prefix, _)| (index, prefix)));
            let (name, operation, arrays) = (layer.name(), layer.operation(), Vec::new());
            let input = std::mem::replace(&mut input, output.clone());
            descriptions.push(Description { name, operation, input, output, arrays });
        }
        for (name, (index, prefix)) in numbered(prefixes, |&(_, prefix)| prefix) {
            descriptions[index].arrays.push((prefix, name));
        }
        Ok(descriptions)
    }
}
