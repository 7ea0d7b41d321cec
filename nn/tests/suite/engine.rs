//! The engine against the layers: the loss, every gradient and the scores, for every network and any batch.

use kasoku_nn::init::WeightInit::He;
use kasoku_nn::init::WeightRng;
use kasoku_nn::kernels::{conv::Window, set_num_threads};
use kasoku_nn::layers::Statistics;
use kasoku_nn::ndarray::{Array2, aview1};
use kasoku_nn::networks::{
    Activation, DeepConvNet, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet,
    TwoLayerNet,
};
use kasoku_nn::optimizers::Adam;
use kasoku_nn::{Element, Tensor};

/// Skip connections, with batch normalisation and with a convolution on the way around.
fn residual<T: Element>() -> Sequential<T> {
    let (w, channelwise) = (Window::new(3, 3).pad(1), Statistics::PerChannel);
    let network = Sequential::<T>::builder(&[2, 7, 8], 4)
        .convolution(9, w, He)
        .batch_normalization(channelwise)
        .relu()
        .residual(|body| {
            let body = body.convolution(9, w, He).batch_normalization(channelwise).relu();
            body.convolution(9, w, He).batch_normalization(channelwise)
        })
        .relu()
        .residual_with(
            |body| body.convolution(3, w.stride(2), He).relu().convolution(3, w, He).relu(),
            |shortcut| shortcut.convolution(3, Window::new(1, 1).stride(2), He),
        )
        .convolution(4, Window::new(3, 3), He)
        .affine(4, He);
    network.build().unwrap()
}

/// Every kind of operation and fusion, small.
fn networks<T: Element>() -> Vec<(&'static str, Sequential<T>)> {
    let multi = |activation| MultiLayerNet {
        activation,
        weight_decay_lambda: 0.1,
        ..MultiLayerNet::new(12, &[6, 9], 4)
    };
    let normalised_rows = MultiLayerNetExtend {
        net: MultiLayerNet {
            activation: Activation::Sigmoid,
            ..MultiLayerNet::new(12, &[16, 5], 4)
        },
        dropout_ratio: Some(0.4),
        use_batchnorm: true,
    };
    let normalised_relu = MultiLayerNetExtend {
        net: MultiLayerNet::new(12, &[16, 5, 9], 4),
        dropout_ratio: Some(0.5),
        use_batchnorm: true,
    };
    let dropout = MultiLayerNetExtend {
        net: MultiLayerNet::new(12, &[16, 5], 4),
        dropout_ratio: Some(0.4),
        use_batchnorm: false,
    };
    let simple = SimpleConvNet {
        input_dim: [2, 10, 8],
        filter_num: 5,
        filter: Window::new(3, 3),
        hidden_size: 6,
        output_size: 4,
        weight_init_std: He,
    };
    let deep = DeepConvNet {
        input_dim: [1, 8, 8],
        convolutions: [1, 1, 1, 2, 1, 1].map(|pad| (3, Window::new(3, 3).pad(pad))),
        hidden_size: 6,
        output_size: 4,
        dropout_ratio: 0.3,
    };
    let pool = Window::new(2, 2).stride(2);
    let normalised = Sequential::<T>::builder(&[2, 7, 8], 2)
        .convolution(3, Window::new(3, 3).pad(1), He)
        .relu()
        .batch_normalization(Statistics::PerChannel)
        .convolution(4, Window::new(3, 3), He)
        .relu()
        .flatten()
        .affine(4, He);
    let own = Sequential::<T>::builder(&[2, 9, 9], 3)
        .max_pooling(Window::new(2, 2))
        .convolution(4, Window::new(3, 2).stride(2).pad(1), He)
        .max_pooling(pool)
        .relu()
        .convolution(3, Window::new(2, 2), He)
        .relu()
        .sigmoid()
        .relu()
        .average_pooling(Window::new(1, 1))
        .dropout(0.2)
        .flatten()
        .affine(7, He)
        .tanh()
        .affine(4, He)
        .relu();
    let w = |size| Window::new(size, size).pad(size / 2);
    let channelwise = Statistics::PerChannel;
    // The first layer has branches, of which one begins with a normalisation and one ends with a sum; one within another.
    let inceptions = Sequential::<T>::builder(&[2, 6, 5], 5)
        .concat(|branches| {
            branches
                .branch(|b| b.convolution(3, w(1), He).relu())
                .branch(|b| b.max_pooling(w(3)).convolution(1, w(1), He).relu())
                .branch(|b| b.batch_normalization(channelwise).convolution(2, w(5), He).relu())
        })
        .convolution(8, w(3), He)
        .relu()
        .concat(|branches| {
            branches
                .branch(|b| b.convolution(2, w(3), He).residual(|b| b.convolution(2, w(3), He)))
                .branch(|b| {
                    b.convolution(3, w(1), He).relu().concat(|inner| {
                        inner
                            .branch(|b| b.convolution(8, w(3), He).relu())
                            .branch(|b| b.average_pooling(w(3)))
                            .branch(|b| b.batch_normalization(channelwise).relu())
                    })
                })
        })
        .relu()
        .max_pooling(pool)
        .residual(|body| body.batch_normalization(channelwise).relu().convolution(16, w(3), He))
        .global_average_pooling()
        .affine(4, He);
    // What cannot be planned: a dropout within, branches of nothing.
    let unplanned = Sequential::<T>::builder(&[2, 6, 5], 6)
        .convolution(3, w(3), He)
        .residual(|body| {
            body.convolution(3, w(3), He).batch_normalization(channelwise).dropout(0.3)
        })
        .convolution(3, w(3), He)
        .batch_normalization(channelwise)
        .concat(|branches| branches.branch(|b| b.convolution(2, w(1), He)).branch(|b| b))
        .residual(|body| body)
        .affine(4, He);
    vec![
        ("residual", residual()),
        ("inceptions", inceptions.build().unwrap()),
        ("unplanned", unplanned.build().unwrap()),
        (
            "two layers",
            TwoLayerNet { weight_init_std: 0.5, ..TwoLayerNet::new(12, 6, 4) }.build(1).unwrap(),
        ),
        ("ReLU", multi(Activation::Relu).build(1).unwrap()),
        ("sigmoid", multi(Activation::Sigmoid).build(1).unwrap()),
        ("tanh", multi(Activation::Tanh).build(1).unwrap()),
        ("dropout", dropout.build(1).unwrap()),
        ("batch norm of rows", normalised_rows.build(1).unwrap()),
        ("batch norm of rows, ReLU", normalised_relu.build(1).unwrap()),
        ("simple", simple.build(1).unwrap()),
        ("deep", deep.build(3).unwrap()),
        ("own", own.build().unwrap()),
        ("batch norm", normalised.build().unwrap()),
    ]
}

/// A batch of random samples and labels.
fn batch<T: Element>(network: &Sequential<T>, samples: usize) -> (Tensor<T>, Vec<usize>) {
    let mut shape = vec![samples];
    shape.extend_from_slice(network.input_shape());
    let x = WeightRng::new(samples as u64).normal(&shape, 1.0).into_shared();
    (x, (0..samples).map(|sample| sample * 7 % 4).collect())
}

fn gradients<T: Element>(network: &Sequential<T>) -> Vec<(String, Vec<f64>)> {
    let grad = |grad: &kasoku_nn::ndarray::ArrayD<T>| grad.iter().map(|g| g.as_f64()).collect();
    network.parameters().into_iter().map(|(name, p)| (name, grad(&p.grad))).collect()
}

/// Within `tolerance` of the largest of the expected ones.
#[track_caller]
fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_near_beside(&[], found, expected, tolerance, what);
}

/// As [`assert_near`], of the largest of others, too.
#[track_caller]
fn assert_near_beside(others: &[f64], found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().chain(others).fold(1e-3, |scale: f64, x| scale.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}, element {i}: {a}, the layers have {b}"
        );
    }
}

fn check<T: Element>(samples: usize) {
    // Sums of at most a few thousand products.
    let tolerance = 256.0 * T::epsilon().as_f64();
    // Another one to run layer by layer: batch normalisation keeps what it has seen.
    for ((name, mut network), (_, mut other)) in networks::<T>().into_iter().zip(networks()) {
        let what = format!("{name}, {} samples, {}", samples, T::NAME);
        let (x, labels) = batch(&network, samples);
        let one_hot = Array2::from_shape_fn([samples, 4], |(s, c)| {
            T::of(if labels[s] == c { 0.75 } else { 0.25 / 3.0 })
        });
        let run = |network: &mut Sequential<T>, planned: bool| {
            network.use_engine(planned);
            let loss = network.gradient(x.clone(), aview1(&labels)).unwrap().as_f64();
            let by_labels = gradients(network);
            let soft = network.gradient(x.clone(), one_hot.view()).unwrap().as_f64();
            let scores = network.predict(x.clone()).unwrap();
            let scores: Vec<f64> = scores.iter().map(|x| x.as_f64()).collect();
            (vec![loss, soft], by_labels, gradients(network), scores)
        };
        let found = run(&mut network, true);
        let expected = run(&mut other, false);
        assert_near(&found.0, &expected.0, tolerance, &format!("{what}: losses"));
        assert_near(&found.3, &expected.3, tolerance, &format!("{what}: scores"));
        for (found, expected) in [(&found.1, &expected.1), (&found.2, &expected.2)] {
            for (index, ((name, found), (_, expected_here))) in
                found.iter().zip(expected).enumerate()
            {
                // Where a normalisation follows, the gradient by a bias is 0, that is what rounding leaves of a sum whose terms are
                // those of the gradient by the weights.
                let weights = match name.starts_with('b') {
                    true => &*expected[index - 1].1,
                    false => &[],
                };
                let what = format!("{what}: {name}");
                assert_near_beside(weights, found, expected_here, tolerance, &what);
            }
        }
    }
}

#[test]
fn the_engine_agrees_with_the_layers() {
    for samples in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 257] {
        check::<f32>(samples);
        check::<f64>(samples);
    }
}

#[test]
fn the_books_networks_agree_in_full_size() {
    let check = |mut network: Sequential<f32>| {
        let (x, labels) = batch(&network, 20);
        let mut results = [true, false].map(|planned| {
            network.use_engine(planned);
            let loss = network.gradient(x.clone(), aview1(&labels)).unwrap();
            (loss, gradients(&network))
        });
        let (expected_loss, expected) = std::mem::take(&mut results[1]);
        assert!((results[0].0 - expected_loss).abs() < 1e-5 * expected_loss.abs());
        for ((name, found), (_, expected)) in results[0].1.iter().zip(&expected) {
            assert_near(found, expected, 2e-4, name);
        }
    };
    check(DeepConvNet::default().build(1).unwrap());
    check(SimpleConvNet::default().build(1).unwrap());
    check(TwoLayerNet::new(784, 50, 10).build(1).unwrap());
}

#[test]
fn predictions_of_a_few_samples_agree_in_full_size() {
    fn check<T: Element>(mut network: Sequential<T>) {
        for samples in [1, 2, 3, 4, 8, 20] {
            let (x, _) = batch(&network, samples);
            let [found, expected] = [true, false].map(|planned| {
                network.use_engine(planned);
                let scores = network.predict(x.clone()).unwrap();
                scores.iter().map(|x| x.as_f64()).collect::<Vec<_>>()
            });
            let tolerance = 256.0 * T::epsilon().as_f64();
            assert_near(&found, &expected, tolerance, &format!("{samples} samples"));
        }
    }
    fn check_all<T: Element>() {
        check(DeepConvNet::default().build::<T>(1).unwrap());
        check(SimpleConvNet::default().build::<T>(1).unwrap());
        check(TwoLayerNet::new(784, 50, 10).build::<T>(1).unwrap());
        let window = Window::new(3, 3).pad(1);
        // 16 channels from the start, 9 and 20 filters, poolings that overlap, have padding or lie before the ReLU.
        let network = Sequential::<T>::builder(&[16, 13, 11], 5)
            .convolution(9, window, He)
            .max_pooling(Window::new(3, 3).stride(2))
            .relu()
            .convolution(20, window, He)
            .average_pooling(Window::new(2, 2).pad(1))
            .convolution(8, Window::new(5, 3).stride(2).pad(2), He)
            .relu()
            .max_pooling(Window::new(2, 2).stride(2))
            .convolution(8, window, He)
            .batch_normalization(Statistics::PerChannel)
            .convolution(12, window, He)
            .affine(4, He);
        check(network.build().unwrap());
    }
    check_all::<f32>();
    check_all::<f64>();
}

/// Filters are kept as they were prepared, until the weights change: by whatever way.
#[test]
fn predictions_see_every_change_of_the_weights() {
    let recipe = DeepConvNet {
        input_dim: [1, 8, 8],
        convolutions: std::array::from_fn(|_| (9, Window::new(3, 3).pad(1))),
        hidden_size: 6,
        output_size: 4,
        dropout_ratio: 0.3,
    };
    let mut network = recipe.build::<f64>(1).unwrap();
    let mut other = recipe.build::<f64>(2).unwrap();
    let (x, labels) = batch(&network, 1);
    let (many, many_labels) = batch(&network, 30);
    // What a network of its own, which has nothing prepared, says with the same weights.
    let check = |network: &mut Sequential<f64>, what: &str| {
        let mut fresh = recipe.build::<f64>(3).unwrap();
        for ((_, to), (_, from)) in fresh.parameters_mut().into_iter().zip(network.parameters()) {
            to.value.assign(&from.value);
        }
        let [found, expected] = [&mut *network, &mut fresh]
            .map(|network| [&x, &many].map(|x| network.predict(x.clone()).unwrap()));
        assert_eq!(found, expected, "{what}");
        found
    };
    let mut last = check(&mut network, "at first");
    check(&mut network, "again");
    check(&mut other, "another one");
    type Change<'a> = &'a dyn Fn(&mut Sequential<f64>);
    let file = std::env::temp_dir().join(format!("kasoku-versions-{}.npz", std::process::id()));
    kasoku_nn::weights::save(&mut other, &file).unwrap();
    let changes: [(&str, Change<'_>); 9] = [
        ("a step", &|network| {
            let mut adam = Adam::new(0.01, 0.0);
            network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap();
        }),
        ("a step of a batch that fills lanes", &|network| {
            let mut adam = Adam::new(0.01, 0.0);
            network.train_step(many.clone(), aview1(&many_labels), &mut adam).unwrap();
        }),
        ("a weight of the first convolution", &|network| {
            network.parameters_mut()[0].1.value[[0, 0, 0, 0]] += 1.0;
        }),
        ("a bias of the last", &|network| network.parameters_mut()[11].1.value[[0]] += 1.0),
        ("the state", &|network| network.state()[4].1.fill(0.25)),
        ("a file", &|network| kasoku_nn::weights::load(network, &file).unwrap()),
        ("an optimizer", &|network| {
            network.gradient(x.clone(), aview1(&labels)).unwrap();
            let parameters = network.parameters_mut().into_iter();
            let mut parameters: Vec<_> = parameters.map(|(_, parameter)| parameter).collect();
            kasoku_nn::optimizers::Optimizer::update(&mut Adam::new(0.01, 0.0), &mut parameters)
                .unwrap();
        }),
        ("an exchange of arrays", &|network| {
            let shape = network.parameters()[2].1.value.raw_dim();
            let value = kasoku_nn::ndarray::ArrayD::from_elem(shape, 0.125);
            drop(std::mem::replace(&mut network.parameters_mut()[2].1.value, value));
        }),
        ("an exchange of networks", &|network| {
            *network = recipe.build::<f64>(7).unwrap();
        }),
    ];
    for (what, change) in changes {
        change(&mut network);
        let scores = check(&mut network, what);
        assert_ne!(scores, last, "{what} changes nothing");
        last = scores;
    }
    // What leaves the weights as they are in the end.
    network.numerical_gradient(x.clone(), aview1(&labels)).unwrap();
    assert_eq!(check(&mut network, "central differences"), last);
    std::mem::swap(&mut network, &mut other);
    check(&mut network, "the other one");
    assert_eq!(check(&mut other, "this one"), last);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn frozen_layers_take_no_part_in_the_way_back() {
    let gradients_where = |frozen: std::ops::Range<usize>, planned| {
        let mut network = DeepConvNet::default().build::<f64>(1).unwrap();
        network.use_engine(planned);
        network.freeze(frozen).unwrap();
        let (x, labels) = batch(&network, 25);
        network.gradient(x, aview1(&labels)).unwrap();
        let parameters = network.parameters().into_iter();
        let of = |(_, p): (_, &kasoku_nn::layers::Parameter<f64>)| (p.frozen, p.grad.clone());
        parameters.map(of).collect::<Vec<_>>()
    };
    let all = [true, false].map(|planned| gradients_where(0..0, planned));
    // Nothing, one convolution, some, all of them, one in the middle, everything.
    for frozen in [0..1, 0..2, 0..7, 0..16, 5..6, 3..9, 0..19] {
        for (planned, all) in [true, false].into_iter().zip(&all) {
            for ((frozen, found), (_, all)) in
                gradients_where(frozen.clone(), planned).iter().zip(all)
            {
                match frozen {
                    true => assert!(found.iter().all(|&g| g == 0.0)),
                    false => assert_eq!(found, all, "the same bits"),
                }
            }
        }
    }
}

/// Frozen normalisations use their running statistics, so the gradients of the others change.
#[test]
fn frozen_layers_agree_where_there_are_branches() {
    for frozen in [0..1, 0..2, 1..2, 0..4, 3..4, 0..5, 2..6, 5..6, 0..7, 0..8] {
        let [found, expected] = [true, false].map(|planned| {
            let mut network = residual::<f64>();
            network.use_engine(planned);
            let (x, labels) = batch(&network, 21);
            // Running statistics that are not 0.
            network.gradient(x.clone(), aview1(&labels)).unwrap();
            network.freeze(frozen.clone()).unwrap();
            network.gradient(x.clone(), aview1(&labels)).unwrap();
            // One half of a normalisation, which is then as in training.
            network.parameters_mut()[2].1.freeze(true);
            network.gradient(x.clone(), aview1(&labels)).unwrap();
            let scores = network.predict(x).unwrap().iter().copied().collect::<Vec<_>>();
            (gradients(&network), scores)
        });
        assert_near(&found.1, &expected.1, 1e-12, &format!("scores, {frozen:?} frozen"));
        for ((name, found), (_, expected)) in found.0.iter().zip(&expected.0) {
            assert_near(found, expected, 1e-11, &format!("{name}, {frozen:?} frozen"));
        }
    }
}

/// The same of samples in rows, whose running statistics are those of training.
#[test]
fn frozen_normalisations_of_features_agree() {
    let mut networks = [true, false].map(|planned| {
        let net = MultiLayerNet::new(150, &[12, 16, 5], 4);
        let extended = MultiLayerNetExtend { net, dropout_ratio: Some(0.3), use_batchnorm: true };
        let mut network = extended.build::<f64>(1).unwrap();
        network.use_engine(false);
        let (x, labels) = batch(&network, 30);
        let mut adam = Adam::new(0.01, 0.0);
        for _ in 0..100 {
            network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap();
        }
        network.use_engine(planned);
        network
    });
    let layers = networks[0].layers().len();
    // From the first on, and one kind alone.
    let kinds = [0..4, 1..2, 5..6, 8..9, 9..10];
    for frozen in (0..layers).map(|end| 0..end).chain(kinds) {
        let [found, expected] = networks.each_mut().map(|network| {
            network.freeze(frozen.clone()).unwrap();
            let (x, labels) = batch(network, 30);
            let loss = network.gradient(x.clone(), aview1(&labels)).unwrap();
            let scores = network.predict(x).unwrap().iter().copied().collect::<Vec<_>>();
            let results = (loss, gradients(network), scores);
            network.unfreeze(..).unwrap();
            results
        });
        assert_near(&[found.0], &[expected.0], 1e-12, &format!("loss, {frozen:?} frozen"));
        assert_near(&found.2, &expected.2, 1e-12, &format!("scores, {frozen:?} frozen"));
        for ((name, found), (_, expected)) in found.1.iter().zip(&expected.1) {
            assert_near(found, expected, 1e-10, &format!("{name}, {frozen:?} frozen"));
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads, build: &dyn Fn() -> Sequential<f32>, samples| {
        set_num_threads(threads);
        let mut network = build();
        let (x, labels) = batch(&network, samples);
        let mut adam = Adam::new(0.001, 0.0);
        let losses: Vec<_> = (0..2)
            .map(|_| network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap().to_bits())
            .collect();
        (losses, gradients(&network))
    };
    // Rows that come out even and such that do not; W of few rows, and of many.
    let deep: &dyn Fn() -> _ = &|| DeepConvNet::default().build(1).unwrap();
    let multi: &dyn Fn() -> _ = &|| MultiLayerNet::new(784, &[100, 50, 3], 10).build(1).unwrap();
    let normalised: &dyn Fn() -> _ = &|| {
        let net = MultiLayerNet::new(784, &[100, 50, 100], 10);
        let (dropout_ratio, use_batchnorm) = (Some(0.5), true);
        MultiLayerNetExtend { net, dropout_ratio, use_batchnorm }.build(1).unwrap()
    };
    let branches: &dyn Fn() -> _ = &residual;
    let narrow: &dyn Fn() -> _ = &|| MultiLayerNet::new(784, &[1], 10).build(1).unwrap();
    for (build, samples) in [
        (deep, 40),
        (multi, 100),
        (multi, 73),
        (normalised, 100),
        (normalised, 131),
        (branches, 150),
        (narrow, 1000),
    ] {
        let one = run(1, build, samples);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads, build, samples) == one));
    }
    let predict = |threads| {
        set_num_threads(threads);
        let mut network = DeepConvNet::default().build::<f32>(1).unwrap();
        let (x, _) = batch(&network, 1);
        network.predict(x).unwrap().map(|score| score.to_bits())
    };
    let one = predict(1);
    assert!([2, 3, 8].into_iter().all(|threads| predict(threads) == one));
    set_num_threads(0);
}

#[test]
fn the_plan_names_what_is_fused_and_how_full_the_lanes_are() {
    let mut network = DeepConvNet::default().build::<f32>(1).unwrap();
    let plan = network.explain(100).unwrap();
    assert!(plan.contains("Convolution + Relu "), "{plan}");
    assert!(plan.contains("Convolution (Winograd) + Relu + MaxPooling"), "{plan}");
    assert!(plan.contains("% of them filled"), "{plan}");
    assert!(plan.contains("samples in rows: 100; memory"), "{plan}");
    assert!(plan.contains("  Affine + Relu "), "{plan}");
    assert!(plan.contains("layer by layer: Dropout"), "{plan}");
    if kasoku_nn::kernels::lanes::count::<f32>().unwrap() > 1 {
        let plan = network.explain(1).unwrap();
        let (learns, predicts) = plan.split_once("to predict:\n").unwrap();
        assert!(learns.starts_with("to learn:\nlayer by layer: Convolution, Relu"), "{plan}");
        assert!(predicts.starts_with("channels in lanes: 1 samples"), "{plan}");
        assert!(predicts.contains("Convolution (Winograd) + Relu + MaxPooling"), "{plan}");
        assert!(predicts.contains("layer by layer: Affine, Relu"), "{plan}");
    }
    network.use_engine(false);
    assert!(network.explain(100).unwrap().starts_with("layer by layer: Convolution, Relu"));

    let plan = residual::<f32>().explain(100).unwrap();
    assert!(plan.contains("  BatchNormalization + Relu "), "{plan}");
    assert!(plan.contains("  body: Convolution (Winograd) "), "{plan}");
    assert!(plan.contains("  shortcut: Convolution "), "{plan}");
    assert!(plan.contains("  Residual + Relu "), "{plan}");
    assert!(
        plan.ends_with("layer by layer: Affine\n") || plan.contains("samples in rows"),
        "{plan}"
    );
}

#[test]
fn wrong_labels_are_named() {
    let mut network = TwoLayerNet::new(6, 5, 4).build::<f32>(1).unwrap();
    let (x, mut labels) = batch(&network, 20);
    labels[17] = 4;
    let error = network.gradient(x.clone(), aview1(&labels)).unwrap_err().to_string();
    assert!(error.contains("label 4 of row 17"), "{error}");
    let error = network.gradient(x, aview1(&labels[..19])).unwrap_err().to_string();
    assert!(error.contains("19"), "{error}");
}
