//! Chapter 8: a deeper network, how it is run, and digits that it misreads.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch08_deep_conv_net -- --epochs 4
//! ```

mod common;

use std::error::Error;
use std::time::Instant;

use kasoku_nn::ndarray::{Axis, s};
use kasoku_nn::networks::DeepConvNet;
use kasoku_nn::optimizers::Adam;

fn main() -> Result<(), Box<dyn Error>> {
    let epochs = match &*std::env::args().skip(1).collect::<Vec<_>>() {
        [] => 1,
        [flag, epochs] if flag == "--epochs" => epochs.parse()?,
        _ => return Err("expected --epochs NUMBER or nothing".into()),
    };
    // All of MNIST where there is time for it.
    let digits = common::digits(if epochs == 1 { 20_000 } else { 60_000 }, 10_000)?;
    let mut network = DeepConvNet::default().build::<f32>(1)?;
    println!("{network}\n\n{}", network.explain(100)?);

    let start = Instant::now();
    common::train(&mut network, &digits, &mut Adam::new(0.001, 0.0), epochs)?;
    println!("in {:.1?}\n", start.elapsed());

    let (images, labels) = (digits.test.images_f::<f32>(), digits.test.labels());
    let scores = network.predict(images.slice(s![..1000, .., .., ..]))?;
    let answers = scores.map_axis(Axis(1), |scores| {
        (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
    });
    let wrong = (0..answers.len()).filter(|&index| answers[index] != labels[index]);
    for index in wrong.take(2) {
        println!("a {} read as {}:", labels[index], answers[index]);
        common::print_image(images.slice(s![index, 0, .., ..]));
    }
    Ok(())
}
