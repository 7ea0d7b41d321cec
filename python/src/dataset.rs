//! `kasoku._core.dataset`: MNIST and the digits the program draws itself.

use std::path::PathBuf;

use kasoku_nn::data::{self, DataError, Mnist};
use numpy::{PyArray1, PyArray4, ToPyArray};
use pyo3::prelude::*;

use crate::error::Result;

/// Images (N, 1, 28, 28) of 0 to 255 and labels (N), both bytes.
type Images<'py> = (Bound<'py, PyArray4<u8>>, Bound<'py, PyArray1<u8>>);

fn to_python<'py>(py: Python<'py>, split: &data::Split) -> [Images<'py>; 2] {
    [&split.train, &split.test]
        .map(|set| (set.images_u8().to_pyarray(py), set.labels_u8().to_pyarray(py)))
}

/// MNIST and the digits the program draws itself.
#[pymodule]
pub(crate) mod dataset {
    use super::*;

    /// The first of `folders`, then of KASOKU_DATA and the cache, that holds the four files. FileNotFoundError where none does.
    #[pyfunction]
    fn find(folders: Vec<PathBuf>) -> Result<PathBuf> {
        let given = folders.iter().find_map(|folder| Mnist::find(Some(folder)).ok());
        match given {
            Some(folder) => Ok(folder),
            None => Ok(Mnist::find(folders.first().map(PathBuf::as_path))?),
        }
    }

    /// Train and test images and labels of MNIST in `folder`.
    #[pyfunction]
    fn load<'py>(py: Python<'py>, folder: PathBuf) -> Result<[Images<'py>; 2]> {
        let split = py.detach(|| Mnist::load(&folder))?;
        Ok(to_python(py, &split))
    }

    /// Where downloads are kept, if there is such a place.
    #[pyfunction]
    fn cache_folder() -> Option<PathBuf> {
        Mnist::cache_dir()
    }

    /// Fetches the files that are not in `folder` yet. `progress(file, bytes so far, bytes in all or None)` is called as they
    /// arrive; what it raises first is raised at the end.
    #[pyfunction]
    fn download(py: Python<'_>, folder: PathBuf, progress: Py<PyAny>) -> Result<()> {
        let mut raised = None;
        let result: Result<(), DataError> = py.detach(|| {
            data::download(&folder, |file, done, total| {
                if raised.is_none() {
                    raised = Python::attach(|py| progress.call1(py, (file, done, total)).err());
                }
            })
        });
        if let Some(raised) = raised {
            return Err(raised.into());
        }
        Ok(result?)
    }

    /// `train` and `test` images of digits, drawn from `seed`.
    #[pyfunction]
    fn synthetic(py: Python<'_>, train: usize, test: usize, seed: u64) -> [Images<'_>; 2] {
        let split = py.detach(|| data::synthetic_split(train, test, seed));
        to_python(py, &split)
    }
}
