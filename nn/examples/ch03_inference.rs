//! Chapter 3: the forward pass by hand, softmax, and digits read one by one and in batches.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch03_inference
//! ```

mod common;

use std::time::Instant;

use kasoku_nn::Result;
use kasoku_nn::functions::{identity_function, sigmoid, softmax};
use kasoku_nn::ndarray::{arr1, arr2};
use kasoku_nn::networks::{Activation, MultiLayerNet};
use kasoku_nn::optimizers::Adam;
use kasoku_nn::trainer::Samples;

fn main() -> Result<()> {
    three_layers()?;
    overflow()?;
    read_digits()
}

/// Two inputs, hidden layers of three and two, two outputs.
fn three_layers() -> Result<()> {
    let (w1, b1) = (arr2(&[[0.2, -0.4, 0.6], [0.1, 0.5, -0.3]]), arr1(&[0.1, 0.1, -0.2]));
    let (w2, b2) = (arr2(&[[0.3, -0.2], [0.5, 0.4], [-0.1, 0.7]]), arr1(&[0.0, 0.2]));
    let (w3, b3) = (arr2(&[[1.0, -1.0], [0.5, 2.0]]), arr1(&[0.0, 0.0]));

    let x = arr1(&[1.0, 0.5]);
    let z1 = sigmoid((x.dot(&w1) + &b1).view())?;
    let z2 = sigmoid((z1.dot(&w2) + &b2).view())?;
    let y = identity_function((z2.dot(&w3) + &b3).view());
    println!("x {x:.3} -> {z1:.3} -> {z2:.3} -> y {y:.3}\n");
    Ok(())
}

/// e¹⁰⁰⁰ is too large for any float; softmax subtracts the largest score first.
fn overflow() -> Result<()> {
    let scores = arr1(&[1000.0, 1001.0, 1002.0f64]);
    let naive = scores.mapv(f64::exp);
    let naive = &naive / naive.sum();
    println!(
        "softmax of {scores:.0}: naively {naive}, as it should be {:.4}\n",
        softmax(scores.view())?
    );
    Ok(())
}

/// The book brings weights for 784-50-100-10; here the network learns them first.
fn read_digits() -> Result<()> {
    let digits = common::digits(20_000, 10_000)?;
    let recipe = MultiLayerNet::new(784, &[50, 100], 10);
    let mut network = MultiLayerNet { activation: Activation::Sigmoid, ..recipe }.build(1)?;
    common::train(&mut network, &digits, &mut Adam::new(0.003, 0.0), 2)?;

    println!();
    for batch_size in [1, 100] {
        let start = Instant::now();
        let mut right = 0;
        let indices: Vec<usize> = (0..digits.test.len()).collect();
        for batch in indices.chunks(batch_size) {
            let (x, t) = Samples::<f32>::batch(&digits.test, batch)?;
            let scores = network.predict(x)?;
            for (scores, label) in scores.rows().into_iter().zip(t) {
                let best = (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                right += usize::from(best == Some(label));
            }
        }
        let (share, time) = (100.0 * right as f64 / indices.len() as f64, start.elapsed());
        println!("batches of {batch_size:>3}: {share:.2} % right in {time:.0?}");
    }
    Ok(())
}
