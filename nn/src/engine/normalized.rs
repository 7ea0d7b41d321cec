//! What a batch normalisation knows besides the activations: between the stages of a step, all parts of the batch wait for it.

use crate::kernels::batch_norm::parts;
use crate::kernels::lanes;
use crate::layers::{BatchNormalization, EPSILON, Mode};
use crate::{Element, kernels};

/// The constants of a normalisation's channels, one of each a channel.
#[derive(Debug, Default)]
pub(super) struct Normalized<T> {
    /// Whether by the batch's own statistics.
    own: bool,
    gamma: Vec<T>,
    beta: Vec<T>,
    mean: Vec<T>,
    var: Vec<T>,
    inv_std: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    scale: Vec<T>,
    slope: Vec<T>,
    shift: Vec<T>,
}

impl<T: Element> Normalized<T> {
    pub(super) fn new(channels: usize) -> Self {
        let mut new = Self::default();
        let all = [&mut new.dgamma, &mut new.dbeta, &mut new.scale, &mut new.slope, &mut new.shift];
        all.into_iter().for_each(|constants| constants.resize(channels, T::zero()));
        new.inv_std.resize(channels, T::zero());
        new
    }

    /// Takes what the layer has for a forward pass, its running statistics until those of the batch are known.
    pub(super) fn begin(&mut self, layer: &BatchNormalization<T>, mode: Mode) {
        self.own = layer.takes_statistics(mode);
        let Self { gamma, beta, mean, var, .. } = &mut *self;
        for (to, from) in [gamma, beta, mean, var].into_iter().zip(layer.constants()) {
            to.clear();
            to.extend_from_slice(from);
        }
        self.set_inv_std();
    }

    fn set_inv_std(&mut self) {
        for (inv_std, &var) in self.inv_std.iter_mut().zip(&self.var) {
            *inv_std = T::one() / (var + T::of(EPSILON)).sqrt();
        }
    }

    /// Whether the parts' [`parts::moments`] are asked for.
    pub(super) fn takes_statistics(&self) -> bool {
        self.own
    }

    /// Puts the moments of all parts together; `elements` as [`parts::batch_moments`] takes them.
    pub(super) fn set_moments(
        &mut self,
        moments: &[T],
        elements: [usize; 2],
    ) -> kernels::Result<()> {
        parts::batch_moments(moments, elements, &mut self.mean, &mut self.var)?;
        self.set_inv_std();
        Ok(())
    }

    /// What [`parts::forward`] takes.
    pub(super) fn forward(&self) -> [&[T]; 4] {
        [&self.gamma, &self.mean, &self.inv_std, &self.beta]
    }

    /// Leaves the batch's statistics in the layer.
    pub(super) fn end_forward(&self, layer: &mut BatchNormalization<T>) {
        if self.own {
            layer.remember(&self.mean, &self.var);
        }
    }

    /// What [`parts::gradients`] takes.
    pub(super) fn statistics(&self) -> [&[T]; 2] {
        [&self.mean, &self.inv_std]
    }

    /// Adds up the [`parts::gradients`] of all parts of a batch of `elements` elements a channel.
    pub(super) fn set_gradients(&mut self, sums: &[T], elements: usize) -> kernels::Result<()> {
        let channels = self.gamma.len();
        lanes::sum_stretches(sums, 2 * channels, 0, &mut self.dbeta)?;
        lanes::sum_stretches(sums, 2 * channels, channels, &mut self.dgamma)?;
        // Constant statistics do not change with x.
        let share = match self.own {
            true => T::one() / T::of(elements as f64),
            false => T::zero(),
        };
        for c in 0..channels {
            self.scale[c] = self.gamma[c] * self.inv_std[c];
            self.slope[c] = self.inv_std[c] * (self.dgamma[c] * share);
            self.shift[c] = self.dbeta[c] * share;
        }
        Ok(())
    }

    /// What [`parts::backward`] takes.
    pub(super) fn backward(&self) -> [&[T]; 4] {
        [&self.scale, &self.mean, &self.slope, &self.shift]
    }

    /// Leaves the gradients in the layer.
    pub(super) fn end_backward(&self, layer: &mut BatchNormalization<T>) {
        layer.set_gradients(&self.dgamma, &self.dbeta);
    }
}
