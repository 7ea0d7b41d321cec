//! Data sets of handwritten digits: MNIST from its IDX files, and synthetic digits that need no file.
//!
//! Images are kept as the bytes they come in, a quarter of the memory of `f32`, and turned into numbers
//! of 0 to 1 when a batch is gathered.
//!
//! ```
//! use kasoku_nn::data::{self, Dataset};
//!
//! let digits: Dataset = data::synthetic(100, 1);
//! let (x, t) = digits.batch::<f32>(&[3, 14, 15]).unwrap();
//! assert_eq!(x.dim(), (3, 1, 28, 28));
//! assert_eq!(t.len(), 3);
//! ```

mod augmentation;
#[cfg(feature = "download")]
mod download;
mod error;
mod glyphs;
pub mod idx;
mod mnist;
mod pen;
mod synthetic;

use std::path::Path;

use ndarray::{Array1, Array2, Array4, ArrayView1, ArrayView4, Axis};
use num_traits::Float;

pub use augmentation::Augmentation;
#[cfg(feature = "download")]
pub use download::{MIRRORS, download};
pub use error::DataError;
pub use mnist::Mnist;
pub use synthetic::{synthetic, synthetic_split};

/// Rows and columns of every image.
pub const IMAGE_SIDE: usize = 28;

/// Digits, 0 to 9.
pub const CLASSES: usize = 10;

/// Images of digits with their labels: N images (1, 28, 28) of 0 (white) to 255 (ink), N labels of 0 to 9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    images: Array4<u8>,
    labels: Array1<u8>,
}

/// A data set to learn from and another, never learnt from, to test on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What the network learns from.
    pub train: Dataset,
    /// What its accuracy is measured on.
    pub test: Dataset,
}

impl Dataset {
    /// Joins images (N, 1, 28, 28) with their labels (N).
    ///
    /// # Errors
    /// The counts differ, the images have another size or more than one channel, or a label is above 9.
    pub fn new(images: Array4<u8>, labels: Array1<u8>) -> Result<Self, DataError> {
        let (_, channels, rows, columns) = images.dim();
        if (channels, rows, columns) != (1, IMAGE_SIDE, IMAGE_SIDE) {
            return Err(DataError::Shape { found: images.shape().to_vec() });
        }
        check_counts("images", images.len_of(Axis(0)), "labels", labels.len())?;
        let labels = labels.to_vec();
        check_labels(&labels, "labels")?;
        let images = match images.is_standard_layout() {
            true => images,
            false => images.as_standard_layout().into_owned(),
        };
        Ok(Self { images, labels: Array1::from_vec(labels) })
    }

    /// Reads images and labels from a pair of IDX files, plain or gzipped.
    ///
    /// # Errors
    /// As [`idx::read_images`] and [`idx::read_labels`], or their counts differ.
    pub fn from_idx(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self, DataError> {
        let (images_path, labels_path) = (images.as_ref(), labels.as_ref());
        let images = idx::read(images_path, idx::Kind::Images)?;
        let labels = idx::read(labels_path, idx::Kind::Labels)?;
        Self::from_contents(images, images_path, labels, labels_path)
    }

    fn from_contents(
        images: idx::Content,
        images_path: &Path,
        labels: idx::Content,
        labels_path: &Path,
    ) -> Result<Self, DataError> {
        let name = |path: &Path| path.display().to_string();
        check_counts(&name(images_path), images.count, &name(labels_path), labels.count)?;
        Ok(Self { images: images.into_images(), labels: Array1::from_vec(labels.items) })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images as they are, (N, 1, 28, 28), 0 to 255.
    pub fn images_u8(&self) -> ArrayView4<'_, u8> {
        self.images.view()
    }

    /// The labels as they are, (N).
    pub fn labels_u8(&self) -> ArrayView1<'_, u8> {
        self.labels.view()
    }

    /// The images as numbers of 0 to 1 (a byte divided by 255), (N, 1, 28, 28).
    pub fn images_f<T: Float>(&self) -> Array4<T> {
        let scale = scale_table();
        self.images.mapv(|byte| scale[usize::from(byte)])
    }

    /// The images as rows of numbers of 0 to 1, (N, 784).
    pub fn flattened<T: Float>(&self) -> Array2<T> {
        let shape = (self.len(), IMAGE_SIDE * IMAGE_SIDE);
        self.images_f().into_shape_with_order(shape).expect("as many elements, in standard order")
    }

    /// The labels as indices, (N).
    pub fn labels(&self) -> Array1<usize> {
        self.labels.mapv(usize::from)
    }

    /// The labels as rows with a one in the label's column and zeros elsewhere, (N, 10).
    pub fn one_hot<T: Float>(&self) -> Array2<T> {
        let mut rows = Array2::zeros((self.len(), CLASSES));
        for (mut row, &label) in rows.outer_iter_mut().zip(&self.labels) {
            row[usize::from(label)] = T::one();
        }
        rows
    }

    /// A copy of the first `count` images with their labels, or of all where there are fewer.
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            images: self.images.slice_axis(Axis(0), (..count).into()).to_owned(),
            labels: self.labels.slice_axis(Axis(0), (..count).into()).to_owned(),
        }
    }

    /// A copy of the images at `indices` with their labels, in that order; an index may come twice.
    ///
    /// # Errors
    /// An index is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        self.check_indices(indices)?;
        Ok(Self {
            images: self.images.select(Axis(0), indices),
            labels: self.labels.select(Axis(0), indices),
        })
    }

    /// A mini-batch: the images at `indices`, (B, 1, 28, 28) of 0 to 1, and their labels, (B).
    ///
    /// # Errors
    /// An index is not below [`len`](Self::len).
    pub fn batch<T: Float>(
        &self,
        indices: &[usize],
    ) -> Result<(Array4<T>, Array1<usize>), DataError> {
        self.check_indices(indices)?;
        let scale = scale_table();
        let mut x = Array4::zeros((indices.len(), 1, IMAGE_SIDE, IMAGE_SIDE));
        for (mut out, &i) in x.outer_iter_mut().zip(indices) {
            out.zip_mut_with(&self.images.index_axis(Axis(0), i), |out, &byte| {
                *out = scale[usize::from(byte)];
            });
        }
        let t = indices.iter().map(|&i| usize::from(self.labels[i])).collect();
        Ok((x, t))
    }

    fn check_indices(&self, indices: &[usize]) -> Result<(), DataError> {
        match indices.iter().find(|&&i| i >= self.len()) {
            Some(&index) => Err(DataError::Index { index, len: self.len() }),
            None => Ok(()),
        }
    }
}

/// What each byte stands for: k / 255, correctly rounded.
fn scale_table<T: Float>() -> [T; 256] {
    let mut counts = [T::zero(); 256];
    for k in 1..256 {
        counts[k] = counts[k - 1] + T::one();
    }
    counts.map(|count| count / counts[255])
}

fn check_labels(labels: &[u8], path: &str) -> Result<(), DataError> {
    match labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        Some(index) => Err(DataError::Label { path: path.to_owned(), index, label: labels[index] }),
        None => Ok(()),
    }
}

fn check_counts(
    images: &str,
    image_count: usize,
    labels: &str,
    label_count: usize,
) -> Result<(), DataError> {
    if image_count == label_count {
        return Ok(());
    }
    let (images, labels) = (images.to_owned(), labels.to_owned());
    Err(DataError::CountsDiffer { images, image_count, labels, label_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images: image i is filled with 60·i, but for its last pixel, 255; labels 7, 0, 9, 3.
    fn four() -> Dataset {
        let mut images =
            Array4::from_shape_fn((4, 1, IMAGE_SIDE, IMAGE_SIDE), |(i, ..)| 60 * i as u8);
        images.outer_iter_mut().for_each(|mut image| image[[0, 27, 27]] = 255);
        Dataset::new(images, Array1::from_vec(vec![7, 0, 9, 3])).unwrap()
    }

    #[test]
    fn images_are_scaled_to_one() {
        let x = four().images_f::<f64>();
        assert_eq!(x.dim(), (4, 1, 28, 28));
        assert_eq!(x[[0, 0, 0, 0]], 0.0);
        assert_eq!(x[[2, 0, 5, 6]], 120.0 / 255.0);
        assert_eq!(x[[3, 0, 27, 27]], 1.0);
        let rows = four().flattened::<f32>();
        assert_eq!(rows.dim(), (4, 784));
        assert_eq!(rows[[1, 782]], 60.0 / 255.0);
        assert_eq!(rows[[1, 783]], 1.0);
        for (k, value) in scale_table::<f32>().into_iter().enumerate() {
            assert_eq!(value, k as f32 / 255.0);
        }
    }

    #[test]
    fn labels_and_one_hot_agree() {
        assert_eq!(four().labels().to_vec(), [7, 0, 9, 3]);
        let rows = four().one_hot::<f32>();
        assert_eq!(rows.dim(), (4, 10));
        assert_eq!(rows.sum(), 4.0);
        for (row, label) in [7, 0, 9, 3].into_iter().enumerate() {
            assert_eq!(rows[[row, label]], 1.0);
        }
    }

    #[test]
    fn a_batch_gathers_in_order_with_repeats() {
        let (x, t) = four().batch::<f64>(&[3, 1, 3]).unwrap();
        assert_eq!(x, four().images_f::<f64>().select(Axis(0), &[3, 1, 3]));
        assert_eq!(t.to_vec(), [3, 0, 3]);
        let (x, t) = four().batch::<f64>(&[]).unwrap();
        assert_eq!((x.dim(), t.len()), ((0, 1, 28, 28), 0));
        let error = four().batch::<f32>(&[0, 4]).unwrap_err().to_string();
        assert_eq!(error, "index 4 is outside a data set of 4 images");
    }

    #[test]
    fn subsets_are_data_sets() {
        let all = four();
        assert_eq!(all.first(9), all);
        assert_eq!(all.first(2), all.subset(&[0, 1]).unwrap());
        assert!(all.first(0).is_empty());
        let two = all.subset(&[2, 0]).unwrap();
        assert_eq!(two.labels_u8().to_vec(), [9, 7]);
        assert_eq!(two.images_u8()[[0, 0, 0, 0]], 120);
        assert!(all.subset(&[4]).is_err());
    }

    #[test]
    fn images_and_labels_must_agree() {
        let images = four().images;
        let error = |images: Array4<u8>, labels: &[u8]| {
            Dataset::new(images, Array1::from_vec(labels.to_vec())).unwrap_err().to_string()
        };
        let text = error(images.clone(), &[1, 2, 3]);
        assert!(text.contains("4 images") && text.contains("3 labels"), "{text}");
        assert!(error(images.clone(), &[1, 2, 3, 10]).contains("label 10 at index 3"));
        assert!(error(Array4::zeros((4, 3, 28, 28)), &[0; 4]).contains("[4, 3, 28, 28]"));
    }

    #[test]
    fn any_memory_order_is_taken() {
        let standard = four();
        let mut reversed = standard.images.clone();
        reversed.invert_axis(Axis(3));
        let flipped = Dataset::new(reversed.clone(), standard.labels.clone()).unwrap();
        assert_eq!(flipped.images, reversed);
        assert_eq!(flipped.flattened::<f32>()[[0, 756]], 1.0);
    }
}
