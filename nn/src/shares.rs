//! How threads share the parameters of a network.
//!
//! A core reads what another one has written several times more slowly than what is its own. So every pass over the parameters cuts
//! them into the same shares, and a thread takes the same ones: it takes the gradients by those elements that it updates.

use crate::kernels;
use crate::kernels::lanes::for_each_stretch;
use crate::kernels::num_threads;

/// The shares of all parameters together.
const SHARES: usize = 8;

/// How many parts a parameter has that may have up to `most`: so many that shares are equal.
pub(crate) fn parts(most: usize) -> usize {
    1 << most.clamp(1, SHARES).ilog2()
}

/// The share of part `part` of `parts` of parameter `number`. Those of few parts are spread over the shares.
pub(crate) fn share(number: usize, part: usize, parts: usize) -> usize {
    let shares = SHARES / parts;
    part * shares + number % shares
}

/// Runs jobs, each with its [`share`]: on the calling thread where `work`, in multiply-adds, is little.
pub(crate) fn run<J: Send>(
    mut jobs: impl Iterator<Item = (usize, J)>,
    work: usize,
    run: impl Fn(&mut J) -> kernels::Result<()> + Sync,
) -> kernels::Result<()> {
    if num_threads()? == 1 {
        return jobs.try_for_each(|(_, mut job)| run(&mut job));
    }
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_unstable_by_key(|&(share, _)| share);
    let mut shares: [&mut [(usize, J)]; SHARES] = Default::default();
    for jobs in jobs.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let (share, _) = jobs[0];
        shares[share] = jobs;
    }
    for_each_stretch(SHARES, work, [(&mut shares, 1)], |_, [shares]| {
        shares.iter_mut().flat_map(|jobs| jobs.iter_mut()).try_for_each(|(_, job)| run(job))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once_and_parts_come_in_the_order_of_shares() {
        for (most, expected) in [(0, 1), (1, 1), (3, 2), (7, 4), (8, 8), (100, 8)] {
            assert_eq!(parts(most), expected);
        }
        for number in 0..20 {
            for parts in [1, 2, 4, 8] {
                let shares: Vec<_> = (0..parts).map(|part| share(number, part, parts)).collect();
                assert!(shares.is_sorted_by(|a, b| a < b) && shares[parts - 1] < SHARES);
                assert!(
                    shares.iter().enumerate().all(|(part, share)| share * parts / SHARES == part)
                );
            }
        }
        for work in [0, 1 << 30] {
            let mut runs = [0; 20];
            let jobs = runs.iter_mut().enumerate().map(|(i, runs)| (share(i, i % 2, 2), runs));
            run(jobs, work, |runs| {
                **runs += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(runs, [1; 20]);
        }
    }
}
