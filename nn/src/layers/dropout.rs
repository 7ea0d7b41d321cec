//! Dropout.

use crate::layers::{Layer, Mode, Operation, check_gradient};
use crate::tensor::{contiguous, elements_mut};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::dropout::{DropoutKey, dropout_in_place};

/// Drops each element with probability `ratio` while training; multiplies by 1 − `ratio` when testing, as the book
/// does (chapter 6; Srivastava et al. 2014).
///
/// The mask is a function of the run's seed, the step, the layer's number and the element's index: it is not stored, and the
/// same on any number of threads.
#[derive(Debug, Clone)]
pub struct Dropout {
    ratio: f64,
    layer: u32,
    last: Option<(Mode, Vec<usize>)>,
}

impl Dropout {
    /// The layer; `layer` tells the dropouts of a network apart.
    ///
    /// # Errors
    /// [`Error::Argument`] where `ratio` is not from 0 to 1.
    pub fn new(ratio: f64, layer: u32) -> Result<Self> {
        if !(0.0..=1.0).contains(&ratio) {
            let value = ratio.to_string();
            let expected = "a number from 0 to 1".into();
            return Err(Error::Argument { name: "dropout_ratio", value, expected });
        }
        Ok(Self { ratio, layer, last: None })
    }

    fn apply<T: Element>(&self, mode: Mode, x: Tensor<T>) -> Result<Tensor<T>> {
        let mut x = contiguous(x);
        match mode {
            Mode::Test => {
                let kept = T::of(1.0 - self.ratio);
                x.mapv_inplace(|x| x * kept);
            }
            Mode::Train { seed, step } => {
                let key = DropoutKey { seed, step, layer: self.layer };
                dropout_in_place(key, self.ratio, T::one(), elements_mut(&mut x))?;
            }
        }
        Ok(x)
    }
}

impl<T: Element> Layer<T> for Dropout {
    fn name(&self) -> &'static str {
        "Dropout"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(input.to_vec())
    }

    fn operation(&self) -> Operation {
        Operation::Dropout(self.ratio, self.layer)
    }

    fn forward(&mut self, x: Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        self.last = Some((mode, x.shape().to_vec()));
        self.apply(mode, x)
    }

    fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
        let (mode, shape) = self.last.as_ref().ok_or(Error::NoForward("Dropout"))?;
        check_gradient("Dropout", dout.shape(), shape)?;
        self.apply(*mode, dout)
    }
}
