//! Chapter 6: eight optimizers in a narrow valley and on digits, and what the first weights and batch normalisation do.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch06_optimizers
//! ```

mod common;

use std::ops::ControlFlow;

use kasoku_nn::Result;
use kasoku_nn::data::Split;
use kasoku_nn::init::WeightInit::{self, He, Std, Xavier};
use kasoku_nn::layers::{Parameter, Role};
use kasoku_nn::ndarray::arr1;
use kasoku_nn::networks::{MultiLayerNet, MultiLayerNetExtend, Sequential};
use kasoku_nn::optimizers::{Adam, Optimizer, OptimizerKind};
use kasoku_nn::trainer::Trainer;

fn main() -> Result<()> {
    valley()?;
    let digits = common::digits(10_000, 1_000)?;
    optimizers(&digits)?;
    first_weights(&digits)
}

/// x²/20 + y² from (−7, 2): the gradient hardly points to the minimum at (0, 0).
fn valley() -> Result<()> {
    println!("in the valley x²/20 + y², 30 steps from (-7, 2):");
    for (name, lr) in [("sgd", 0.95), ("momentum", 0.1), ("adagrad", 1.5), ("adam", 0.3)] {
        let mut optimizer = name.parse::<OptimizerKind>()?.build::<f64>(lr, 0.0);
        let mut point = Parameter::new(Role::Weight, arr1(&[-7.0, 2.0]).into_dyn());
        for _ in 0..30 {
            point.grad = arr1(&[point.value[0] / 10.0, 2.0 * point.value[1]]).into_dyn();
            optimizer.update(&mut [&mut point])?;
        }
        println!("  {name:<8} at ({:>6.3}, {:>6.3})", point.value[0], point.value[1]);
    }
    println!();
    Ok(())
}

/// The loss of the last tenth of two epochs, and the share of the test images right.
fn learn(
    network: &mut Sequential<f32>,
    digits: &Split,
    optimizer: &mut dyn Optimizer<f32>,
) -> Result<(f64, f64)> {
    let trainer = Trainer { epochs: 2, ..Trainer::default() };
    let keep_on = |_: &_| ControlFlow::Continue(());
    let history = trainer.train(network, &digits.train, &digits.test, optimizer, keep_on)?;
    let last = &history.losses[history.losses.len() * 9 / 10..];
    let loss = last.iter().sum::<f64>() / last.len() as f64;
    Ok((loss, 100.0 * history.test_accuracies.last().copied().unwrap_or(f64::NAN)))
}

fn optimizers(digits: &Split) -> Result<()> {
    println!("784-100-100-100-100-10 by each optimizer, with the book's learning rate:");
    for (name, kind) in OptimizerKind::ALL {
        let mut network = MultiLayerNet::new(784, &[100; 4], 10).build(1)?;
        let mut optimizer = kind.build(kind.default_lr(), 0.0);
        let (loss, right) = learn(&mut network, digits, &mut *optimizer)?;
        println!("  {name:<8} loss {loss:.4}, {right:.1} % right");
    }
    println!();
    Ok(())
}

fn first_weights(digits: &Split) -> Result<()> {
    println!(
        "the same by Adam, from first weights of another spread, plain and with batch normalisation:"
    );
    let spreads: [(&str, WeightInit); 4] =
        [("0.001", Std(0.001)), ("1", Std(1.0)), ("Xavier", Xavier), ("He", He)];
    for (name, weight_init_std) in spreads {
        let net = MultiLayerNet { weight_init_std, ..MultiLayerNet::new(784, &[100; 4], 10) };
        print!("  {name:<8}");
        for use_batchnorm in [false, true] {
            let recipe =
                MultiLayerNetExtend { net: net.clone(), dropout_ratio: None, use_batchnorm };
            let (loss, right) = learn(&mut recipe.build(1)?, digits, &mut Adam::new(0.001, 0.0))?;
            print!(" loss {loss:>7.4}, {right:>4.1} % right  ");
        }
        println!();
    }
    Ok(())
}
