//! `cargo bench -p kasoku-benches --bench step`: training steps and predictions of the book's networks, batch 100, f32, by the
//! engine and layer by layer, beside what their multiply-adds would take at the peak of the FMA probe; and predictions of one
//! sample.
//!
//! Threads: `KASOKU_NUM_THREADS`. The two ways take turns; each figure is the least of many. One network alone:
//! `cargo bench -p kasoku-benches --bench step -- Simple`.

use std::time::{Duration, Instant};

use kasoku_kernels::{num_threads, probe};
use kasoku_nn::Tensor;
use kasoku_nn::init::WeightRng;
use kasoku_nn::ndarray::{Axis, aview1};
use kasoku_nn::networks::{
    DeepConvNet, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet, TwoLayerNet,
};
use kasoku_nn::optimizers::OptimizerKind;

const BATCH: usize = 100;
/// How long a network takes its turns.
const TIME: Duration = Duration::from_secs(4);

struct Case {
    name: &'static str,
    network: Sequential<f32>,
    optimizer: OptimizerKind,
    /// Floating-point operations of a step, and of a prediction.
    flops: [f64; 2],
}

fn cases() -> Vec<Case> {
    let hidden = [100; 5];
    let net = |layers| MultiLayerNet::new(784, &hidden[..layers], 10);
    let normalised =
        MultiLayerNetExtend { net: net(5), dropout_ratio: Some(0.5), use_batchnorm: true };
    let case = |name, network: kasoku_nn::Result<_>, optimizer, per_sample: [f64; 2]| Case {
        name,
        network: network.expect("a network of the book"),
        optimizer,
        flops: per_sample.map(|flops| flops * BATCH as f64),
    };
    // Affine layers: twice the weights forward, and for each gradient; none by the first layer's input.
    let affine = |sizes: &[usize]| {
        let forward: usize = sizes.windows(2).map(|pair| 2 * pair[0] * pair[1]).sum();
        [(3 * forward - 2 * sizes[0] * sizes[1]) as f64, forward as f64]
    };
    use OptimizerKind::{Adam, Sgd};
    vec![
        case("DeepConvNet, Adam", DeepConvNet::default().build(1), Adam, [52.4e6, 17.55e6]),
        case("SimpleConvNet, Adam", SimpleConvNet::default().build(1), Adam, [4.33e6, 1.73e6]),
        case("MLP 784-100×4-10, SGD", net(4).build(1), Sgd, affine(&[784, 100, 100, 100, 100, 10])),
        case(
            "MLP 784-100×5-10, batch norm, dropout, SGD",
            normalised.build(1),
            Sgd,
            affine(&[784, 100, 100, 100, 100, 100, 10]),
        ),
        case(
            "TwoLayerNet 784-50-10, SGD",
            TwoLayerNet::new(784, 50, 10).build(1),
            Sgd,
            affine(&[784, 50, 10]),
        ),
    ]
}

/// The least time of each of two ways, which take turns.
fn least(mut ways: [&mut dyn FnMut(); 2]) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    let start = Instant::now();
    while start.elapsed() < TIME {
        for (way, best) in ways.iter_mut().zip(&mut best) {
            let start = Instant::now();
            way();
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

fn main() {
    let threads = num_threads().expect("a number of threads");
    let peak = probe::peak_flops::<f32>().expect("an instruction set that is there");
    println!(
        "batch {BATCH}, f32, {threads} threads, peak {:.1} GFLOP/s a thread; milliseconds",
        peak / 1e9
    );
    println!("{:<46} {:>9} {:>9} {:>9} {:>14}", "", "floor", "engine", "layers", "engine / floor");
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for Case { name, mut network, optimizer, flops } in cases() {
        if !name.contains(&only) {
            continue;
        }
        let mut shape = vec![BATCH];
        shape.extend_from_slice(network.input_shape());
        let x: Tensor<f32> = WeightRng::new(1).normal(&shape, 1.0).into_shared();
        let labels: Vec<usize> = (0..BATCH).map(|sample| sample % 10).collect();
        let mut by_layers =
            cases().into_iter().find(|case| case.name == name).expect("itself").network;
        by_layers.use_engine(false);
        network.use_engine(true);
        let mut optimizers = [optimizer, optimizer].map(|kind| kind.build::<f32>(1e-4, 0.0));
        let [first, second] = &mut optimizers;
        let step = least([
            &mut || drop(network.train_step(x.clone(), aview1(&labels), first.as_mut())),
            &mut || drop(by_layers.train_step(x.clone(), aview1(&labels), second.as_mut())),
        ]);
        let mut predict = |x: &Tensor<f32>| {
            least([&mut || drop(network.predict(x.clone())), &mut || {
                drop(by_layers.predict(x.clone()))
            }])
        };
        let batch = predict(&x);
        let one = predict(&x.slice_axis(Axis(0), (0..1).into()).to_owned().into_shared());
        for (what, flops, [engine, layers]) in [
            ("step", flops[0], step),
            ("predict", flops[1], batch),
            ("predict one", flops[1] / BATCH as f64, one),
        ] {
            let floor = flops / (peak * threads as f64);
            let [floor_ms, engine_ms, layers_ms] =
                [floor, engine, layers].map(|seconds| 1e3 * seconds);
            let title = format!("{name}: {what}");
            println!(
                "{title:<46} {floor_ms:>9.3} {engine_ms:>9.3} {layers_ms:>9.3} {:>14.2}",
                engine / floor
            );
        }
    }
}
