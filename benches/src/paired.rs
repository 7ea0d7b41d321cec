//! Contenders measured in turns, so that what slows the machine down slows all of them.

use std::time::Instant;

use kasoku_kernels::{Element, probe};

/// What was found about one contender.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Seconds of its fastest batch of calls, over the calls.
    pub seconds: f64,
    /// Its time over the first contender's, the median of the rounds.
    pub ratio: f64,
}

/// Seconds that a batch of calls takes at least: far above the clock's resolution, far below a time slice.
const BATCH_SECONDS: f64 = 200e-6;
/// A round whose probe is slower than the fastest one by more than this is dropped: something else was running.
const PROBE_DRIFT: f64 = 0.03;

/// Runs `rounds` rounds of every contender once in order and once in reverse (A B … B A) beside the FMA probe. Returns the
/// peak of one core in floating-point operations a second, and each contender's figures.
pub fn compare<T: Element>(
    contenders: &mut [Box<dyn FnMut() + '_>],
    rounds: usize,
) -> (f64, Vec<Figures>) {
    let calls = contenders.iter_mut().map(calls_of_batch).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for _ in 0..rounds {
        let probe = peak_of_one_core::<T>();
        let mut times = vec![Vec::new(); contenders.len()];
        let order = (0..contenders.len()).chain((0..contenders.len()).rev());
        for index in order {
            let run = &mut contenders[index];
            run(); // its operands in the caches, its threads awake
            let start = Instant::now();
            (0..calls[index]).for_each(|_| run());
            times[index].push(start.elapsed().as_secs_f64() / calls[index] as f64);
        }
        seen.push((probe, times));
    }
    let peak = seen.iter().map(|(peak, _)| *peak).fold(0.0, f64::max);
    let calm = |&&(probe, _): &&(f64, Vec<Vec<f64>>)| probe >= peak * (1.0 - PROBE_DRIFT);
    let figures = (0..contenders.len()).map(|index| {
        let all = seen.iter().flat_map(|(_, times)| &times[index]);
        let ratios = seen
            .iter()
            .filter(calm)
            .map(|(_, times)| times[index].iter().sum::<f64>() / times[0].iter().sum::<f64>());
        Figures { seconds: all.copied().fold(f64::MAX, f64::min), ratio: median(ratios.collect()) }
    });
    (peak, figures.collect())
}

fn peak_of_one_core<T: Element>() -> f64 {
    let start = Instant::now();
    let flops = probe::multiply_adds::<T>(8000).expect("an instruction set that is there");
    flops / start.elapsed().as_secs_f64()
}

/// Calls that take [`BATCH_SECONDS`], by the second of two.
fn calls_of_batch(run: &mut impl FnMut()) -> usize {
    run();
    let start = Instant::now();
    run();
    (BATCH_SECONDS / start.elapsed().as_secs_f64().max(1e-9)).ceil() as usize
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
