//! Real MNIST, where `KASOKU_DATA` names its folder.

use std::path::PathBuf;

use kasoku_nn::data::{Dataset, Mnist};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("KASOKU_DATA").map(PathBuf::from).filter(|dir| dir.is_dir());
    if folder.is_none() {
        println!("skipped: KASOKU_DATA names no folder");
    }
    folder
}

/// The mean of all pixels, 0 to 255.
fn mean(data: &Dataset) -> f64 {
    let sum: u64 = data.images_u8().iter().map(|&pixel| u64::from(pixel)).sum();
    sum as f64 / data.images_u8().len() as f64
}

#[test]
fn mnist_is_read_whole() {
    let Some(folder) = folder() else { return };
    let mnist = Mnist::load(&folder).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!(mnist.train.labels_u8().to_vec()[..5], [5, 0, 4, 1, 9]);
    assert_eq!(mnist.test.labels_u8().to_vec()[..5], [7, 2, 1, 0, 4]);
    // The well-known mean of the training images, 0.1307.
    assert!((mean(&mnist.train) / 255.0 - 0.1307).abs() < 5e-5, "{}", mean(&mnist.train));
    assert_eq!(Mnist::find(Some(&folder)).unwrap(), folder);
}
