//! Tasks that have memory of their own.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result, check_len};
use crate::parallel::{Parts, Pool};
use crate::threads::num_threads;

/// Multiply-adds below which tasks stay on the calling thread.
const PARALLEL_WORK: usize = 1 << 19;

/// A slice and the width of the stretches that tasks take of it. What is left for the last one may be shorter.
pub type Stretches<'a, T> = (&'a mut [T], usize);

/// Cuts each slice into a stretch for each task and runs `body(task, stretches)` for each, on the threads of the kernels (the
/// calling one where `work`, in multiply-adds, is little).
///
/// Where the tasks do not come out even, the first ones run one after another: there all threads work on the operations of one
/// task, and none waits for the last.
///
/// # Errors
/// [`Error::Length`] where a slice is longer than all stretches, and the error of the first task that fails.
pub fn for_each_stretch<T: Send, const N: usize>(
    tasks: usize,
    work: usize,
    mut slices: [Stretches<'_, T>; N],
    body: impl Fn(usize, [&mut [T]; N]) -> Result<()> + Sync,
) -> Result<()> {
    for (slice, width) in &slices {
        check_len("for_each_stretch", "a slice", slice, slice.len().min(tasks * width))?;
    }
    let threads = num_threads()?;
    let odd = if tasks > threads { tasks % threads } else { 0 };
    for task in 0..odd {
        let stretches = slices.each_mut().map(|(slice, width)| {
            let start = (task * *width).min(slice.len());
            let end = (start + *width).min(slice.len());
            &mut slice[start..end]
        });
        body(task, stretches)?;
    }
    let whole = slices.map(|(slice, width)| (slice.len(), slice.into_raw(), width));
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    Pool::for_work(work, PARALLEL_WORK)?.for_each(tasks - odd, |task| {
        let task = odd + task;
        let stretches = whole.map(|(len, slice, width)| {
            let start = (task * width).min(len);
            // SAFETY: within the slice, and apart from the stretches of all other tasks, each of which runs once; the slices are
            // borrowed for all of it.
            unsafe { <&mut [T]>::part(slice, start, width.min(len - start)) }
        });
        if let Err(error) = body(task, stretches) {
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
