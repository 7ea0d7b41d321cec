//! What the chapters share.
#![allow(dead_code)] // none needs all of it

use std::ops::ControlFlow;

use kasoku_nn::Result;
use kasoku_nn::data::{self, Mnist, Split};
use kasoku_nn::ndarray::ArrayView2;
use kasoku_nn::networks::Sequential;
use kasoku_nn::optimizers::Optimizer;
use kasoku_nn::trainer::{History, Progress, Trainer};

/// So many digits to learn from and to test on: MNIST's where `KASOKU_DATA` names its folder or the cache has it, else digits
/// that the program draws.
pub fn digits(train: usize, test: usize) -> Result<Split> {
    let (name, digits) = match Mnist::find(None) {
        Ok(folder) => ("MNIST", Mnist::load(folder)?),
        Err(_) => ("synthetic digits (MNIST is not here)", data::synthetic_split(train, test, 1)),
    };
    println!("{train} images of {name} to learn from, {test} to test on\n");
    Ok(Split { train: digits.train.first(train), test: digits.test.first(test) })
}

/// Trains on batches of 100, and prints a line an epoch.
pub fn train(
    network: &mut Sequential<f32>,
    digits: &Split,
    optimizer: &mut dyn Optimizer<f32>,
    epochs: usize,
) -> Result<History> {
    let trainer = Trainer { epochs, ..Trainer::default() };
    trainer.train(network, &digits.train, &digits.test, optimizer, |progress| {
        if let Progress::Epoch { epoch, loss, train_accuracy, test_accuracy, .. } = progress {
            let [train, test] = [train_accuracy, test_accuracy].map(|share| 100.0 * share);
            println!(
                "epoch {epoch}: loss {loss:.4}, right {train:.2} % (train), {test:.2} % (test)"
            );
        }
        ControlFlow::Continue(())
    })
}

/// An image in characters: the higher a number, the darker. Two characters a pixel, which is about square.
pub fn print_image(image: ArrayView2<'_, f32>) {
    const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];
    let low = image.iter().copied().fold(f32::INFINITY, f32::min);
    let high = image.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for row in image.rows() {
        let shade = |x: &f32| SHADES[(4.999 * (x - low) / (high - low).max(1e-9)) as usize];
        println!("  {}", row.iter().map(shade).collect::<String>());
    }
}
