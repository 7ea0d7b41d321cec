//! Local response normalisation.

use crate::layers::{Layer, Mode, Operation, check_gradient};
use crate::tensor::{Recycled, contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::lanes::{for_each_stretch, with_scratch};

/// Divides each pixel by what the same pixel of the `n` channels around it sums up to, so that channels compete: with
/// s = k + alpha·Σx² over those channels (fewer at the ends), y = x·s^−beta (chapter 8; Krizhevsky et al. 2012, §3.3, whose
/// alpha is, unlike that of some libraries, not divided by n).
///
/// Backward: dx = dout·s^−beta − 2·alpha·beta·x·Σ dout·y/s, over the same channels.
#[derive(Debug, Clone)]
pub struct LocalResponseNormalization<T: Element> {
    /// Channels to either side.
    reach: usize,
    k: T,
    alpha: T,
    beta: T,
    last: Option<Normalised<T>>,
    outputs: Recycled<T>,
}

/// What `backward` needs.
#[derive(Debug, Clone)]
struct Normalised<T: Element> {
    x: Tensor<T>,
    /// s of each element.
    sums: Vec<T>,
    /// s^−beta of each.
    factors: Vec<T>,
}

impl<T: Element> LocalResponseNormalization<T> {
    /// The layer.
    ///
    /// # Errors
    /// [`Error::Argument`] where n is not odd, where k is not above 0, or alpha or beta is below 0.
    pub fn new(n: usize, k: f64, alpha: f64, beta: f64) -> Result<Self> {
        let argument = |name, value: String, expected: &str| {
            Err(Error::Argument { name, value, expected: expected.into() })
        };
        if n.is_multiple_of(2) {
            return argument("n", n.to_string(), "an odd number of channels");
        }
        if !(k > 0.0 && k.is_finite()) {
            return argument("k", k.to_string(), "a number above 0");
        }
        for (name, value) in [("alpha", alpha), ("beta", beta)] {
            if !(value >= 0.0 && value.is_finite()) {
                return argument(name, value.to_string(), "a number of 0 or more");
            }
        }
        Ok(Self {
            reach: n / 2,
            k: T::of(k),
            alpha: T::of(alpha),
            beta: T::of(beta),
            last: None,
            outputs: Recycled::default(),
        })
    }

    /// With AlexNet's numbers: n = 5, k = 2, alpha = 1e-4, beta = 0.75.
    pub fn alex_net() -> Self {
        Self::new(5, 2.0, 1e-4, 0.75).expect("numbers in their domains")
    }

    /// s^−beta.
    fn factor(&self, s: T) -> T {
        if self.beta == T::of(0.75) {
            let root = s.sqrt();
            T::one() / (root * root.sqrt()) // AlexNet's, without a logarithm
        } else {
            s.powf(-self.beta)
        }
    }

    /// The sums of `terms` over the channels around each, of `plane` elements a channel.
    fn sum_around(&self, plane: usize, terms: &[T], sums: &mut [T]) {
        let plane = plane.max(1);
        let channels = sums.len() / plane;
        for (channel, sums) in sums.chunks_exact_mut(plane).enumerate() {
            let first = channel.saturating_sub(self.reach);
            let end = (channel + self.reach + 1).min(channels);
            sums.fill(T::zero());
            for terms in terms[first * plane..end * plane].chunks_exact(plane) {
                sums.iter_mut().zip(terms).for_each(|(sum, &term)| *sum += term);
            }
        }
    }

    /// Operations on a batch of so many elements, for the threads.
    fn work(&self, len: usize) -> usize {
        len * (2 * self.reach + 16)
    }
}

/// (samples, elements of a sample, elements of a channel) of a batch.
fn sizes(batch: &[usize]) -> [usize; 3] {
    [batch[0], batch[1..].iter().product(), batch[2..].iter().product()]
}

impl<T: Element> Layer<T> for LocalResponseNormalization<T> {
    fn name(&self) -> &'static str {
        "LocalResponseNormalization"
    }

    fn operation(&self) -> Operation {
        let numbers = [self.k, self.alpha, self.beta].map(T::as_f64);
        Operation::LocalResponseNormalization(2 * self.reach + 1, numbers)
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input {
            [_, _, _] => Ok(input.to_vec()),
            _ => {
                let expected = "(channels, height, width)";
                Err(Error::shape("LocalResponseNormalization", input, expected))
            }
        }
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        self.output_shape(x.shape().get(1..).unwrap_or_default())?;
        let x = contiguous(x);
        let [batch, sample, plane] = sizes(x.shape());
        let last = self.last.take();
        let (mut sums, mut factors) =
            last.map_or_else(Default::default, |last| (last.sums, last.factors));
        sums.resize(x.len(), T::zero());
        factors.resize(x.len(), T::zero());
        let mut y = self.outputs.take(x.shape());
        let slices =
            [&mut sums[..], &mut factors, elements_mut(&mut y)].map(|slice| (slice, sample));
        for_each_stretch(batch, self.work(x.len()), slices, |number, [sums, factors, y]| {
            let x = &elements(&x)[number * sample..][..sample];
            factors.iter_mut().zip(x).for_each(|(square, &x)| *square = x * x);
            self.sum_around(plane, factors, sums);
            for (((s, factor), y), &x) in sums.iter_mut().zip(factors).zip(y).zip(x) {
                *s = self.k + self.alpha * *s;
                *factor = self.factor(*s);
                *y = x * *factor;
            }
            Ok(())
        })?;
        self.last = Some(Normalised { x, sums, factors });
        self.outputs.keep(&y);
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let Normalised { x, sums, factors } =
            self.last.as_ref().ok_or(Error::NoForward("LocalResponseNormalization"))?;
        check_gradient("LocalResponseNormalization", dout.shape(), x.shape())?;
        let dout = contiguous(dout);
        let [batch, sample, plane] = sizes(x.shape());
        let mut dx = zeros(x.shape());
        let slices = [(elements_mut(&mut dx), sample)];
        for_each_stretch(batch, self.work(x.len()), slices, |number, [dx]| {
            let part = number * sample..(number + 1) * sample;
            let (x, dout) = (&elements(x)[part.clone()], &elements(&dout)[part.clone()]);
            let (sums, factors) = (&sums[part.clone()], &factors[part]);
            let twice = (T::one() + T::one()) * self.alpha * self.beta;
            with_scratch(sample, |terms| {
                for (at, term) in terms.iter_mut().enumerate() {
                    *term = dout[at] * x[at] * factors[at] / sums[at];
                }
                self.sum_around(plane, terms, dx);
            });
            for (at, dx) in dx.iter_mut().enumerate() {
                *dx = dout[at] * factors[at] - twice * x[at] * *dx;
            }
            Ok(())
        })?;
        Ok(dx)
    }
}
