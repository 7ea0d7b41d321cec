//! The engine against the layers, on networks that nobody would build: whatever is planned together must give the same.

use kasoku_nn::Tensor;
use kasoku_nn::init::{WeightInit::He, WeightRng};
use kasoku_nn::kernels::conv::Window;
use kasoku_nn::layers::Statistics::{PerChannel, PerFeature};
use kasoku_nn::ndarray::aview1;
use kasoku_nn::networks::{Sequential, SequentialBuilder};
use kasoku_nn::optimizers::Sgd;
use proptest::prelude::*;

/// A layer that keeps the height and the width of its input.
#[derive(Debug, Clone)]
enum Step {
    /// So many filters of this size.
    Convolution(usize, usize),
    Relu,
    Normalization,
    MaxPooling,
    AveragePooling,
    /// One that the engine has no plan for, and that never saturates: of constant features a normalisation makes what rounding
    /// leaves of them, and the ReLU after it would decide by that.
    ResponseNormalization,
    /// A body that ends with a convolution to the channels it began with; whether it gets a shortcut of its own.
    Residual(Vec<Step>, bool),
    Concat(Vec<Vec<Step>>),
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        4 => (1usize..10, prop::sample::select(vec![1usize, 3, 5])).prop_map(|(f, s)| Step::Convolution(f, s)),
        4 => Just(Step::Relu),
        2 => Just(Step::Normalization),
        1 => Just(Step::MaxPooling),
        1 => Just(Step::AveragePooling),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let steps = prop::collection::vec(inner, 0..4);
        prop_oneof![
            4 => (steps.clone(), any::<bool>()).prop_map(|(body, own)| Step::Residual(body, own)),
            4 => prop::collection::vec(steps, 1..4).prop_map(Step::Concat),
            1 => Just(Step::ResponseNormalization),
        ]
    })
}

type Builder = SequentialBuilder<f64>;

/// Adds the steps to a network of so many channels; gives how many there are then.
fn add(builder: Builder, channels: usize, steps: &[Step]) -> (Builder, usize) {
    steps.iter().fold((builder, channels), |(builder, channels), step| match step {
        Step::Convolution(filters, size) => {
            let window = Window::new(*size, *size).pad(size / 2);
            (builder.convolution(*filters, window, He), *filters)
        }
        Step::Relu => (builder.relu(), channels),
        Step::Normalization => (builder.batch_normalization(PerChannel), channels),
        Step::MaxPooling => (builder.max_pooling(Window::new(3, 3).pad(1)), channels),
        Step::AveragePooling => (builder.average_pooling(Window::new(3, 3).pad(1)), channels),
        Step::ResponseNormalization => (builder.local_response_normalization(), channels),
        Step::Residual(body, own) => {
            let to = |builder: Builder| builder.convolution(channels, Window::new(1, 1), He);
            let body = |builder| to(add(builder, channels, body).0);
            let shortcut = |builder| if *own { to(builder) } else { builder };
            (builder.residual_with(body, shortcut), channels)
        }
        Step::Concat(branches) => {
            let mut total = 0;
            let builder = builder.concat(|joined| {
                branches.iter().fold(joined, |joined, branch| {
                    joined.branch(|builder| {
                        let (builder, channels) = add(builder, channels, branch);
                        total += channels;
                        builder
                    })
                })
            });
            (builder, total)
        }
    })
}

/// A network of images.
fn branches(steps: &[Step]) -> Sequential<f64> {
    let builder = Sequential::builder(&[2, 4, 5], 1).convolution(3, Window::new(1, 1), He);
    add(builder, 3, steps).0.affine(3, He).build().unwrap()
}

/// A step of a fully connected network.
#[derive(Debug, Clone, Copy)]
enum Row {
    Affine(usize),
    Normalization,
    Relu,
    Sigmoid,
    Tanh,
    Dropout,
}

/// A fully connected network, which may end with anything that keeps three scores.
fn rows(inputs: usize, steps: &[Row], end: &[Row]) -> Sequential<f64> {
    let add = |builder: Builder, step: &Row| match *step {
        Row::Affine(outputs) => builder.affine(outputs, He),
        Row::Normalization => builder.batch_normalization(PerFeature),
        Row::Relu => builder.relu(),
        Row::Sigmoid => builder.sigmoid(),
        Row::Tanh => builder.tanh(),
        Row::Dropout => builder.dropout(0.3),
    };
    let builder = steps.iter().fold(Sequential::builder(&[inputs], 1), add).affine(3, He);
    end.iter().fold(builder, add).build().unwrap()
}

/// The loss, the gradients and, with the running statistics after a step, the scores.
fn results(
    mut network: Sequential<f64>,
    planned: bool,
    samples: usize,
    frozen: usize,
) -> [Vec<f64>; 3] {
    network.use_engine(planned);
    let frozen = frozen.min(network.layers().len() - 1);
    network.freeze(..frozen).unwrap();
    let shape = [&[samples], network.input_shape()].concat();
    let x: Tensor<f64> = WeightRng::new(2).normal(&shape, 1.0).into_shared();
    let labels: Vec<usize> = (0..samples).map(|sample| sample * 7 % 3).collect();
    // A step of length 0: running statistics of constant features make a thousand times as much of what rounding leaves of a
    // gradient, in each normalisation.
    let mut sgd = Sgd::new(0.0, 0.0);
    let loss = network.train_step(x.clone(), aview1(&labels), &mut sgd).unwrap();
    let gradients = network.parameters().into_iter().flat_map(|(_, p)| p.grad.iter().copied());
    let gradients = gradients.collect();
    let scores = network.predict(x).unwrap();
    [vec![loss], gradients, scores.iter().copied().collect()]
}

/// Holds what the engine gives to what the layers do.
fn check(network: impl Fn() -> Sequential<f64>, samples: usize, frozen: usize) {
    let found = results(network(), true, samples, frozen);
    let expected = results(network(), false, samples, frozen);
    for (what, (found, expected)) in
        ["loss", "gradient", "score"].iter().zip(found.iter().zip(&expected))
    {
        assert_eq!(found.len(), expected.len());
        // Normalisations that follow each other leave gradients of 0 and what rounding makes of them.
        let scale = expected.iter().fold(1e-2, |scale: f64, x| scale.max(x.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let near = (found - expected).abs() <= 1e-7 * scale;
            assert!(near, "{what} {index} is {found}, the layers have {expected}");
        }
    }
}

/// Whether what an affine layer gives is normalised, and what follows. Normalised elsewhere, constant features (those of saturated
/// ones) are what rounding leaves of them.
fn after_affine() -> impl Strategy<Value = Vec<Row>> {
    let others = prop_oneof![
        3 => Just(Row::Relu),
        1 => Just(Row::Sigmoid),
        1 => Just(Row::Tanh),
        2 => Just(Row::Dropout),
    ];
    (any::<bool>(), prop::collection::vec(others, 0..3)).prop_map(|(normalised, others)| {
        normalised.then_some(Row::Normalization).into_iter().chain(others).collect()
    })
}

/// Few outputs have no ReLU: where all are dead, what follows is constant.
fn affine() -> impl Strategy<Value = Vec<Row>> {
    let steps = (1usize..20, after_affine());
    steps.prop_map(|(outputs, mut after)| {
        if outputs < 4 {
            after.retain(|row| !matches!(row, Row::Relu));
        }
        [vec![Row::Affine(outputs)], after].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn branches_are_what_their_layers_are(
        steps in prop::collection::vec(step(), 1..5), samples in 1usize..20, frozen in 0usize..12,
    ) {
        // Most of the time nothing is frozen.
        check(|| branches(&steps), samples, frozen.saturating_sub(8));
    }

    #[test]
    fn rows_are_what_their_layers_are(
        // Few inputs, and so many that the first weights are cut in halves.
        inputs in prop_oneof![Just(9usize), 150usize..400],
        steps in prop::collection::vec(affine(), 0..5),
        end in after_affine(),
        samples in 2usize..260,
    ) {
        check(|| rows(inputs, &steps.concat(), &end), samples, 0);
    }
}
