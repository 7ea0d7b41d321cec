//! Chapter 2: perceptrons as logic gates, and XOR, which needs two layers of them.
//!
//! ```text
//! cargo run --release -p kasoku-nn --example ch02_perceptron
//! ```

use kasoku_nn::ndarray::{Array1, arr1};

/// Fires (1) where the weighted sum of its inputs and the bias is above 0.
struct Perceptron {
    w: Array1<f64>,
    b: f64,
}

impl Perceptron {
    fn new(w: [f64; 2], b: f64) -> Self {
        Self { w: arr1(&w), b }
    }

    fn fire(&self, x: [f64; 2]) -> f64 {
        f64::from(u8::from(self.w.dot(&arr1(&x)) + self.b > 0.0))
    }
}

fn main() {
    // One structure, three gates: only the numbers differ.
    let and = Perceptron::new([1.0, 1.0], -1.5);
    let or = Perceptron::new([1.0, 1.0], -0.5);
    let nand = Perceptron::new([-1.0, -1.0], 1.5);
    // No straight line separates XOR's ones from its zeros. A second layer does.
    let xor = |x| and.fire([nand.fire(x), or.fire(x)]);

    println!("x1 x2 | AND NAND  OR | XOR");
    for x in [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] {
        let [x1, x2] = x;
        let [and, nand, or] = [&and, &nand, &or].map(|gate| gate.fire(x));
        println!("{x1:>2} {x2:>2} | {and:>3} {nand:>4} {or:>3} | {:>3}", xor(x));
    }
}
