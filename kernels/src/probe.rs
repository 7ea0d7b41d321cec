//! What the machine can do at most, measured: the yardstick of every benchmark.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Instant;

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::simd::Vector;

/// Independent chains of multiply-adds: more than latency (4 or 5 cycles) × 2 ports needs, and few enough for 16 registers.
const CHAINS: usize = 12;

/// Does `rounds` rounds of multiply-adds on one thread, nothing but registers, with the instruction set in use; returns
/// the floating-point operations done.
///
/// # Errors
/// [`crate::Error::InstructionSet`] where `KASOKU_SIMD` names one the machine lacks.
pub fn multiply_adds<T: Element>(rounds: usize) -> Result<f64> {
    struct Chains<T> {
        rounds: usize,
        element: PhantomData<T>,
    }
    impl<T: Element> WithSimd for Chains<T> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let factor = Vector::splat(simd, black_box(T::of(0.999)));
            let term = Vector::splat(simd, black_box(T::of(0.001)));
            let mut chains = [Vector::splat(simd, T::one()); CHAINS];
            for _ in 0..self.rounds {
                for chain in &mut chains {
                    *chain = chain.mul_add(factor, term);
                }
            }
            black_box(chains.map(Vector::sum));
            2.0 * (self.rounds * CHAINS * Vector::<T, S>::len()) as f64
        }
    }
    Ok(Arch::current()?.dispatch(Chains::<T> { rounds, element: PhantomData }))
}

/// The peak of one core in floating-point operations a second: the fastest of a few short runs of [`multiply_adds`].
///
/// # Errors
/// As [`multiply_adds`].
pub fn peak_flops<T: Element>() -> Result<f64> {
    let mut best: f64 = 0.0;
    for _ in 0..5 {
        let start = Instant::now();
        let flops = multiply_adds::<T>(200_000)?;
        best = best.max(flops / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_counts_what_it_does() {
        let per_round = multiply_adds::<f32>(1).unwrap();
        assert_eq!(per_round % (2 * CHAINS) as f64, 0.0);
        assert_eq!(multiply_adds::<f32>(10).unwrap(), 10.0 * per_round);
        assert!(peak_flops::<f64>().unwrap() > 1e6);
    }
}
