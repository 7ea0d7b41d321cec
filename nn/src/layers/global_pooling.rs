//! The mean of each channel.

use crate::layers::{Layer, Mode, check_gradient};
use crate::tensor::{contiguous, elements, elements_mut, zeros};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::reduce::sum_axis;

/// (batch, channels, height, width) becomes (batch, channels): the mean of each channel's pixels, which takes the place of large
/// affine layers (chapter 8; Lin et al. 2013, §3.2).
///
/// Backward: every pixel gets its channel's dout, divided by their number.
#[derive(Debug, Clone, Default)]
pub struct GlobalAveragePooling {
    /// The shape of the last forward pass's input.
    input: Option<[usize; 4]>,
}

impl GlobalAveragePooling {
    /// The layer; it has no parameters.
    pub fn new() -> Self {
        Self { input: None }
    }
}

impl<T: Element> Layer<T> for GlobalAveragePooling {
    fn name(&self) -> &'static str {
        "GlobalAveragePooling"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match *input {
            [channels, height, width] if height * width > 0 => Ok(vec![channels]),
            _ => {
                let expected = "(channels, height, width) with at least one pixel";
                Err(Error::shape("GlobalAveragePooling", input, expected))
            }
        }
    }

    fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
        let sample = x.shape().get(1..).unwrap_or_default();
        Layer::<T>::output_shape(self, sample)?;
        let input = [x.shape()[0], sample[0], sample[1], sample[2]];
        let [batch, channels, height, width] = input;
        let (x, mut y) = (contiguous(x), zeros(&[batch, channels]));
        let means = elements_mut(&mut y);
        sum_axis([batch * channels, height * width, 1], elements(&x), means)?;
        let area = T::of((height * width) as f64);
        means.iter_mut().for_each(|mean| *mean /= area);
        self.input = Some(input);
        Ok(y)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let input = self.input.ok_or(Error::NoForward("GlobalAveragePooling"))?;
        let [batch, channels, height, width] = input;
        check_gradient("GlobalAveragePooling", dout.shape(), &[batch, channels])?;
        let (dout, mut dx) = (contiguous(dout), zeros(&input));
        let area = T::of((height * width) as f64);
        let pixels = elements_mut(&mut dx).chunks_exact_mut(height * width);
        pixels.zip(elements(&dout)).for_each(|(pixels, &dout)| pixels.fill(dout / area));
        Ok(dx)
    }
}
