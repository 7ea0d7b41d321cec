//! Errors of the crates below as Python exceptions.

use pyo3::exceptions::{
    PyFileNotFoundError, PyIndexError, PyOSError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;

/// Anything that goes wrong on the way; becomes the exception that NumPy would raise.
#[derive(Debug)]
pub(crate) struct Error(PyErr);

/// What every function of this module returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self(PyValueError::new_err(message.into()))
    }

    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self(PyTypeError::new_err(message.into()))
    }

    pub(crate) fn runtime(message: impl Into<String>) -> Self {
        Self(PyRuntimeError::new_err(message.into()))
    }
}

impl From<Error> for PyErr {
    fn from(Error(error): Error) -> Self {
        error
    }
}

impl From<PyErr> for Error {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<kasoku_kernels::Error> for Error {
    fn from(error: kasoku_kernels::Error) -> Self {
        use kasoku_kernels::Error as Kernel;
        let message = error.to_string();
        Self(match error {
            // As `y[np.arange(n), t]` says.
            Kernel::Label { .. } => PyIndexError::new_err(message),
            Kernel::InstructionSet { .. } | Kernel::Threads(_) => PyRuntimeError::new_err(message),
            _ => PyValueError::new_err(message),
        })
    }
}

impl From<kasoku_nn::data::DataError> for Error {
    fn from(error: kasoku_nn::data::DataError) -> Self {
        use kasoku_nn::data::DataError as Data;
        let message = error.to_string();
        Self(match error {
            Data::NotFound { .. } | Data::Unavailable { .. } => {
                PyFileNotFoundError::new_err(message)
            }
            Data::Io { .. } | Data::NoCache | Data::Download { .. } => PyOSError::new_err(message),
            Data::Index { .. } => PyIndexError::new_err(message),
            _ => PyValueError::new_err(message),
        })
    }
}

impl From<kasoku_nn::Error> for Error {
    fn from(error: kasoku_nn::Error) -> Self {
        use kasoku_nn::Error as Nn;
        match error {
            Nn::Kernel(error) => error.into(),
            Nn::Data(error) => error.into(),
            Nn::NoForward(_) => Self::runtime(error.to_string()),
            error => Self::value(error.to_string()),
        }
    }
}
