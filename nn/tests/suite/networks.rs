//! The book's networks: their gradients, their shapes, and that a seed fixes everything.

use kasoku_nn::Error;
use kasoku_nn::gradient::gradient_check;
use kasoku_nn::init::WeightInit::He;
use kasoku_nn::init::WeightRng;
use kasoku_nn::kernels::conv::Window;
use kasoku_nn::layers::{Operation, Statistics};
use kasoku_nn::ndarray::{Array2, Array4, aview1};
use kasoku_nn::networks::{
    Activation, DeepConvNet, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet,
    TwoLayerNet,
};
use kasoku_nn::optimizers::{Adam, OptimizerKind, Sgd};

/// Checks a network's gradients on a few random samples.
fn check(mut network: Sequential<f64>) {
    let mut shape = vec![3];
    shape.extend_from_slice(network.input_shape());
    let x = WeightRng::new(5).normal(&shape, 1.0).into_shared();
    for (name, error) in gradient_check(&mut network, &x, aview1(&[1, 0, 2])).unwrap() {
        // A ReLU or a maximum that switches within the step spoils a digit or two of a difference.
        assert!(error < 1e-4, "{name}: {error}\n{network}");
    }
}

#[test]
fn gradients_of_every_network() {
    let multi = MultiLayerNet::new(12, &[6, 5], 4);
    let extend = |net: &MultiLayerNet, dropout_ratio| MultiLayerNetExtend {
        net: net.clone(),
        dropout_ratio,
        use_batchnorm: dropout_ratio.is_none(),
    };
    check(TwoLayerNet { weight_init_std: 0.5, ..TwoLayerNet::new(12, 6, 4) }.build(1).unwrap());
    check(MultiLayerNet { weight_decay_lambda: 0.1, ..multi.clone() }.build(1).unwrap());
    let activation = Activation::Tanh;
    check(MultiLayerNet { activation, ..multi.clone() }.build(1).unwrap());
    check(extend(&multi, Some(0.3)).build(1).unwrap());
    let simple = SimpleConvNet {
        input_dim: [2, 10, 8],
        filter_num: 3,
        filter: Window::new(3, 3),
        hidden_size: 6,
        output_size: 4,
        weight_init_std: He,
    };
    check(simple.build(1).unwrap());
    let deep = DeepConvNet {
        input_dim: [1, 8, 8],
        convolutions: [1, 1, 1, 2, 1, 1].map(|pad| (2, Window::new(3, 3).pad(pad))),
        hidden_size: 6,
        output_size: 4,
        dropout_ratio: 0.3,
    };
    check(deep.build(3).unwrap());
}

#[test]
fn gradients_of_a_network_of_ones_own() {
    let network = Sequential::builder(&[2, 6, 6], 3)
        .convolution(3, Window::new(3, 3).pad(1), He)
        .tanh()
        .batch_normalization(Statistics::PerChannel)
        .average_pooling(Window::new(2, 2).stride(2))
        .flatten()
        .affine(7, He)
        .sigmoid()
        .affine(4, He)
        .build();
    check(network.unwrap());
}

#[test]
fn the_books_networks_have_the_books_shapes() {
    let simple = SimpleConvNet::default().build::<f32>(1).unwrap();
    let shapes = |network: &Sequential<f32>| -> Vec<(String, Vec<usize>)> {
        let parameters = network.parameters().into_iter();
        parameters.map(|(name, p)| (name, p.value.shape().to_vec())).collect()
    };
    let expected: Vec<(String, Vec<usize>)> = [
        ("W1", vec![30, 1, 5, 5]),
        ("b1", vec![30]),
        ("W2", vec![4320, 100]),
        ("b2", vec![100]),
        ("W3", vec![100, 10]),
        ("b3", vec![10]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .to_vec();
    assert_eq!(shapes(&simple), expected);

    let mut deep = DeepConvNet::default().build::<f32>(1).unwrap();
    let deep_shapes = shapes(&deep);
    assert_eq!(deep_shapes.len(), 16);
    assert_eq!(deep_shapes[12], ("W7".to_owned(), vec![1024, 50]));
    let scores = deep.predict(Array4::zeros([3, 1, 28, 28])).unwrap();
    assert_eq!(scores.dim(), (3, 10));
    assert_eq!(deep.predict(Array2::zeros([3, 784])).unwrap(), scores, "flat images too");
}

#[test]
fn every_optimizer_lowers_the_loss() {
    let x = WeightRng::new(5).normal::<f32>(&[20, 12], 1.0).into_shared();
    let labels: Vec<usize> = (0..20).map(|i| i % 4).collect();
    for (name, kind) in OptimizerKind::ALL {
        let mut network = MultiLayerNet::new(12, &[16], 4).build(1).unwrap();
        let mut optimizer = kind.build::<f32>(kind.default_lr(), 1e-4);
        let before = network.loss(x.clone(), aview1(&labels)).unwrap();
        for _ in 0..50 {
            network.train_step(x.clone(), aview1(&labels), &mut *optimizer).unwrap();
        }
        let after = network.loss(x.clone(), aview1(&labels)).unwrap();
        assert!(after < 0.97 * before, "{name}: {before} to {after}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let mut network = TwoLayerNet::new(12, 6, 4).build::<f64>(1).unwrap();
    let weights = |network: &Sequential<f64>| network.parameters()[0].1.value.clone();
    let before = weights(&network);
    let mut sgd = Sgd::new(0.1, 0.0);
    let x = || Array2::<f64>::ones([2, 12]);
    assert!(matches!(network.predict(Array2::zeros([2, 11])), Err(Error::Shape { .. })));
    let message = network.train_step(x(), aview1(&[0, 9]), &mut sgd).unwrap_err().to_string();
    assert!(message.contains('9'), "{message}");
    assert!(network.train_step(x(), aview1(&[0, 1, 2]), &mut sgd).is_err());
    assert_eq!(weights(&network), before);

    let mut adam = Adam::new(0.1, 0.0);
    network.train_step(x(), aview1(&[0, 1]), &mut adam).unwrap();
    let mut other = MultiLayerNet::new(12, &[3, 3], 4).build::<f64>(1).unwrap();
    assert!(other.train_step(x(), aview1(&[0, 1]), &mut adam).is_err(), "another's state");

    assert!(TwoLayerNet::new(12, 0, 4).build::<f64>(1).unwrap().parameter_count() == 4);
    let too_large = SimpleConvNet { filter: Window::new(40, 40), ..SimpleConvNet::default() };
    assert!(too_large.build::<f32>(1).is_err());
}

#[test]
fn a_description_says_what_a_prediction_depends_on() {
    let window = Window::new(3, 3).pad(1);
    let mut network = Sequential::<f32>::builder(&[1, 8, 8], 1)
        .convolution(4, window, He)
        .batch_normalization(Statistics::PerChannel)
        .relu()
        .max_pooling(Window::new(2, 2).stride(2))
        .affine(5, He)
        .batch_normalization(Statistics::PerFeature)
        .dropout(0.3)
        .affine(3, He)
        .build()
        .unwrap();
    let layers = network.describe().unwrap();
    assert_eq!(layers[0].operation, Operation::Convolution(4, window));
    assert_eq!((&*layers[0].input, &*layers[0].output), (&[1, 8, 8][..], &[4, 8, 8][..]));
    assert_eq!(
        (layers[4].operation, layers[6].operation),
        (Operation::Affine, Operation::Dropout(0.3))
    );
    assert_eq!((&*layers[4].input, &*layers[4].output), (&[4, 4, 4][..], &[5][..]));
    assert!(matches!(
        layers[5].operation,
        Operation::BatchNormalization(Statistics::PerFeature, _)
    ));
    let arrays = layers.iter().flat_map(|layer| &layer.arrays);
    let found: Vec<_> = arrays.map(|(prefix, name)| (*prefix, &**name)).collect();
    let expected = [
        ("W", "W1"),
        ("b", "b1"),
        ("gamma", "gamma1"),
        ("beta", "beta1"),
        ("running_mean", "running_mean1"),
        ("running_var", "running_var1"),
        ("W", "W2"),
        ("b", "b2"),
        ("gamma", "gamma2"),
        ("beta", "beta2"),
        ("running_mean", "running_mean2"),
        ("running_var", "running_var2"),
        ("W", "W3"),
        ("b", "b3"),
    ];
    assert_eq!(found, expected);
    let state: Vec<_> = network.state().into_iter().map(|(name, _)| name).collect();
    assert_eq!(state, expected.map(|(_, name)| name));
}
