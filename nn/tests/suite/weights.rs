//! Weights in files: they come back as they went, and a file that does not fit changes nothing.

use std::fs;
use std::path::Path;

use half::f16;
use kasoku_nn::ndarray::{Array1, Array2};
use kasoku_nn::networks::{MultiLayerNet, MultiLayerNetExtend, Sequential};
use kasoku_nn::weights::{Precision, check_path, load, save, save_as};
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
fn half_precision_takes_half_the_space_and_loads_into_any_network() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["w.safetensors", "w.npz"] {
        let [whole, half] =
            ["", "half-"].map(|prefix| folder.path().join(format!("{prefix}{name}")));
        let mut saved = network::<f32>(200, 1);
        save(&mut saved, &whole).unwrap();
        save_as(&mut saved, &half, Precision::Half).unwrap();
        let [whole, size] = [&whole, &half].map(|path| fs::metadata(path).unwrap().len());
        assert!(size < 6 * whole / 10, "{size} bytes of {whole}");
        let rounded = |(name, numbers): (String, Vec<f64>)| {
            (
                name,
                numbers.into_iter().map(|x| f16::from_f32(x as f32).to_f64()).collect::<Vec<_>>(),
            )
        };
        let expected: Vec<_> = state(&mut saved).into_iter().map(rounded).collect();
        let mut wide = network::<f64>(200, 3);
        load(&mut wide, &half).unwrap();
        assert_eq!(state(&mut wide), expected);
        let mut narrow = network::<f32>(200, 3);
        load(&mut narrow, &half).unwrap();
        assert_eq!(state(&mut narrow), expected);
    }
}

#[test]
fn numbers_too_large_for_the_precision_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.npz");
    let mut network = network::<f64>(5, 1);
    let save_with = |network: &mut Sequential<f64>, x: f64, precision| {
        network.parameters_mut()[0].1.value[[1, 2]] = x;
        save_as(network, &path, precision).map_err(|error| error.to_string())
    };
    // The largest that rounds to 65504, and the smallest that does not.
    save_with(&mut network, -65519.9, Precision::Half).unwrap();
    let message = save_with(&mut network, 65520.0, Precision::Half).unwrap_err();
    assert!(message.contains("tensor W1 holds 65520, too large for F16"), "{message}");
    assert!(save_with(&mut network, 1e300, Precision::Single).unwrap_err().contains("F32"));
    save_with(&mut network, 1e300, Precision::Double).unwrap();
    save_with(&mut network, f64::INFINITY, Precision::Half).unwrap();
    assert_eq!("float16".parse::<Precision>().unwrap(), Precision::Half);
    assert!("int8".parse::<Precision>().unwrap_err().to_string().contains("float16"));
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
    let message = refusal(&path);
    assert!(message.contains("tensor W1 holds '<i8', expected '<f2'"), "{message}");
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
