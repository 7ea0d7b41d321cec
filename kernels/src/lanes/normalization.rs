//! Batch normalisation in lanes: what a lane group gives to the statistics of a batch, and what they do to it.

use pulp::{Scalar, Simd, WithSimd};

use super::{arch_of, count};
use crate::batch_norm::{
    Gradient, Gradients, Normalize, NormalizeRelu, SquaredDistance, SumChannels, Term, Value,
    apply, sum_plane,
};
use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::simd::{MAX_LANES, Vector};

/// Normalisation of the channels of samples of (channels, height, width), planned for the lanes of an instruction set.
///
/// The statistics are of the whole batch, so it has two halves on either way: what each lane group knows of them, and, after the
/// groups have been put together by [`Normalization::batch_moments`] or added up, the pass that uses them. Source: Ioffe and
/// Szegedy, "Batch Normalization" (2015); moments of parts: Chan, Golub and LeVeque (1979).
#[derive(Debug, Clone, Copy)]
pub struct Normalization {
    channels: usize,
    /// Pixels of a channel.
    plane: usize,
    lanes: usize,
}

impl Normalization {
    /// The plan, for [`count`] lanes.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where a sample is too large to be.
    pub fn new<T: Element>([channels, height, width]: [usize; 3]) -> Result<Self> {
        let lanes = count::<T>()?;
        checked_size("lanes::Normalization", &[channels, height, width, lanes])?;
        Ok(Self { channels, plane: height * width, lanes })
    }

    /// Checks that the `planes` are those of a lane group and the `constants` one a channel.
    fn check<T, const P: usize, const C: usize>(
        &self,
        op: &'static str,
        planes: [(&'static str, &[T]); P],
        constants: [(&'static str, &[T]); C],
    ) -> Result<()> {
        let len = self.channels * self.plane * self.lanes;
        planes.iter().try_for_each(|(operand, plane)| check_len(op, operand, plane, len))?;
        let mut constants = constants.iter();
        constants
            .try_for_each(|(operand, constant)| check_len(op, operand, constant, self.channels))
    }

    /// A lane group as [`crate::batch_norm`] takes it: one sample with wide planes.
    fn shape(&self) -> [usize; 3] {
        [1, self.channels, self.plane * self.lanes]
    }

    /// Elements of a channel in so many samples.
    pub fn elements(&self, samples: usize) -> usize {
        samples * self.plane
    }

    /// The mean of each channel over the group's first `samples` lanes, then the sum of the squared distances to it of each: in
    /// two passes, so that a large mean costs no digits.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for; so in all operations here.
    pub fn moments<T: Element>(&self, x: &[T], samples: usize, moments: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Normalization::moments";
        self.check(OP, [("x", x)], [])?;
        check_len(OP, "moments", moments, 2 * self.channels)?;
        let arch = arch_of::<T>(OP, self.lanes)?;
        let plane = self.plane * self.lanes;
        if plane > 0 {
            arch.dispatch(Moments { x, plane, samples: samples.min(self.lanes), moments });
        }
        Ok(())
    }

    /// Mean and variance (biased) of each channel of a batch of `samples` samples, from the [`Normalization::moments`] of its
    /// groups, one after another.
    ///
    /// # Errors
    /// As [`Normalization::moments`].
    pub fn batch_moments<T: Element>(
        &self,
        moments: &[T],
        samples: usize,
        mean: &mut [T],
        var: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::batch_moments";
        let groups = samples.div_ceil(self.lanes);
        check_len(OP, "moments", moments, groups * 2 * self.channels)?;
        self.check(OP, [], [("mean", &*mean), ("var", &*var)])?;
        // The share of the batch that each group has.
        let groups = || {
            let shares = (0..samples)
                .step_by(self.lanes)
                .map(|first| T::of(self.lanes.min(samples - first) as f64 / samples as f64));
            shares.zip(moments.chunks_exact(2 * self.channels.max(1)))
        };
        let count = T::of(self.elements(samples) as f64);
        for (channel, (mean, var)) in mean.iter_mut().zip(var).enumerate() {
            *mean = groups().map(|(share, group)| share * group[channel]).sum();
            let spread = groups().map(|(share, group)| {
                let distance = group[channel] - *mean;
                group[self.channels + channel] / count + share * distance * distance
            });
            *var = spread.sum();
        }
        Ok(())
    }

    /// y = gamma·(x − mean)·inv_std + beta, then ReLU if `relu`; one constant a channel, in this order.
    ///
    /// # Errors
    /// As [`Normalization::moments`].
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        [gamma, mean, inv_std, beta]: [&[T]; 4],
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::forward";
        let operands = [("gamma", gamma), ("mean", mean), ("inv_std", inv_std), ("beta", beta)];
        self.check(OP, [("x", x), ("y", &*y)], operands)?;
        let constants = |c: usize| [gamma[c], mean[c], inv_std[c], beta[c]];
        match relu {
            true => apply(self.shape(), NormalizeRelu, [x], constants, y),
            false => apply(self.shape(), Normalize, [x], constants, y),
        }
    }

    /// Σ dy of each channel over the group, then Σ dy·(x − mean)·inv_std of each: the group's part of the gradients by beta and
    /// gamma. dy is 0 in lanes without a sample.
    ///
    /// # Errors
    /// As [`Normalization::moments`].
    pub fn gradients<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        [mean, inv_std]: [&[T]; 2],
        sums: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::gradients";
        self.check(OP, [("x", x), ("dy", dy)], [("mean", mean), ("inv_std", inv_std)])?;
        check_len(OP, "sums", sums, 2 * self.channels)?;
        let (dbeta, dgamma) = sums.split_at_mut(self.channels);
        let arch = arch_of::<T>(OP, self.lanes)?;
        if self.plane > 0 {
            arch.dispatch(SumChannels {
                shape: self.shape(),
                term: Gradients,
                inputs: [x, dy],
                first: 0,
                constants: [mean, inv_std],
                sums: [dbeta, dgamma],
            });
        }
        Ok(())
    }

    /// dx = scale·(dy − shift − (x − mean)·slope) in the first `samples` lanes, 0 in the others; one constant a channel, in this
    /// order. With scale = gamma·inv_std, slope = inv_std·dgamma/M and shift = dbeta/M, of M elements a channel, it is the
    /// gradient by x; with shift and slope 0 that with constant statistics.
    ///
    /// # Errors
    /// As [`Normalization::moments`].
    pub fn backward<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        [scale, mean, slope, shift]: [&[T]; 4],
        samples: usize,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::backward";
        let operands = [("scale", scale), ("mean", mean), ("slope", slope), ("shift", shift)];
        self.check(OP, [("x", x), ("dy", dy), ("dx", &*dx)], operands)?;
        let constants = |c: usize| [scale[c], mean[c], slope[c], shift[c]];
        apply(self.shape(), Gradient, [x, dy], constants, &mut *dx)?;
        if samples < self.lanes {
            let pixels = dx.chunks_exact_mut(self.lanes);
            pixels.for_each(|pixel| pixel[samples..].fill(T::zero()));
        }
        Ok(())
    }
}

struct Moments<'a, T> {
    x: &'a [T],
    /// Elements of a channel.
    plane: usize,
    samples: usize,
    moments: &'a mut [T],
}

impl<T: Element> WithSimd for Moments<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, plane, samples, moments } = self;
        let lanes = Vector::<T, S>::len();
        let mut filled = [T::zero(); MAX_LANES];
        filled[..samples].fill(T::one());
        let filled = Vector::load(simd, &filled[..]);
        let count = T::of((plane / lanes * samples) as f64);
        let (means, squares) = moments.split_at_mut(moments.len() / 2);
        let planes = x.chunks_exact(plane);
        for (x, (mean, square)) in planes.zip(means.iter_mut().zip(squares)) {
            *mean = (sum(simd, Value, T::zero(), x) * filled).sum() / count;
            *square = (sum(simd, SquaredDistance, *mean, x) * filled).sum();
        }
    }
}

/// The sum of `term` of x, whole registers, and the mean, lane by lane.
#[inline(always)]
fn sum<T: Element, S: Simd>(simd: S, term: impl Term<T, 1, 1>, mean: T, x: &[T]) -> Vector<T, S> {
    let (mut sums, mut rests) = ([Vector::zero(simd)], [Vector::zero(Scalar::new())]);
    sum_plane(simd, term, [mean; 2], [x], 0, x.len(), &mut sums, &mut rests);
    sums[0]
}
