//! Chapter 7: a convolutional network, and one of its filters before and after it has learned.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch07_simple_conv_net
//! ```

mod common;

use std::time::Instant;

use kasoku_nn::Result;
use kasoku_nn::ndarray::{ArrayView2, s};
use kasoku_nn::networks::{Sequential, SimpleConvNet};
use kasoku_nn::optimizers::Adam;

fn main() -> Result<()> {
    let digits = common::digits(20_000, 10_000)?;
    let mut network = SimpleConvNet::default().build(1)?;
    println!("{network}\n\na filter before training: noise");
    common::print_image(filter(&network));

    println!();
    let start = Instant::now();
    common::train(&mut network, &digits, &mut Adam::new(0.001, 0.0), 3)?;
    println!("in {:.1?}\n\nthe same filter after it: an edge or a blob", start.elapsed());
    common::print_image(filter(&network));
    Ok(())
}

/// The first filter, 5 × 5. W1 is (filters, channels, height, width).
fn filter(network: &Sequential<f32>) -> ArrayView2<'_, f32> {
    let parameters = network.parameters();
    let (_, w1) = parameters[0];
    w1.value.slice(s![0, 0, .., ..])
}
