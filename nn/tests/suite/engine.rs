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

/// Every kind of operation and fusion, small.
fn networks<T: Element>() -> Vec<(&'static str, Sequential<T>)> {
    let multi = |activation| MultiLayerNet {
        activation,
        weight_decay_lambda: 0.1,
        ..MultiLayerNet::new(12, &[6, 9], 4)
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
    vec![
        (
            "two layers",
            TwoLayerNet { weight_init_std: 0.5, ..TwoLayerNet::new(12, 6, 4) }.build(1).unwrap(),
        ),
        ("ReLU", multi(Activation::Relu).build(1).unwrap()),
        ("sigmoid", multi(Activation::Sigmoid).build(1).unwrap()),
        ("tanh", multi(Activation::Tanh).build(1).unwrap()),
        ("dropout", dropout.build(1).unwrap()),
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
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3, |scale: f64, x| scale.max(x.abs()));
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
            for ((name, found), (_, expected)) in found.iter().zip(expected) {
                assert_near(found, expected, tolerance, &format!("{what}: {name}"));
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
fn frozen_layers_take_no_part_in_the_way_back() {
    let gradients_where = |frozen: std::ops::Range<usize>, planned| {
        let mut network = DeepConvNet::default().build::<f64>(1).unwrap();
        network.use_engine(planned);
        network.freeze(frozen).unwrap();
        let (x, labels) = batch(&network, 9);
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

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads| {
        set_num_threads(threads);
        let mut network = DeepConvNet::default().build::<f32>(1).unwrap();
        let (x, labels) = batch(&network, 40);
        let mut adam = Adam::new(0.001, 0.0);
        let losses: Vec<_> = (0..2)
            .map(|_| network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap().to_bits())
            .collect();
        (losses, gradients(&network))
    };
    let one = run(1);
    assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
    set_num_threads(0);
}

#[test]
fn the_plan_names_what_is_fused_and_how_full_the_lanes_are() {
    let mut network = DeepConvNet::default().build::<f32>(1).unwrap();
    let plan = network.explain(100).unwrap();
    assert!(plan.contains("Convolution + Relu "), "{plan}");
    assert!(plan.contains("Convolution (Winograd) + Relu + MaxPooling"), "{plan}");
    assert!(plan.contains("% of them filled"), "{plan}");
    assert!(plan.contains("layer by layer: Affine, Relu"), "{plan}");
    network.use_engine(false);
    assert!(network.explain(100).unwrap().starts_with("layer by layer: Convolution, Relu"));
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
