//! Fully connected layers: samples in rows.
//!
//! What affine layers and activations do with a sample does not depend on the others. So a block of samples goes through all of
//! them on one thread, whose cache keeps what it has computed, forward and back: where the loss follows, at once. Threads meet only
//! where a normalisation needs the statistics of the whole batch, and for the gradients by the weights, which are sums over it: each
//! takes some of their rows.

mod pass;
mod plan;
mod weights;

pub(super) use pass::{Step, backward, forward, step};
pub(super) use plan::{BLOCK, Plan};

use super::folded::Folded;
use super::normalized::Normalized;
use crate::Element;
use crate::kernels::lanes::Buffer;

/// What lasts from the forward pass to the backward pass, and from step to step.
#[derive(Debug)]
pub(super) struct Memory<T> {
    matrices: Buffer<T>,
    /// For predictions.
    folded: Folded<T>,
    /// Of each operation that has one.
    normalized: Vec<Option<Normalized<T>>>,
    /// What each part of the batch knows of a normalisation's statistics or gradients.
    parts: Buffer<T>,
}

impl<T: Element> Default for Memory<T> {
    fn default() -> Self {
        let (matrices, parts) = (Buffer::new(0), Buffer::new(0));
        Self { matrices, folded: Folded::default(), normalized: Vec::new(), parts }
    }
}
