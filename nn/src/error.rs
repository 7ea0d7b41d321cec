use std::path::PathBuf;

use crate::data::DataError;

/// What the crate refuses, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kernel's operands do not fit.
    #[error(transparent)]
    Kernel(#[from] kasoku_kernels::Error),
    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An array does not have the shape a layer or function needs.
    #[error("{place}: the shape is {found:?}, expected {expected}")]
    Shape {
        /// The layer or function.
        place: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape expected.
        expected: String,
    },
    /// `backward` was called before `forward`.
    #[error("{0}: backward needs a forward pass before it")]
    NoForward(&'static str),
    /// A number or a name is outside its domain.
    #[error("{name} is {value}, expected {expected}")]
    Argument {
        /// What is wrong.
        name: &'static str,
        /// The value found, as text.
        value: String,
        /// The domain.
        expected: String,
    },
    /// A file of weights does not fit the network, or is not one.
    #[error("{path}: {problem}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it: the tensor, what was found and what was expected.
        problem: String,
    },
}

impl Error {
    pub(crate) fn shape(
        place: impl Into<String>,
        found: &[usize],
        expected: impl Into<String>,
    ) -> Self {
        Self::Shape { place: place.into(), found: found.to_vec(), expected: expected.into() }
    }
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
