//! Initial weights: normal numbers of the right spread (chapter 6).

use std::str::FromStr;

use ndarray::{ArrayD, IxDyn};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{Element, Error};

/// The spread of the weights of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightInit {
    /// A given standard deviation.
    Std(f64),
    /// √(1/n) for n inputs: for sigmoid and tanh (Glorot and Bengio 2010, as the book simplifies it).
    Xavier,
    /// √(2/n) for n inputs: for ReLU (He et al. 2015).
    He,
}

impl WeightInit {
    /// The standard deviation for a layer whose outputs sum `inputs` products.
    pub fn std(self, inputs: usize) -> f64 {
        match self {
            Self::Std(std) => std,
            Self::Xavier => (1.0 / inputs as f64).sqrt(),
            Self::He => (2.0 / inputs as f64).sqrt(),
        }
    }
}

impl FromStr for WeightInit {
    type Err = Error;

    /// A number, or the book's names: `relu` or `he`, `sigmoid` or `xavier`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "relu" | "he" => Ok(Self::He),
            "sigmoid" | "xavier" => Ok(Self::Xavier),
            number => number.parse().map(Self::Std).map_err(|_| Error::Argument {
                name: "weight_init_std",
                value: format!("{text:?}"),
                expected: "a number, \"relu\", \"he\", \"sigmoid\" or \"xavier\"".into(),
            }),
        }
    }
}

/// The random numbers of a network's weights.
#[derive(Debug, Clone)]
pub struct WeightRng(Xoshiro256PlusPlus);

impl WeightRng {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Normal numbers of standard deviation `std`; drawn in f64, so that networks in f32 and f64 of one seed agree.
    pub fn normal<T: Element>(&mut self, shape: &[usize], std: f64) -> ArrayD<T> {
        ArrayD::from_shape_simple_fn(IxDyn(shape), || {
            let x: f64 = StandardNormal.sample(&mut self.0);
            T::of(std * x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_the_books() {
        assert_eq!("relu".parse::<WeightInit>().unwrap().std(8), 0.5);
        assert_eq!("Xavier".parse::<WeightInit>().unwrap().std(4), 0.5);
        assert_eq!("0.01".parse::<WeightInit>().unwrap().std(4), 0.01);
        assert!("much".parse::<WeightInit>().unwrap_err().to_string().contains("\"much\""));
    }

    #[test]
    fn numbers_have_the_spread_and_depend_on_the_seed_alone() {
        let draw = |seed| WeightRng::new(seed).normal::<f64>(&[100, 100], 0.5);
        let x = draw(1);
        assert!(x.mean().unwrap().abs() < 0.02);
        assert!((x.std(0.0) - 0.5).abs() < 0.02);
        assert_eq!(x, draw(1));
        assert_ne!(x, draw(2));
        let single = WeightRng::new(1).normal::<f32>(&[100, 100], 0.5);
        assert!(single.iter().zip(&x).all(|(&single, &double)| single == double as f32));
    }
}
