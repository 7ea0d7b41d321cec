//! Layers, and whether their weights may have changed.

use std::ops::{Deref, DerefMut};
use std::slice::IterMut;

use crate::layers::Layer;

/// The layers of a network. What is prepared from their weights is good for as long as the version stays the same: whoever gets
/// them to write to makes it another one, whether or not they do.
#[derive(Debug)]
pub(crate) struct Versioned<T> {
    layers: Vec<Box<dyn Layer<T>>>,
    version: u64,
}

impl<T> Versioned<T> {
    pub(crate) fn new(layers: Vec<Box<dyn Layer<T>>>) -> Self {
        Self { layers, version: 0 }
    }

    /// The version, and the layers for a prediction, which leaves their weights alone.
    pub(super) fn for_prediction(&mut self) -> (u64, &mut [Box<dyn Layer<T>>]) {
        (self.version, &mut self.layers)
    }
}

impl<T> Deref for Versioned<T> {
    type Target = [Box<dyn Layer<T>>];

    fn deref(&self) -> &Self::Target {
        &self.layers
    }
}

impl<T> DerefMut for Versioned<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.version += 1;
        &mut self.layers
    }
}

impl<'a, T> IntoIterator for &'a mut Versioned<T> {
    type Item = &'a mut Box<dyn Layer<T>>;
    type IntoIter = IterMut<'a, Box<dyn Layer<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
