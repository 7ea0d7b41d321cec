//! The Trainer: that it learns, what it remembers, and that seeds fix every bit on any number of threads.

use std::ops::ControlFlow;

use kasoku_nn::data::{Augmentation, Split, synthetic_split};
use kasoku_nn::kernels::set_num_threads;
use kasoku_nn::networks::{DeepConvNet, MultiLayerNet, Sequential, SimpleConvNet};
use kasoku_nn::optimizers::{Adam, Optimizer, Sgd};
use kasoku_nn::trainer::{History, Progress, Sampling, Schedule, Trainer};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn mlp() -> Sequential<f32> {
    MultiLayerNet::new(784, &[30], 10).build(1).unwrap()
}

fn digits() -> Split {
    synthetic_split(500, 200, 1)
}

fn quick() -> Trainer {
    Trainer { epochs: 2, ..Trainer::default() }
}

fn train(trainer: &Trainer, network: &mut Sequential<f32>) -> History {
    let Split { train, test } = digits();
    trainer.train(network, &train, &test, &mut Adam::new(0.001, 0.0), |_| GO_ON).unwrap()
}

#[test]
fn it_learns() {
    let mut network = mlp();
    let history = train(&Trainer { epochs: 15, ..Trainer::default() }, &mut network);
    assert_eq!((history.losses.len(), history.train_accuracies.len()), (75, 15));
    assert!(history.losses[74] < 0.6 * history.losses[0], "{:?}", history.losses);
    assert!(history.test_accuracies[14] > 0.5, "{:?}", history.test_accuracies);
    assert!(!history.stopped);
}

#[test]
fn seeds_fix_every_bit_on_any_number_of_threads() {
    let builds: [fn() -> Sequential<f32>; 3] = [
        mlp,
        || SimpleConvNet::default().build(1).unwrap(),
        || DeepConvNet::default().build(1).unwrap(),
    ];
    for build in builds {
        let run = |threads, seed| {
            set_num_threads(threads);
            let Split { train, test } = synthetic_split(50, 20, 1);
            let trainer = Trainer { epochs: 1, batch_size: 17, seed, ..Trainer::default() };
            let mut network = build();
            let mut adam = Adam::new(0.001, 0.0);
            let history = trainer.train(&mut network, &train, &test, &mut adam, |_| GO_ON).unwrap();
            set_num_threads(0);
            let parameters = network.parameters();
            let bits = |x: &f32| x.to_bits();
            let weights = parameters.iter().flat_map(|(_, p)| p.value.iter().map(bits));
            (history, weights.collect::<Vec<_>>())
        };
        let one = run(1, 3);
        assert!(run(2, 3) == one && run(5, 3) == one);
        assert!(run(1, 4) != one);
    }
}

#[test]
fn the_callback_hears_everything_and_can_stop() {
    let Split { train, test } = digits();
    let (mut steps, mut epochs) = (Vec::new(), Vec::new());
    let mut sgd = Sgd::new(0.1, 0.0);
    let history = quick()
        .train(&mut mlp(), &train, &test, &mut sgd, |progress| {
            match *progress {
                Progress::Step { epoch, step, steps: all, samples, loss, .. } => {
                    assert_eq!((all, samples), (10, 100));
                    steps.push((epoch, step, loss));
                }
                Progress::Epoch { epoch, epochs: all, test_accuracy, .. } => {
                    assert_eq!(all, 2);
                    epochs.push((epoch, test_accuracy));
                }
                _ => unreachable!("there are two kinds"),
            }
            GO_ON
        })
        .unwrap();
    assert_eq!((steps.len(), epochs.len()), (10, 2));
    assert_eq!((steps[0].0, steps[0].1, steps[9].0, steps[9].1), (1, 1, 2, 10));
    assert!(steps.iter().map(|step| step.2).eq(history.losses));
    assert!(epochs.iter().map(|epoch| epoch.1).eq(history.test_accuracies));

    let stop = |progress: &Progress| match progress {
        Progress::Step { step: 7, .. } => ControlFlow::Break(()),
        _ => GO_ON,
    };
    let history = quick().train(&mut mlp(), &train, &test, &mut sgd, stop).unwrap();
    assert!(history.stopped);
    assert_eq!((history.losses.len(), history.test_accuracies.len()), (7, 1));
}

#[test]
fn schedules_change_the_learning_rate_and_put_it_back() {
    let Split { train, test } = digits();
    let run = |schedule| {
        let mut sgd = Sgd::new(0.1f32 as f64, 0.0);
        let trainer = Trainer { schedule, ..quick() };
        let history = trainer.train(&mut mlp(), &train, &test, &mut sgd, |_| GO_ON).unwrap();
        assert!((Optimizer::<f32>::lr(&sgd) - 0.1).abs() < 1e-6);
        history.lrs
    };
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}");
    assert!(run(Schedule::Constant).iter().all(|lr| (lr - 0.1).abs() < 1e-6));
    let step = run(Schedule::Step { epochs: 1, factor: 0.5 });
    close(step[4], 0.1);
    close(step[5], 0.05);
    close(run(Schedule::Exponential { factor: 0.25 })[5], 0.025);
    let cosine = run(Schedule::Cosine { last: 0.0 });
    close(cosine[0], 0.1);
    close(cosine[5], 0.05);
    close(run(Schedule::Custom(|done| 1.0 - done))[5], 0.05);
}

#[test]
fn augmentation_changes_what_is_learned_the_same_way_each_time() {
    let augmentation = Augmentation { shift: 2.0, rotation: 10.0, ..Augmentation::default() };
    let run = |augmentation, seed| {
        train(&Trainer { augmentation, seed, epochs: 1, ..quick() }, &mut mlp()).losses
    };
    let augmented = run(Some(augmentation), 1);
    assert_eq!(run(Some(augmentation), 1), augmented);
    assert_ne!(run(None, 1), augmented);
    assert_eq!(run(Some(Augmentation::default()), 1), run(None, 1));

    let Split { train, test } = digits();
    let trainer =
        Trainer { augmentation: Some(Augmentation { scale: 2.0, ..augmentation }), ..quick() };
    let mut sgd = Sgd::new(0.1, 0.0);
    let failed = trainer.train(&mut mlp(), &train, &test, &mut sgd, |_| GO_ON);
    assert!(failed.unwrap_err().to_string().contains("scale is 2"));
}

#[test]
fn a_batch_may_be_short_and_drawn_as_in_the_book() {
    let Split { train, test } = digits();
    let mut samples = Vec::new();
    let trainer = Trainer { batch_size: 300, epochs: 1, sampling: Sampling::Choice, ..quick() };
    let mut sgd = Sgd::new(0.1, 0.0);
    let history = trainer.train(&mut mlp(), &train, &test, &mut sgd, |progress| {
        if let Progress::Step { samples: count, .. } = *progress {
            samples.push(count);
        }
        GO_ON
    });
    assert_eq!(history.unwrap().losses.len(), 2);
    assert_eq!(samples, [300, 200]);
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let Split { train, test } = digits();
    let mut sgd = Sgd::new(0.1, 0.0);
    let mut network = mlp();
    let none = quick().train(&mut network, &train.first(0), &test, &mut sgd, |_| GO_ON);
    assert!(none.unwrap_err().to_string().contains("samples"));
    let trainer = Trainer { batch_size: 0, ..quick() };
    let none = trainer.train(&mut network, &train, &test, &mut sgd, |_| GO_ON);
    assert!(none.unwrap_err().to_string().contains("batch_size"));
}
