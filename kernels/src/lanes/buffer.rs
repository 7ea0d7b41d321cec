//! Memory for lanes.

use std::ops::{Deref, DerefMut};

use crate::element::Element;

/// Where every register load of a lane group should begin: a load that straddles two cache lines costs two.
const ALIGN: usize = 64;

/// Elements aligned to cache lines, zeros at first.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Element> Buffer<T> {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let data = vec![T::zero(); len + ALIGN / size_of::<T>()];
        let start = data.as_ptr().align_offset(ALIGN).min(ALIGN / size_of::<T>());
        Self { data, start, len }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}
