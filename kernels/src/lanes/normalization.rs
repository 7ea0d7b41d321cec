//! Batch normalisation in lanes: what a lane group gives to the statistics of a batch, and what they do to it.

use pulp::{Scalar, Simd, WithSimd};

use super::{arch_of, count};
use crate::batch_norm::{SquaredDistance, Term, Value, parts, sum_plane};
use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::simd::{MAX_LANES, Vector};

/// Normalisation of the channels of samples of (channels, height, width), planned for the lanes of an instruction set.
///
/// A lane group is a part of the batch, as [`parts`] has them.
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

    /// Checks that the `planes` are those of a lane group.
    fn check<T, const P: usize>(
        &self,
        op: &'static str,
        planes: [(&'static str, &[T]); P],
    ) -> Result<()> {
        let len = self.channels * self.plane * self.lanes;
        planes.iter().try_for_each(|(operand, plane)| check_len(op, operand, plane, len))
    }

    /// A lane group as [`crate::batch_norm`] takes it: one sample with wide planes.
    fn shape(&self) -> [usize; 3] {
        [1, self.channels, self.plane * self.lanes]
    }

    /// Elements of a channel in `samples` samples, and in a group, as [`parts::batch_moments`] takes them.
    pub fn elements(&self, samples: usize) -> [usize; 2] {
        [samples * self.plane, self.lanes * self.plane]
    }

    /// The mean of each channel over the group's first `samples` lanes, then the sum of the squared distances to it of each: in
    /// two passes, so that a large mean costs no digits.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for; so in all operations here.
    pub fn moments<T: Element>(&self, x: &[T], samples: usize, moments: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Normalization::moments";
        self.check(OP, [("x", x)])?;
        check_len(OP, "moments", moments, 2 * self.channels)?;
        let arch = arch_of::<T>(OP, self.lanes)?;
        let plane = self.plane * self.lanes;
        if plane > 0 {
            arch.dispatch(Moments { x, plane, samples: samples.min(self.lanes), moments });
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
        constants: [&[T]; 4],
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::forward";
        self.check(OP, [("x", x), ("y", &*y)])?;
        parts::forward(self.shape(), x, constants, relu, y)
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
        statistics: [&[T]; 2],
        sums: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::gradients";
        self.check(OP, [("x", x), ("dy", dy)])?;
        parts::gradients(self.shape(), x, dy, statistics, sums)
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
        constants: [&[T]; 4],
        samples: usize,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Normalization::backward";
        self.check(OP, [("x", x), ("dy", dy), ("dx", &*dx)])?;
        parts::backward(self.shape(), x, dy, constants, &mut *dx)?;
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
