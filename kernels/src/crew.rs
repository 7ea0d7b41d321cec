//! Threads that share the tasks of one kernel with the thread that calls it.
//!
//! The products of the book's smaller networks last a tenth of a millisecond, and a sleeping thread takes half of that to
//! wake. So helpers stay awake for a while after each job, the caller works too and never waits for one that is still
//! asleep, and a job too short to wake anybody for runs on whoever is awake. (A pool for general use, such as rayon's, does
//! none of the three: two threads multiplied 100 × 784 by 784 × 100 more slowly than one.)

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::mem::transmute;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a helper waits for the next job before it sleeps: longer than what a Python program does between two layers.
const AWAKE: Duration = Duration::from_micros(300);

thread_local! {
    /// Whether this thread is at work on a task.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is at work on a job's task: then the crew is busy, and what the task calls stays on its thread.
pub(crate) fn at_work() -> bool {
    AT_WORK.get()
}

/// How much a job takes.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum Length {
    /// Helpers who sleep are not woken for it.
    Short,
    Long,
    /// Longer than a time slice of the operating system: worth sharing even where members are interrupted.
    VeryLong,
}

/// How often the caller looks for helpers that are still at work before it sleeps: tens of microseconds, about a task.
const LOOKS: usize = 2000;

/// One job at a time, its tasks claimed one by one by the caller and the helpers that are there.
pub(crate) struct Crew {
    /// Whether some thread has a job here. Another one that comes meanwhile runs its job alone: it is a core's worth of work by
    /// itself.
    busy: AtomicBool,
    /// Who may touch the job: an epoch, [`OPEN`], and the number of helpers inside.
    gate: AtomicU64,
    /// Written by the caller while the gate is closed and nobody is inside; read by the helpers inside.
    job: UnsafeCell<Job>,
    /// Each member begins with the tasks of a range of its own (the same ones at each call, so that they stay in its cache) and
    /// then takes what the others have left.
    ranges: Box<[Claims]>,
    helpers: Box<[Helper]>,
    /// A caller that sleeps until the last helper has left.
    waiting: Mutex<Option<Thread>>,
    /// For the caller that has made the crew busy.
    pace: UnsafeCell<Pace>,
    /// What a helper's task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: the job and the pace are all that is not Sync; the gate and `busy` say who may touch them.
unsafe impl Sync for Crew {}

#[derive(Clone, Copy)]
struct Job {
    tasks: usize,
    /// Lives in truth until the caller has closed the gate and seen everybody leave.
    body: &'static Body<'static>,
}

type Body<'a> = dyn Fn(usize) + Sync + 'a;

/// The next task of a range, in a cache line (or the two that are fetched together) of its own.
#[repr(align(128))]
struct Claims(AtomicUsize);

#[derive(Default)]
struct Helper {
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
}

const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const EPOCH: u64 = OPEN << 1;

impl Crew {
    /// A crew of `members`, the caller included, whose helpers live as long as the process.
    fn start(members: usize) -> Result<&'static Self> {
        let error = |error: &dyn std::fmt::Display| {
            Error::Threads(format!("cannot start {members} threads: {error}"))
        };
        if members as u64 > INSIDE {
            return Err(error(&format_args!("expected at most {INSIDE}")));
        }
        let crew: &'static Self = Box::leak(Box::new(Self {
            busy: AtomicBool::new(false),
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(Job { tasks: 0, body: &|_| {} }),
            ranges: (0..members).map(|_| Claims(AtomicUsize::new(0))).collect(),
            helpers: (1..members).map(|_| Helper::default()).collect(),
            waiting: Mutex::new(None),
            pace: UnsafeCell::new(Pace::new(Instant::now())),
            panic: Mutex::new(None),
        }));
        // Where there are more members than cores, one that waits awake keeps another from working.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let awake = if members <= cores { AWAKE } else { Duration::ZERO };
        for (index, helper) in crew.helpers.iter().enumerate() {
            let thread = thread::Builder::new()
                .name(format!("kasoku-{}", index + 1))
                .spawn(move || crew.help(index, awake))
                .map_err(|e| error(&e))?;
            helper.thread.get_or_init(|| thread.thread().clone());
        }
        Ok(crew)
    }

    /// Runs `body(task)` for each of `0..tasks`, on the calling thread and the helpers that come.
    pub(crate) fn run(&self, tasks: usize, length: Length, body: &Body<'_>) {
        if tasks < 2 || self.busy.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(body);
        }
        let _free = Free(&self.busy);
        // SAFETY: `busy` is ours, and nobody else looks at the pace.
        let pace = unsafe { &mut *self.pace.get() };
        let start = Instant::now();
        if start < pace.alone_until && length < Length::VeryLong {
            return (0..tasks).for_each(body);
        }
        // SAFETY: only the lifetime changes, and nobody looks at the body once `Closing` has been dropped, in this function.
        let lasting = unsafe { transmute::<&Body<'_>, &'static Body<'static>>(body) };
        // SAFETY: `busy` is ours, so no other caller is here; the gate is closed and nobody inside, as the last caller left it.
        unsafe { *self.job.get() = Job { tasks, body: lasting } };
        for (member, claims) in self.ranges.iter().enumerate() {
            claims.0.store(self.range_start(member, tasks), Ordering::Relaxed);
        }
        let closing = Closing(self);
        self.gate.fetch_add(EPOCH | OPEN, Ordering::SeqCst);
        if pace.is_pressing(start) || length > Length::Short {
            for helper in self.helpers.iter().take(tasks - 1) {
                if helper.asleep.load(Ordering::SeqCst)
                    && helper.asleep.swap(false, Ordering::SeqCst)
                    && let Some(thread) = helper.thread.get()
                {
                    thread.unpark();
                }
            }
        }
        let (mut shortest, mut longest, mut count) = (Duration::MAX, Duration::ZERO, 0);
        let mut begin = Instant::now();
        self.work(0, tasks, |task| {
            body(task);
            let end = Instant::now();
            (shortest, longest) = (shortest.min(end - begin), longest.max(end - begin));
            count += 1;
            begin = end;
        });
        let end = Instant::now();
        pace.last_end = end;
        drop(closing);
        // What is left when there is nothing left to claim is a task for each helper. One task alone does not tell how long
        // they usually are.
        let usual = if count > 1 { shortest } else { shortest.min(Pace::TASK) };
        let interrupted = longest.max(end.elapsed()) > usual * 3 + Pace::PATIENCE;
        if interrupted && length < Length::VeryLong {
            pace.slow_down();
        }
    }

    fn range_start(&self, member: usize, tasks: usize) -> usize {
        tasks * member / self.ranges.len()
    }

    /// Runs tasks until there is nothing left to claim.
    fn work(&self, member: usize, tasks: usize, mut run: impl FnMut(usize)) {
        let members = self.ranges.len();
        let _at_work = AtWork::begin();
        for range in (member..members).chain(0..member) {
            let end = self.range_start(range + 1, tasks);
            // Relaxed: the gate orders what tasks wrote; here only each number must be given out once.
            let claim = || self.ranges[range].0.fetch_add(1, Ordering::Relaxed);
            let mut task = claim();
            while task < end {
                run(task);
                task = claim();
            }
        }
    }

    /// A helper's life.
    fn help(&self, index: usize, awake: Duration) {
        let helper = &self.helpers[index];
        let mut seen = 0;
        loop {
            let gate = self.wait(helper, seen, awake);
            // The gate may have closed, or another helper entered: then look again.
            if self
                .gate
                .compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            seen = gate & !INSIDE;
            // SAFETY: inside, so the job was written before the gate opened, and it lives until we have left.
            let Job { tasks, body } = unsafe { *self.job.get() };
            if let Err(payload) =
                catch_unwind(AssertUnwindSafe(|| self.work(index + 1, tasks, body)))
            {
                *lock(&self.panic) = Some(payload);
            }
            let gate = self.gate.fetch_sub(1, Ordering::SeqCst) - 1;
            if gate & (OPEN | INSIDE) == 0
                && let Some(caller) = lock(&self.waiting).take()
            {
                caller.unpark();
            }
        }
    }

    /// The gate, once it is open to a job other than the one `seen`.
    fn wait(&self, helper: &Helper, seen: u64, awake: Duration) -> u64 {
        let is_open = |gate: u64| gate & OPEN != 0 && gate & !INSIDE != seen;
        loop {
            let start = Instant::now();
            loop {
                for _ in 0..64 {
                    let gate = self.gate.load(Ordering::Relaxed);
                    if is_open(gate) {
                        return gate;
                    }
                    spin_loop();
                }
                if start.elapsed() >= awake {
                    break;
                }
            }
            // Either the caller sees that we sleep, or we see that it has opened the gate.
            helper.asleep.store(true, Ordering::SeqCst);
            if is_open(self.gate.load(Ordering::SeqCst)) {
                helper.asleep.store(false, Ordering::SeqCst);
            } else {
                thread::park();
            }
        }
    }
}

/// What these mutexes hold is whole at any time, after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is a core for each member. Where other threads want them too, a member may be interrupted in the middle of a
/// task for a whole time slice, 4 ms, while the others wait; those of OpenBLAS, which wait awake for 0.1 s after each of
/// NumPy's products, are the most frequent case. Then the caller works alone for a while, and for longer each time it
/// happens again.
struct Pace {
    alone_until: Instant,
    pause: Duration,
    last_end: Instant,
    /// Jobs that followed each other so closely that a helper that had the one before is still awake.
    in_a_row: usize,
}

impl Pace {
    const SHORTEST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(128);
    /// After so long without an interruption the next one counts as the first.
    const FORGOTTEN: Duration = Duration::from_millis(100);
    /// A long task, where there is none to compare with.
    const TASK: Duration = Duration::from_millis(1);
    /// How much longer than others a task may take.
    const PATIENCE: Duration = Duration::from_micros(500);

    /// A short job alone is not worth waking anybody; after so many in a row the next ones are shared.
    const ROW: usize = 8;

    fn new(now: Instant) -> Self {
        Self { alone_until: now, pause: Self::SHORTEST, last_end: now, in_a_row: 0 }
    }

    /// Whether short jobs come so closely that helpers who sleep should be woken for them.
    fn is_pressing(&mut self, now: Instant) -> bool {
        self.in_a_row = if now - self.last_end < AWAKE { self.in_a_row + 1 } else { 0 };
        self.in_a_row % Self::ROW == Self::ROW - 1
    }

    fn slow_down(&mut self) {
        let now = Instant::now();
        let again = now < self.alone_until + Self::FORGOTTEN;
        self.pause = if again { (self.pause * 2).min(Self::LONGEST) } else { Self::SHORTEST };
        self.alone_until = now + self.pause;
    }
}

/// Marks the thread as at work until it is dropped, after a panic as well. Holds what it was before.
struct AtWork(bool);

impl AtWork {
    fn begin() -> Self {
        Self(AT_WORK.replace(true))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.set(self.0);
    }
}

/// Clears the flag when it is dropped, after a panic as well.
struct Free<'a>(&'a AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Ends a job when it is dropped, after a panic as well: closes the gate and waits for those inside.
struct Closing<'a>(&'a Crew);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let Self(crew) = self;
        crew.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let anybody = || crew.gate.load(Ordering::SeqCst) & INSIDE != 0;
        let mut looks = 0;
        while anybody() {
            looks += 1;
            if looks < LOOKS {
                spin_loop();
                continue;
            }
            // Asleep, we leave our core to a helper that has been interrupted on its own.
            *lock(&crew.waiting) = Some(thread::current());
            if anybody() {
                thread::park();
            }
        }
        let payload = lock(&crew.panic).take();
        if let Some(payload) = payload
            && !thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

/// A crew of one process, in a list that only grows: crews of a size used before are found again, and a forked child
/// (whose parent's threads it did not inherit) starts its own.
struct Entry {
    process: u32,
    crew: &'static Crew,
    next: *mut Entry,
}

/// The list's head. Lock-free, since a child forked while a lock was held could never take it.
static CREWS: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

fn find(mut at: *mut Entry, process: u32, members: usize) -> Option<&'static Crew> {
    // SAFETY: entries are leaked boxes, never freed and never changed once they are in the list.
    while let Some(entry) = unsafe { at.as_ref() } {
        if entry.process == process && entry.crew.ranges.len() == members {
            return Some(entry.crew);
        }
        at = entry.next;
    }
    None
}

/// This process's crew of `members`, started at first use.
pub(crate) fn of(members: usize) -> Result<&'static Crew> {
    let process = std::process::id();
    let mut head = CREWS.load(Ordering::Acquire);
    if let Some(crew) = find(head, process, members) {
        return Ok(crew);
    }
    // Should another thread do the same at this moment, there will be two, one of which sleeps for good.
    let crew = Crew::start(members)?;
    let entry = Box::leak(Box::new(Entry { process, crew, next: head }));
    loop {
        match CREWS.compare_exchange(head, entry, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(crew),
            Err(current) => head = current,
        }
        entry.next = head;
    }
}

#[cfg(test)]
mod tests {
    use super::Length::{Long, Short, VeryLong};
    use super::*;

    #[test]
    fn each_task_runs_once_whoever_is_awake() {
        for members in [2, 3, 7] {
            let crew = of(members).unwrap();
            for (tasks, length) in [(0, Long), (1, Long), (2, Short), (5, Long), (1000, VeryLong)] {
                for round in 0..50 {
                    let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    crew.run(tasks, length, &|task| {
                        runs[task].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "{round}");
                }
            }
        }
    }

    #[test]
    fn jobs_within_jobs_and_beside_each_other_are_run() {
        let crew = of(3).unwrap();
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        crew.run(3, Long, &|_| {
                            crew.run(5, Long, &|_| {
                                count.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4 * 100 * 3 * 5);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_crew_usable() {
        let crew = of(2).unwrap();
        for bad in 0..8 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                crew.run(8, Long, &|task| assert_ne!(task, bad));
            }));
            assert!(caught.is_err());
            crew.run(8, Long, &|_| {});
        }
    }

    #[test]
    fn crews_of_a_size_are_started_once() {
        assert!(ptr::eq(of(2).unwrap(), of(2).unwrap()));
        assert!(!ptr::eq(of(2).unwrap(), of(3).unwrap()));
    }
}
