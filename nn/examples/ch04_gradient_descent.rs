//! Chapter 4: numerical gradients, the way downhill, and a network that learns by them alone.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch04_gradient_descent
//! ```

mod common;

use kasoku_nn::Result;
use kasoku_nn::gradient::{gradient_descent, numerical_diff};
use kasoku_nn::ndarray::{Array1, Axis, arr1};
use kasoku_nn::networks::{Activation, TwoLayerNet};

fn main() -> Result<()> {
    let slope = numerical_diff(|x: f64| x * x * x, 2.0);
    println!("the slope of x³ at 2 is {slope:.6}, exactly it is 12\n");

    downhill()?;
    learn()
}

/// x₀² + x₁² from (−3, 4): too small a step does not arrive, too large a one flies off.
fn downhill() -> Result<()> {
    let squares = |x: &Array1<f64>| Ok(x.dot(x));
    for lr in [1e-3, 0.1, 1.1] {
        let (end, _) = gradient_descent(squares, arr1(&[-3.0, 4.0]), lr, 50)?;
        println!("learning rate {lr:>5}: after 50 steps at ({:.3e}, {:.3e})", end[0], end[1]);
    }
    println!();
    Ok(())
}

/// Each number of the network is moved to both sides, and the loss taken: thousands of forward passes a step.
fn learn() -> Result<()> {
    let digits = common::digits(100, 100)?;
    // Every fourth pixel in both directions is enough to tell some digits apart.
    let pixels: Vec<usize> = (0..784).filter(|at| at / 28 % 4 == 2 && at % 28 % 4 == 2).collect();
    let x = digits.train.flattened::<f64>().select(Axis(1), &pixels);
    let t = digits.train.labels();

    let recipe = TwoLayerNet::new(pixels.len(), 10, 10);
    let activation = Activation::Sigmoid;
    let mut network = TwoLayerNet { activation, weight_init_std: 0.3, ..recipe }.build(1)?;
    for step in 0..=60 {
        let gradients = network.numerical_gradient(x.view(), t.view())?;
        if step % 20 == 0 {
            let loss = network.loss(x.view(), t.view())?;
            let right = 100.0 * network.accuracy(x.view(), t.as_slice().unwrap_or_default())?;
            println!("step {step:>2}: loss {loss:.4}, {right:.0} % right");
        }
        for ((_, parameter), (_, gradient)) in network.parameters_mut().into_iter().zip(&gradients)
        {
            parameter.value.scaled_add(-2.0, gradient);
        }
    }
    Ok(())
}
