//! The thread pool, and how work is cut for it.
//!
//! Work is cut by its shape only, never by the number of threads, and every task writes its own part
//! of the output; so the same input gives the same bits on any number of threads.

use std::env;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result, check_len};
use crate::workspace::with_scratch;

/// What [`set_num_threads`] chose, or 0 for the default.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Uses `threads` threads from the next kernel on; 0 goes back to the default.
pub fn set_num_threads(threads: usize) {
    CHOSEN.store(threads, Ordering::Relaxed);
}

/// The number of threads kernels may use: what [`set_num_threads`] chose, else the environment
/// variables `KASOKU_NUM_THREADS`, `RAYON_NUM_THREADS` and `OMP_NUM_THREADS` in this order, else one for each CPU.
///
/// # Errors
/// [`Error::Threads`] where `KASOKU_NUM_THREADS` is not a positive number.
pub fn num_threads() -> Result<usize> {
    static DEFAULT: OnceLock<Result<usize>> = OnceLock::new();
    match CHOSEN.load(Ordering::Relaxed) {
        0 => DEFAULT.get_or_init(|| default_threads(|name| env::var(name).ok())).clone(),
        threads => Ok(threads),
    }
}

fn default_threads(variable: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let positive = |text: &str| text.trim().parse().ok().filter(|&threads: &usize| threads > 0);
    if let Some(text) = variable("KASOKU_NUM_THREADS").filter(|text| !text.is_empty()) {
        return positive(&text).ok_or_else(|| {
            Error::Threads(format!("KASOKU_NUM_THREADS is {text:?}, expected a positive number"))
        });
    }
    // Other programs' variables: what does not parse is theirs to complain about. OpenMP allows a
    // list, one number for each level of nesting.
    let others = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"];
    let from_others = others
        .iter()
        .find_map(|name| positive(variable(name)?.split(',').next().unwrap_or_default()));
    Ok(from_others.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)))
}

/// A pool of one process and one size, in a list that only grows: pools of a size used before are
/// found again, and a forked child (whose parent's threads it did not inherit) builds its own.
struct Entry {
    process: u32,
    threads: usize,
    pool: ThreadPool,
    next: *mut Entry,
}

/// The list's head. Lock-free, since a child forked while a lock was held could never take it.
static POOLS: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

fn find(mut at: *mut Entry, process: u32, threads: usize) -> Option<&'static Entry> {
    // SAFETY: entries are leaked boxes, never freed and never changed once they are in the list.
    while let Some(entry) = unsafe { at.as_ref() } {
        if (entry.process, entry.threads) == (process, threads) {
            return Some(entry);
        }
        at = entry.next;
    }
    None
}

fn pool(threads: usize) -> Result<&'static ThreadPool> {
    let process = std::process::id();
    let mut head = POOLS.load(Ordering::Acquire);
    if let Some(entry) = find(head, process, threads) {
        return Ok(&entry.pool);
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("kasoku-{index}"))
        .build()
        .map_err(|error| Error::Threads(format!("cannot start {threads} threads: {error}")))?;
    let mut entry = Box::new(Entry { process, threads, pool, next: head });
    loop {
        let new = Box::into_raw(entry);
        match POOLS.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: in the list now, so never freed.
            Ok(_) => return Ok(unsafe { &(*new).pool }),
            Err(current) => head = current,
        }
        // SAFETY: not in the list, so still ours alone.
        entry = unsafe { Box::from_raw(new) };
        // Another thread was faster: perhaps with the very same pool.
        if let Some(entry) = find(head, process, threads) {
            return Ok(&entry.pool);
        }
        entry.next = head;
    }
}

/// The way to run tasks, taken once at a kernel's border.
#[derive(Clone, Copy)]
pub(crate) struct Pool {
    /// None for the calling thread alone.
    threads: Option<&'static ThreadPool>,
}

impl Pool {
    /// The pool for `work` (multiply-adds, or elements touched): the calling thread where that is below `threshold`.
    pub(crate) fn for_work(work: usize, threshold: usize) -> Result<Self> {
        let threads = num_threads()?;
        if threads == 1 || work < threshold { Ok(Self::SERIAL) } else { Self::of(threads) }
    }

    /// Whether there is more than the calling thread.
    pub(crate) fn is_parallel(self) -> bool {
        self.threads.is_some()
    }

    /// The calling thread.
    pub(crate) const SERIAL: Self = Self { threads: None };

    fn of(threads: usize) -> Result<Self> {
        Ok(Self { threads: Some(pool(threads)?) })
    }

    /// Runs `body(task)` for each of `0..tasks`.
    pub(crate) fn for_each(self, tasks: usize, body: impl Fn(usize) + Sync) {
        self.for_each_part(Range { start: 0, end: tasks }, 1, |task, _| body(task));
    }

    /// Cuts `data` into parts of `part_len` units and runs `body(index, part)` for each.
    pub(crate) fn for_each_part<P: Parts>(
        self,
        data: P,
        part_len: usize,
        body: impl Fn(usize, P) + Sync,
    ) {
        let part_len = part_len.max(1);
        let parts = data.len().div_ceil(part_len);
        match self.threads {
            Some(pool) if parts > 1 => {
                let run = || run_parallel(data, part_len, 0, parts, &body);
                // On a pool already, ours or the caller's own: stay there.
                if rayon::current_thread_index().is_some() { run() } else { pool.install(run) }
            }
            _ => run_serial(data, part_len, parts, &body),
        }
    }

    /// The sum of `body(part)` over the parts of `part_len` units, added in their order.
    pub(crate) fn sum_parts<P: Parts>(
        self,
        data: P,
        part_len: usize,
        body: impl Fn(P) -> f64 + Sync,
    ) -> f64 {
        let (units, part_len) = (data.len(), part_len.max(1));
        with_scratch::<f64, _>(units.div_ceil(part_len), |results| {
            let parts = (data, Results { results: &mut *results, units, part_len });
            self.for_each_part(parts, part_len, |_, (part, result)| {
                result.results[0] = body(part);
            });
            results.iter().sum()
        })
    }
}

/// One result for each part of `part_len` units.
struct Results<'a> {
    results: &'a mut [f64],
    units: usize,
    part_len: usize,
}

impl Parts for Results<'_> {
    fn len(&self) -> usize {
        self.units
    }

    fn split(self, at: usize) -> (Self, Self) {
        let Self { results, units, part_len } = self;
        let (left, right) = results.split_at_mut(at.div_ceil(part_len));
        (
            Self { results: left, units: at, part_len },
            Self { results: right, units: units - at, part_len },
        )
    }
}

/// Cuts each slice into `tasks` stretches of its length and runs `body(task, stretches)` for each, on the threads of the kernels
/// (the calling one where `work`, in multiply-adds, is little). What `body` calls may use the same threads.
///
/// # Errors
/// [`Error::Length`] where a slice does not hold `tasks` stretches, and the error of the first task that fails.
pub fn for_each_stretch<T: Send, const N: usize>(
    tasks: usize,
    work: usize,
    slices: [(&mut [T], usize); N],
    body: impl Fn(usize, [&mut [T]; N]) -> Result<()> + Sync,
) -> Result<()> {
    /// Multiply-adds below which waking a thread costs more than it saves.
    const PARALLEL_WORK: usize = 1 << 20;
    for (slice, width) in &slices {
        check_len("for_each_stretch", "a slice", slice, tasks * width)?;
    }
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let rows = slices.map(|(slice, width)| Rows::new(slice, tasks, width));
    let run = |task: usize, stretches: [&mut [T]; N]| {
        if let Err(error) = body(task, stretches) {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(earlier, _)| task < *earlier) {
                *failed = Some((task, error));
            }
        }
    };
    Pool::for_work(work, PARALLEL_WORK)?.for_each_part(
        (rows, Range { start: 0, end: tasks }),
        1,
        |task, (rows, _)| {
            run(task, rows.map(|row| row.data));
        },
    );
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn run_serial<P: Parts>(
    mut data: P,
    part_len: usize,
    parts: usize,
    body: &(impl Fn(usize, P) + Sync),
) {
    for index in 0..parts {
        let units = part_len.min(data.len());
        let (part, rest) = data.split(units);
        body(index, part);
        data = rest;
    }
}

/// Halves the parts until one is left; rayon steals the halves nobody has begun.
fn run_parallel<P: Parts>(
    data: P,
    part_len: usize,
    first: usize,
    parts: usize,
    body: &(impl Fn(usize, P) + Sync),
) {
    if parts == 1 {
        return body(first, data);
    }
    let half = parts / 2;
    let (left, right) = data.split(half * part_len);
    rayon::join(
        || run_parallel(left, part_len, first, half, body),
        || run_parallel(right, part_len, first + half, parts - half, body),
    );
}

/// Something that can be cut in two at a unit: slices, rows, and tuples or arrays of them.
pub(crate) trait Parts: Send + Sized {
    /// Units that are left.
    fn len(&self) -> usize;
    /// The first `at` units, and the others.
    fn split(self, at: usize) -> (Self, Self);
}

/// The numbers `start..end`.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Parts for Range {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn split(self, at: usize) -> (Self, Self) {
        let middle = self.start + at;
        (Self { end: middle, ..self }, Self { start: middle, ..self })
    }
}

impl<T: Sync> Parts for &[T] {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl<T: Send> Parts for &mut [T] {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

/// A slice cut only between rows of `width` units. The slice holds `rows` whole rows; `width` may be 0.
pub(crate) struct Rows<P> {
    pub(crate) data: P,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl<P: Parts> Rows<P> {
    pub(crate) fn new(data: P, rows: usize, width: usize) -> Self {
        debug_assert_eq!(data.len(), rows * width);
        Self { data, rows, width }
    }
}

impl<P: Parts> Parts for Rows<P> {
    fn len(&self) -> usize {
        self.rows
    }

    fn split(self, at: usize) -> (Self, Self) {
        let width = self.width;
        let (left, right) = self.data.split(at * width);
        (Self { data: left, rows: at, width }, Self { data: right, rows: self.rows - at, width })
    }
}

impl<P: Parts, const N: usize> Parts for [P; N] {
    /// Of the first; the others have the same. An empty array has none.
    fn len(&self) -> usize {
        self.first().map_or(0, P::len)
    }

    fn split(self, at: usize) -> (Self, Self) {
        let mut rights = [const { None }; N];
        let mut index = 0;
        let lefts = self.map(|part| {
            let (left, right) = part.split(at);
            rights[index] = Some(right);
            index += 1;
            left
        });
        (lefts, rights.map(|right| right.expect("one for each left")))
    }
}

macro_rules! impl_tuple {
    ($($part:ident $right:ident $index:tt),*) => {
        impl<$($part: Parts),*> Parts for ($($part,)*) {
            /// Of the first; the others have the same.
            fn len(&self) -> usize {
                self.0.len()
            }

            fn split(self, at: usize) -> (Self, Self) {
                $(let ($part, $right) = self.$index.split(at);)*
                (($($part,)*), ($($right,)*))
            }
        }
    };
}

#[allow(non_snake_case)] // the macro names its variables after their types
mod tuples {
    use super::Parts;
    impl_tuple!(A a 0, B b 1);
    impl_tuple!(A a 0, B b 1, C c 2);
    impl_tuple!(A a 0, B b 1, C c 2, D d 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let with = |variables: &'static [(&str, &str)]| {
            default_threads(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(with(&[("KASOKU_NUM_THREADS", "3"), ("OMP_NUM_THREADS", "5")]), Ok(3));
        assert_eq!(with(&[("RAYON_NUM_THREADS", "4"), ("OMP_NUM_THREADS", "5")]), Ok(4));
        assert_eq!(with(&[("RAYON_NUM_THREADS", "x"), ("OMP_NUM_THREADS", "5,2")]), Ok(5));
        assert!(with(&[]).unwrap() >= 1);
        for bad in ["0", "-1", "many"] {
            let error = default_threads(|name| (name == "KASOKU_NUM_THREADS").then(|| bad.into()));
            assert!(error.unwrap_err().to_string().contains(bad));
        }
    }

    #[test]
    fn parts_cover_the_data_once_in_order() {
        for threads in [1, 2, 5] {
            let mut data = vec![0usize; 1003];
            let mut rows = vec![0usize; 1003 * 3];
            let parts = (data.as_mut_slice(), Rows::new(rows.as_mut_slice(), 1003, 3));
            Pool::of(threads).unwrap().for_each_part(parts, 10, |index, (part, rows)| {
                assert_eq!(rows.data.len(), part.len() * 3);
                part.iter_mut().for_each(|x| *x += index + 1);
                rows.data.fill(index + 1);
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x == i / 10 + 1));
            assert!(rows.iter().enumerate().all(|(i, &x)| x == i / 30 + 1));
        }
    }

    #[test]
    fn pools_of_a_size_are_built_once() {
        assert!(ptr::eq(pool(2).unwrap(), pool(2).unwrap()));
        assert!(!ptr::eq(pool(2).unwrap(), pool(3).unwrap()));
    }
}
