//! Chapter 5: a computational graph forward and backward, the gradient check, and learning by backpropagation.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch05_backpropagation
//! ```

mod common;

use std::time::Instant;

use kasoku_nn::Result;
use kasoku_nn::gradient::gradient_check;
use kasoku_nn::layers::{AddLayer, MulLayer};
use kasoku_nn::ndarray::{arr0, aview1};
use kasoku_nn::networks::TwoLayerNet;
use kasoku_nn::optimizers::Sgd;

fn main() -> Result<()> {
    shopping()?;
    check()?;
    learn()
}

/// Three pears at 80 and two melons at 300, with 8 % tax: what does the bill depend on, and how much?
fn shopping() -> Result<()> {
    let number = |x: f64| arr0(x);
    let (mut pears, mut melons) = (MulLayer::new(), MulLayer::new());
    let (mut fruit, mut tax) = (AddLayer, MulLayer::new());

    let pear = pears.forward(number(80.0).view(), number(3.0).view())?;
    let melon = melons.forward(number(300.0).view(), number(2.0).view())?;
    let sum = fruit.forward(pear.view(), melon.view())?;
    let bill = tax.forward(sum.view(), number(1.08).view())?;
    println!("the bill: {bill:.2}");

    let (dsum, dtax) = tax.backward(number(1.0).view())?;
    let (dpear, dmelon) = fruit.backward(dsum.view());
    let (dpear_price, dpear_count) = pears.backward(dpear.view())?;
    let (dmelon_price, dmelon_count) = melons.backward(dmelon.view())?;
    println!("its gradient by the price of a pear {dpear_price:.2}, of a melon {dmelon_price:.2},");
    println!("by their number {dpear_count:.2} and {dmelon_count:.2}, by the tax {dtax:.2}\n");
    Ok(())
}

/// Backpropagation against central differences.
fn check() -> Result<()> {
    let mut network =
        TwoLayerNet { weight_init_std: 0.1, ..TwoLayerNet::new(20, 10, 5) }.build(1)?;
    let x = kasoku_nn::init::WeightRng::new(2).normal::<f64>(&[4, 20], 1.0).into_shared();
    for (name, error) in gradient_check(&mut network, &x, aview1(&[0, 1, 2, 3]))? {
        println!("{name}: the two gradients differ by {error:.1e} of the largest element");
    }
    println!();
    Ok(())
}

/// The network of chapter 4, on whole images now, in a fraction of the time.
fn learn() -> Result<()> {
    let digits = common::digits(60_000, 10_000)?;
    let mut network = TwoLayerNet::new(784, 50, 10).build(1)?;
    let start = Instant::now();
    common::train(&mut network, &digits, &mut Sgd::new(0.1, 0.0), 5)?;
    println!("in {:.1?}", start.elapsed());
    Ok(())
}
