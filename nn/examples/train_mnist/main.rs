//! Trains one of the book's networks on handwritten digits:
//!
//! ```text
//! cargo run --release -p kasoku-nn --example train_mnist -- --network simple --epochs 3
//! ```

mod plot;

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use kasoku_nn::data::{self, Mnist, Split};
use kasoku_nn::kernels::{arch, num_threads, set_num_threads};
use kasoku_nn::networks::{DeepConvNet, MultiLayerNet, Sequential, SimpleConvNet, TwoLayerNet};
use kasoku_nn::optimizers::OptimizerKind;
use kasoku_nn::trainer::{Progress, Schedule, Trainer};
use kasoku_nn::weights;

/// Train a network of "Deep Learning from Scratch" on handwritten digits.
#[derive(Parser)]
struct Options {
    /// The network to train.
    #[arg(long, value_enum, default_value = "simple")]
    network: Network,
    /// How often each image is seen; by default 4 times for deep, 5 for mlp and two-layer, else 3.
    #[arg(long, value_parser = positive)]
    epochs: Option<usize>,
    /// Images of a step.
    #[arg(long, default_value_t = 100, value_parser = positive)]
    batch_size: usize,
    /// sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam or adamw.
    #[arg(long, default_value = "adam")]
    optimizer: OptimizerKind,
    /// The learning rate over time.
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: LearningRate,
    /// Learning rate, at the start; by default the optimizer's in the book, but 0.003 for adam and adamw along a cosine.
    #[arg(long)]
    lr: Option<f64>,
    /// Decides the first weights, the order of the images and the dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; 0 for one on each core. They change the time, not the numbers.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// auto (MNIST where it is or can be downloaded, else synthetic), mnist, synthetic, or the folder of MNIST's four files.
    #[arg(long, default_value = "auto")]
    data: Data,
    /// Where to save the weights: a name ending in .safetensors or .npz.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Where to draw the loss and the accuracies: a name ending in .svg.
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "expected a whole number above 0".into())
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    /// Convolution 5×5 - pool - affine 100 - affine 10 (chapter 7).
    Simple,
    /// Six convolutions 3×3, two affine layers, dropout (chapter 8).
    Deep,
    /// Four hidden layers of 100 (chapter 6).
    Mlp,
    /// One hidden layer of 50 (chapters 4 and 5).
    TwoLayer,
}

impl Network {
    fn build(self, seed: u64) -> kasoku_nn::Result<Sequential<f32>> {
        match self {
            Self::Simple => SimpleConvNet::default().build(seed),
            Self::Deep => DeepConvNet::default().build(seed),
            Self::Mlp => MultiLayerNet::new(784, &[100; 4], 10).build(seed),
            Self::TwoLayer => TwoLayerNet::new(784, 50, 10).build(seed),
        }
    }

    /// Enough for DeepConvNet to read 99 % of MNIST's test images, whatever the seed.
    fn epochs(self) -> usize {
        match self {
            Self::Simple => 3,
            Self::Deep => 4,
            Self::Mlp | Self::TwoLayer => 5,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum LearningRate {
    /// Half a cosine, down to 0.
    Cosine,
    /// Always the same.
    Constant,
}

impl LearningRate {
    fn schedule(self) -> Schedule {
        match self {
            Self::Cosine => Schedule::Cosine { last: 0.0 },
            Self::Constant => Schedule::Constant,
        }
    }

    /// Where the learning rate falls, Adam's may begin higher than the book's, 0.001, and in the same epochs learns more.
    fn first(self, optimizer: OptimizerKind) -> f64 {
        match (self, optimizer) {
            (Self::Cosine, OptimizerKind::Adam | OptimizerKind::AdamW) => 0.003,
            _ => optimizer.default_lr(),
        }
    }
}

#[derive(Clone)]
enum Data {
    Auto,
    Mnist,
    Synthetic,
    Folder(PathBuf),
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "mnist" => Self::Mnist,
            "synthetic" => Self::Synthetic,
            _ => Self::Folder(text.into()),
        }
    }
}

impl Data {
    /// The digits, and what to call them.
    fn load(&self, seed: u64) -> Result<(Split, &'static str), Box<dyn Error>> {
        let bar = ProgressBar::no_length()
            .with_style(ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes}")?);
        let show = |file: &str, done: u64, total: Option<u64>| {
            bar.set_message(format!("downloading {file}"));
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        };
        let mnist = match self {
            Self::Folder(folder) => Mnist::load(folder),
            Self::Auto | Self::Mnist => Mnist::auto(None, show),
            Self::Synthetic => return Ok((synthetic(seed), SYNTHETIC)),
        };
        bar.finish_and_clear();
        match (mnist, self) {
            (Err(_), Self::Auto) => {
                eprintln!(
                    "MNIST is not here and cannot be downloaded (--data mnist says why): training on synthetic digits"
                );
                Ok((synthetic(seed), SYNTHETIC))
            }
            (mnist, _) => Ok((mnist?, "MNIST")),
        }
    }
}

const SYNTHETIC: &str = "synthetic digits";

fn synthetic(seed: u64) -> Split {
    data::synthetic_split(60_000, 10_000, seed)
}

/// The accuracies after an epoch are those of so many images, the first: all of MNIST's test images.
const EVALUATED: usize = 10_000;

/// The time that steps take, without the tests after each epoch.
struct Stopwatch {
    start: Instant,
    lap: Instant,
    images: usize,
    stepping: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        let now = Instant::now();
        Self { start: now, lap: now, images: 0, stepping: Duration::ZERO }
    }

    /// A step with `images` images is done.
    fn step(&mut self, images: usize) {
        self.images += images;
        self.stepping += self.lap.elapsed();
        self.lap = Instant::now();
    }

    /// Images a second so far; the next epoch starts now.
    fn rate(&mut self) -> f64 {
        self.lap = Instant::now();
        self.images as f64 / self.stepping.as_secs_f64()
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(path) = &options.save {
        weights::check_path(path)?; // before the work, not after it
    }
    if let Some(path) = &options.plot {
        plot::check_path(path)?;
    }
    set_num_threads(options.threads);
    let (digits, name) = options.data.load(options.seed)?;
    let mut network = options.network.build(options.seed)?;
    let epochs = options.epochs.unwrap_or(options.network.epochs());
    let lr = options.lr.unwrap_or(options.schedule.first(options.optimizer));
    let mut optimizer = options.optimizer.build(lr, 0.0);

    println!("{network}");
    println!(
        "{name}: {} images to train on, {} to test; seed {}; {} thread(s) of {}",
        digits.train.len(),
        digits.test.len(),
        options.seed,
        num_threads()?,
        arch::selected()?,
    );

    let images = epochs * digits.train.len();
    let bar = ProgressBar::new(images as u64).with_style(ProgressStyle::with_template(
        "{prefix} [{wide_bar}] {percent}% · {per_sec} · {eta} left · {msg}",
    )?);
    let bar = bar.with_prefix("epoch 1");
    let trainer = Trainer {
        epochs,
        schedule: options.schedule.schedule(),
        batch_size: options.batch_size,
        seed: options.seed,
        evaluate_sample_num: Some(EVALUATED),
        ..Trainer::default()
    };
    let mut watch = Stopwatch::start();
    let history = trainer.train(
        &mut network,
        &digits.train,
        &digits.test,
        &mut *optimizer,
        |progress| {
            match *progress {
                Progress::Step { epoch, samples, loss, .. } => {
                    watch.step(samples);
                    bar.set_prefix(format!("epoch {epoch}"));
                    bar.set_message(format!("loss {loss:.4}"));
                    bar.inc(samples as u64);
                }
                Progress::Epoch { epoch, epochs, loss, train_accuracy, test_accuracy } => {
                    let line = format!(
                        "epoch {epoch}/{epochs}: loss {loss:.4}, train accuracy {:.2} %, test accuracy {:.2} % ({:.0} images/s)",
                        100.0 * train_accuracy,
                        100.0 * test_accuracy,
                        watch.rate(),
                    );
                    bar.suspend(|| println!("{line}"));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        },
    )?;
    bar.finish_and_clear();

    let best = history.test_accuracies.iter().copied().fold(f64::NAN, f64::max);
    let last = history.test_accuracies.last().copied().unwrap_or(f64::NAN);
    println!(
        "test accuracy {:.2} % (best {:.2} %) after {} steps in {}; seed {}",
        100.0 * last,
        100.0 * best,
        history.losses.len(),
        HumanDuration(watch.start.elapsed()),
        options.seed,
    );
    if let Some(path) = &options.save {
        weights::save(&mut network, path)?;
        println!("weights saved to {}", path.display());
    }
    if let Some(path) = &options.plot {
        plot::save(&history, path)?;
        println!("loss and accuracies drawn to {}", path.display());
    }
    Ok(())
}
