//! The book's networks: their gradients, their shapes, and that a seed fixes everything.

use kasoku_nn::functions::softmax;
use kasoku_nn::gradient::gradient_check;
use kasoku_nn::init::WeightInit::He;
use kasoku_nn::init::WeightRng;
use kasoku_nn::kernels::{conv::Window, set_num_threads};
use kasoku_nn::layers::{Operation, Statistics};
use kasoku_nn::ndarray::{Array2, Array4, ArrayD, aview1, s};
use kasoku_nn::networks::{
    Activation, DeepConvNet, Ensemble, MultiLayerNet, MultiLayerNetExtend, Sequential,
    SequentialBuilder, SimpleConvNet, TwoLayerNet,
};
use kasoku_nn::optimizers::{Adam, Momentum, OptimizerKind, Sgd};
use kasoku_nn::{Element, Error, Tensor};

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

/// Residual blocks and an inception, small, with every layer that may stand in them.
fn containers<T: Element>(seed: u64) -> Sequential<T> {
    let window = |size: usize| Window::new(size, size).pad(size / 2);
    Sequential::builder(&[2, 6, 6], seed)
        .convolution(3, window(3), He)
        .local_response_normalization()
        .residual(|body| {
            let body = body.convolution(3, window(3), He).tanh().dropout(0.3);
            body.batch_normalization(Statistics::PerChannel).convolution(3, window(3), He)
        })
        .residual_with(
            |body| body.convolution(4, window(3).stride(2), He).sigmoid(),
            |shortcut| shortcut.convolution(4, window(1).stride(2), He),
        )
        .concat(|branches| {
            branches
                .branch(|chain| chain.convolution(2, window(1), He))
                .branch(|chain| chain.dropout(0.2).convolution(3, window(5), He).relu())
                .branch(|chain| chain.residual(|body| body.convolution(4, window(3), He)))
        })
        .dropout(0.1)
        .global_average_pooling()
        .affine(4, He)
        .build()
        .unwrap()
}

#[test]
fn containers_have_gradients_names_and_a_summary() {
    check(containers(3));
    let mut network = containers::<f32>(3);
    let names: Vec<String> = network.parameters().into_iter().map(|(name, _)| name).collect();
    let expected = "W1 b1 W2 b2 gamma1 beta1 W3 b3 W4 b4 W5 b5 W6 b6 W7 b7 W8 b8 W9 b9";
    assert_eq!(names.join(" "), expected);
    let state: Vec<String> = network.state().into_iter().map(|(name, _)| name).collect();
    assert!(state.contains(&"running_var1".to_owned()));
    let summary = network.to_string();
    for line in ["Residual  ", "+ Convolution  ", "  BatchNormalization  ", "  + Convolution  "] {
        assert!(summary.lines().any(|found| found.starts_with(line)), "{line}\n{summary}");
    }
    assert!(network.explain(64).unwrap().contains("Residual, Residual, Concat, Dropout"));
}

#[test]
fn layers_in_containers_have_random_numbers_of_their_own() {
    let window = Window::new(3, 3).pad(1);
    let block = |body: SequentialBuilder<f64>| body.convolution(2, window, He).dropout(0.5);
    let mut network = Sequential::builder(&[2, 8, 8], 1)
        .residual(block)
        .concat(|branches| branches.branch(block).branch(block))
        .affine(3, He)
        .build()
        .unwrap();
    let weights: Vec<_> = network.parameters().into_iter().map(|(_, p)| p.value.clone()).collect();
    assert!(weights[0] != weights[2] && weights[2] != weights[4]);
    // With the same weights in both branches, the masks alone tell them apart.
    let copy = weights[2].clone();
    network.parameters_mut()[4].1.value.assign(&copy);
    let mode = network.train_mode();
    let mut parameters = network.parameters_mut();
    let classes = &mut parameters[6].1.value;
    assert_eq!(classes.shape(), [256, 3]);
    classes.fill(0.0);
    classes.slice_mut(s![..128, 0]).fill(1.0);
    classes.slice_mut(s![128.., 1]).fill(1.0);
    let scores = network.predict_in(Array4::from_elem([1, 2, 8, 8], 1.0), mode).unwrap();
    assert!((scores[[0, 0]] - scores[[0, 1]]).abs() > 1e-6, "{scores}");
}

#[test]
fn containers_give_the_same_bits_on_any_number_of_threads() {
    let run = |threads| {
        set_num_threads(threads);
        let mut network = containers::<f32>(3);
        let x = WeightRng::new(5).normal(&[33, 2, 6, 6], 1.0).into_shared();
        let labels: Vec<usize> = (0..33).map(|i| i % 4).collect();
        let mut adam = Adam::new(0.01, 0.0);
        for _ in 0..2 {
            network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap();
        }
        set_num_threads(0);
        let parameters = network.parameters().into_iter();
        parameters.flat_map(|(_, p)| p.value.mapv(f32::to_bits)).collect::<Vec<_>>()
    };
    let one = run(1);
    assert!([2, 5].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn the_first_layer_that_does_not_fit_is_told_from_inside_containers() {
    let window = Window::new(3, 3);
    let builder = || Sequential::<f32>::builder(&[2, 6, 6], 1);
    let shrinks = builder().residual(|body| body.convolution(2, window, He)).relu().build();
    let message = shrinks.unwrap_err().to_string();
    assert!(message.contains("[2, 4, 4]") && message.contains("[2, 6, 6]"), "{message}");
    let inside = builder().concat(|branches| {
        branches.branch(|chain| chain.flatten().convolution(2, window, He)).branch(|chain| chain)
    });
    assert!(inside.build().unwrap_err().to_string().contains("Convolution"));
    let message = builder().concat(|branches| branches).build().unwrap_err().to_string();
    assert!(message.contains("branches"), "{message}");
    let before = builder().affine(3, He).max_pooling(window);
    let message = before.residual(|_| unreachable!()).build().unwrap_err().to_string();
    assert!(message.contains("MaxPooling"), "{message}");
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

/// Copies of all that is saved.
fn state(network: &mut Sequential<f64>) -> Vec<(String, ArrayD<f64>)> {
    network.state().into_iter().map(|(name, value)| (name, value.clone())).collect()
}

/// A batch for [`containers`].
fn images() -> (Tensor<f64>, Vec<usize>) {
    (WeightRng::new(5).normal(&[9, 2, 6, 6], 1.0).into_shared(), (0..9).map(|i| i % 4).collect())
}

#[test]
fn frozen_layers_stay_as_they_are() {
    let mut network = containers::<f64>(3);
    let (x, labels) = images();
    let mut momentum = Momentum::new(0.05, 1e-3);
    let mut step = |network: &mut Sequential<f64>| {
        network.train_step(x.clone(), aview1(&labels), &mut momentum).unwrap();
    };
    step(&mut network);
    network.freeze(2..4).unwrap(); // both residual blocks, the batch normalisation among them
    let before = state(&mut network);
    step(&mut network);
    step(&mut network);
    let frozen = [
        "W2",
        "b2",
        "W3",
        "b3",
        "gamma1",
        "beta1",
        "running_mean1",
        "running_var1",
        "W4",
        "b4",
        "W5",
        "b5",
    ];
    for ((name, now), (_, before)) in state(&mut network).iter().zip(&before) {
        assert_eq!(now == before, frozen.contains(&name.as_str()), "{name}");
    }
    for (name, parameter) in network.parameters() {
        let zeros = parameter.grad.iter().all(|&g| g == 0.0);
        assert_eq!(zeros, frozen.contains(&name.as_str()), "{name}");
    }
    assert!(network.to_string().contains("frozen"));
    network.unfreeze(..).unwrap();
    assert!(!network.to_string().contains("frozen"));
    step(&mut network);
    for ((name, now), (_, before)) in state(&mut network).iter().zip(&before) {
        assert_ne!(now, before, "{name}");
    }
    let message = network.freeze(3..99).unwrap_err().to_string();
    assert!(message.contains("99") && message.contains("8 layers"), "{message}");
}

#[test]
fn gradients_beside_frozen_layers() {
    for frozen in [0..1, 2..3, 4..5, 0..5, 0..8, 1..7, 7..8] {
        let mut network = containers::<f64>(3);
        let (x, labels) = images();
        for _ in 0..20 {
            // Running statistics that a gradient can be taken with.
            network.train_step(x.clone(), aview1(&labels), &mut Sgd::new(0.0, 0.0)).unwrap();
        }
        network.freeze(frozen).unwrap();
        check(network);
    }
    // Single parameters.
    let mut network = containers::<f64>(3);
    for (name, parameter) in network.parameters_mut() {
        parameter.freeze(["b1", "W3", "gamma1", "b9"].contains(&name.as_str()));
    }
    check(network);
}

#[test]
fn an_optimizer_goes_on_where_a_parameter_was_frozen() {
    let x = WeightRng::new(5).normal::<f64>(&[20, 12], 1.0).into_shared();
    let labels: Vec<usize> = (0..20).map(|i| i % 4).collect();
    for (name, kind) in OptimizerKind::ALL {
        let build = || MultiLayerNet::new(12, &[6], 4).build::<f64>(1).unwrap();
        let (mut network, mut other) = (build(), build());
        let [mut optimizer, mut fresh] = [0; 2].map(|_| kind.build::<f64>(0.01, 0.0));
        network.freeze(..1).unwrap();
        for _ in 0..3 {
            network.train_step(x.clone(), aview1(&labels), &mut *optimizer).unwrap();
        }
        network.unfreeze(..1).unwrap();
        let weights = |network: &Sequential<f64>| network.parameters()[0].1.value.clone();
        assert_eq!(weights(&network), weights(&other));
        // The first step of W1 and b1 is a first step, whatever the others have taken.
        network.train_step(x.clone(), aview1(&labels), &mut *optimizer).unwrap();
        for ((_, to), (_, from)) in other.parameters_mut().into_iter().zip(network.parameters()) {
            to.grad.assign(&from.grad);
        }
        let mut parameters = other.parameters_mut();
        let mut parameters: Vec<_> = parameters.iter_mut().map(|(_, p)| &mut **p).collect();
        fresh.update(&mut parameters).unwrap();
        assert_eq!(weights(&network), weights(&other), "{name}");
    }
}

#[test]
fn an_ensemble_is_the_mean_of_its_members() {
    let members = |seeds: std::ops::Range<u64>| -> Vec<_> {
        let net = TwoLayerNet { weight_init_std: 1.0, ..TwoLayerNet::new(12, 6, 4) };
        seeds.map(|seed| net.build::<f64>(seed).unwrap()).collect()
    };
    let x = WeightRng::new(5).normal::<f64>(&[20, 12], 1.0);
    let labels: Vec<usize> = (0..20).map(|i| i % 4).collect();
    let mut expected = Array2::<f64>::zeros([20, 4]);
    for mut member in members(1..4) {
        expected += &(softmax(member.predict(x.view()).unwrap().view()).unwrap() / 3.0);
    }
    let mut ensemble = Ensemble::new(members(1..4)).unwrap();
    let y = ensemble.predict(x.view()).unwrap();
    assert!((&y - &expected).iter().all(|error| error.abs() < 1e-14));
    let right = |row: usize| (0..4).all(|class| y[[row, class]] <= y[[row, labels[row]]]);
    let expected = (0..20).filter(|&row| right(row)).count() as f64 / 20.0;
    assert_eq!(ensemble.accuracy(x.view(), &labels).unwrap(), expected);
    assert!(ensemble.accuracy(x.view(), &labels[1..]).is_err());
    ensemble.members_mut()[1].freeze(..).unwrap();
    assert_eq!(ensemble.members().len(), 3);

    let message = Ensemble::<f64>::new(Vec::new()).unwrap_err().to_string();
    assert!(message.contains("members"), "{message}");
    let other = TwoLayerNet::new(12, 6, 5).build::<f64>(1).unwrap();
    let mixed = Ensemble::new(members(1..2).into_iter().chain([other]).collect());
    let message = mixed.unwrap().predict(x.view()).unwrap_err().to_string();
    assert!(message.contains("[20, 5]") && message.contains("[20, 4]"), "{message}");
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
        (Operation::Affine, Operation::Dropout(0.3, 0))
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
