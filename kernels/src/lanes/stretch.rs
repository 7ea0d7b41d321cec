//! Tasks that have memory of their own.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result, check_len};
use crate::parallel::{Pool, Rows};
use crate::threads::num_threads;

/// Multiply-adds below which tasks stay on the calling thread.
const PARALLEL_WORK: usize = 1 << 20;

/// Cuts each slice into `tasks` stretches of its width and runs `body(task, stretches)` for each, on the threads of the kernels
/// (the calling one where `work`, in multiply-adds, is little).
///
/// Where the tasks do not come out even, the first ones run one after another: there all threads work on the operations of one
/// task, and none waits for the last.
///
/// # Errors
/// [`Error::Length`] where a slice does not hold `tasks` stretches, and the error of the first task that fails.
pub fn for_each_stretch<T: Send, const N: usize>(
    tasks: usize,
    work: usize,
    mut slices: [(&mut [T], usize); N],
    body: impl Fn(usize, [&mut [T]; N]) -> Result<()> + Sync,
) -> Result<()> {
    for (slice, width) in &slices {
        check_len("for_each_stretch", "a slice", slice, tasks * width)?;
    }
    let threads = num_threads()?;
    let odd = if tasks > threads { tasks % threads } else { 0 };
    for task in 0..odd {
        let stretches =
            slices.each_mut().map(|(slice, width)| &mut slice[task * *width..][..*width]);
        body(task, stretches)?;
    }
    let rows = slices
        .map(|(slice, width)| Rows::new(&mut slice[odd * width..], tasks - odd, width));
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    Pool::for_work(work, PARALLEL_WORK)?.for_each_part(rows, 1, |task, rows| {
        if let Err(error) = body(odd + task, rows.map(|row| row.data)) {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(earlier, _)| task < *earlier) {
                *failed = Some((task, error));
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}
