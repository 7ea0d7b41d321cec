//! `kasoku._core.dataset`: MNIST, the digits the program draws itself, and images changed by chance.

use std::path::PathBuf;

use kasoku_nn::data::{self, Augmentation, DataError, Mnist};
use ndarray::ArrayView4;
use numpy::{IntoPyArray, PyArray1, PyArray4, ToPyArray};
use pyo3::prelude::*;

use crate::array::{Input, Precision, with_float};
use crate::error::{Error, Result};
use crate::pair::Pair;

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

    /// Images (N, C, H, W), changed by chance: shift, rotation and scale in `numbers`.
    #[pyfunction]
    fn augment<'py>(
        images: &Bound<'py, PyAny>,
        numbers: [f64; 3],
        flip: bool,
        crop: Option<Pair>,
        seed: u64,
        step: u64,
    ) -> Result<Bound<'py, PyAny>> {
        let [shift, rotation, scale] = numbers;
        let crop = crop.map(|Pair(size)| size);
        let augmentation = Augmentation { shift, rotation, scale, flip, crop };
        let precision = Precision::of(&[images])?
            .ok_or_else(|| Error::type_error("images: expected floating-point numbers"))?;
        with_float!(precision, T => {
            let (py, input) = (images.py(), Input::<T>::new(images)?);
            let view = ArrayView4::from_shape(input.dims::<4>("images")?, input.slice()?)
                .map_err(|error| Error::value(error.to_string()))?;
            let changed = py.detach(|| augmentation.apply(view, seed, step))?;
            precision.finish(changed.into_dyn().into_pyarray(py))
        })
    }

    /// `train` and `test` images of digits, drawn from `seed`.
    #[pyfunction]
    fn synthetic(py: Python<'_>, train: usize, test: usize, seed: u64) -> [Images<'_>; 2] {
        let split = py.detach(|| data::synthetic_split(train, test, seed));
        to_python(py, &split)
    }
}
