//! Weights in files: they come back as they went, and a file that does not fit changes nothing.

use std::fs;
use std::path::Path;

use kasoku_nn::ndarray::{Array1, Array2};
use kasoku_nn::networks::{MultiLayerNet, MultiLayerNetExtend, Sequential};
use kasoku_nn::weights::{check_path, load, save};
use kasoku_nn::{Element, init::WeightRng};
use ndarray_npy::{NpzReader, NpzWriter};

fn network<T: Element>(hidden: usize, seed: u64) -> Sequential<T> {
    let net = MultiLayerNet::new(8, &[hidden], 3);
    MultiLayerNetExtend { net, dropout_ratio: None, use_batchnorm: true }.build(seed).unwrap()
}

fn state<T: Element>(network: &mut Sequential<T>) -> Vec<(String, Vec<f64>)> {
    let state = network.state().into_iter();
    state.map(|(name, value)| (name, value.iter().map(|x| x.as_f64()).collect())).collect()
}

fn round_trip<T: Element>(path: &Path) {
    let mut saved = network::<T>(5, 1);
    let x = WeightRng::new(2).normal::<T>(&[4, 8], 1.0);
    saved.gradient(x, kasoku_nn::ndarray::aview1(&[0, 1, 2, 0])).unwrap(); // running statistics
    save(&mut saved, path).unwrap();
    let mut loaded = network::<T>(5, 2);
    assert_ne!(state(&mut loaded), state(&mut saved));
    load(&mut loaded, path).unwrap();
    assert_eq!(state(&mut loaded), state(&mut saved));
}

#[test]
fn weights_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["w.safetensors", "w.npz"] {
        let path = folder.path().join(name);
        round_trip::<f64>(&path);
        round_trip::<f32>(&path);
        // f32 on disk, f64 in memory: the same numbers.
        let mut wide = network::<f64>(5, 3);
        load(&mut wide, &path).unwrap();
        let mut narrow = network::<f32>(5, 3);
        load(&mut narrow, &path).unwrap();
        assert_eq!(state(&mut wide), state(&mut narrow));
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "no temporary file is left");
}

#[test]
fn npz_is_numpys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.npz");
    save(&mut network::<f64>(5, 1), &path).unwrap();
    let mut file = NpzReader::new(fs::File::open(&path).unwrap()).unwrap();
    let w: Array2<f64> = file.by_name("W1").unwrap();
    assert_eq!(w.dim(), (8, 5));
    let gamma: Array1<f64> = file.by_name("gamma1").unwrap();
    assert_eq!(gamma, Array1::<f64>::ones(5));
}

/// Loads `path` into a network, which must refuse it and stay as it is; returns the message.
fn refusal(path: &Path) -> String {
    let mut network = network::<f64>(5, 2);
    let before = state(&mut network);
    let message = load(&mut network, path).unwrap_err().to_string();
    assert_eq!(state(&mut network), before);
    assert!(message.contains(&path.display().to_string()), "{message}");
    message
}

#[test]
fn files_that_do_not_fit_are_refused_by_the_tensors_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["w.safetensors", "w.npz"] {
        let path = folder.path().join(name);
        save(&mut network::<f64>(6, 1), &path).unwrap();
        let message = refusal(&path);
        for part in ["W1", "[8, 6]", "[8, 5]"] {
            assert!(message.contains(part), "{message}");
        }
        save(&mut MultiLayerNet::new(8, &[5], 3).build::<f64>(1).unwrap(), &path).unwrap();
        assert!(refusal(&path).contains("gamma1 is missing"));
        let net = MultiLayerNet::new(8, &[5], 3);
        save(&mut network::<f64>(5, 1), &path).unwrap();
        let message = load(&mut net.build::<f64>(1).unwrap(), &path).unwrap_err().to_string();
        assert!(message.contains("not one of the network's"), "{message}");

        let whole = fs::read(&path).unwrap();
        for len in [0, 1, 8, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            refusal(&path);
        }
    }
    let path = folder.path().join("integers.npz");
    let mut npz = NpzWriter::new(fs::File::create(&path).unwrap());
    for (name, value) in network::<f64>(5, 1).state() {
        npz.add_array(name, &value.mapv(|x| x as i64)).unwrap();
    }
    npz.finish().unwrap();
    refusal(&path);
}

#[test]
fn paths_that_cannot_be_are_told_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    assert!(check_path(folder.path().join("w.npz")).is_ok());
    assert!(check_path("w.safetensors").is_ok());
    let message = check_path(folder.path().join("w.pkl")).unwrap_err().to_string();
    assert!(message.contains(".safetensors or .npz"), "{message}");
    let message = check_path(folder.path().join("gone/w.npz")).unwrap_err().to_string();
    assert!(message.contains("no folder"), "{message}");
    assert!(save(&mut network::<f64>(5, 1), folder.path().join("gone/w.npz")).is_err());
    refusal(&folder.path().join("gone.npz"));
}
