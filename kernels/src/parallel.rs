//! How work is cut for the threads.
//!
//! Work is cut by its shape only, never by the number of threads, and every task writes its own part
//! of the output; so the same input gives the same bits on any number of threads.

use crate::crew::{self, Crew, Length};
use crate::error::Result;
use crate::threads::num_threads;
use crate::workspace::with_scratch;

/// A job for whose sake sleeping threads are woken is this many times as long as one that is shared with those awake.
const LONG: usize = 4;
/// A job of so many times is worth its helpers even where other programs interrupt them: about 5 ms.
const VERY_LONG: usize = 256;

/// The way to run tasks, taken once at a kernel's border.
#[derive(Clone, Copy)]
pub(crate) struct Pool {
    /// None for the calling thread alone.
    crew: Option<&'static Crew>,
    length: Length,
}

impl Pool {
    /// The calling thread.
    pub(crate) const SERIAL: Self = Self { crew: None, length: Length::Short };

    /// The pool for `work` (multiply-adds, or elements touched): the calling thread where that is below `threshold`, or where it
    /// is at work on a task already.
    pub(crate) fn for_work(work: usize, threshold: usize) -> Result<Self> {
        Self::for_short_work(work, threshold, threshold)
    }

    /// As [`Pool::for_work`], for work that from `least` on is worth sharing with threads that are awake.
    pub(crate) fn for_short_work(work: usize, least: usize, threshold: usize) -> Result<Self> {
        let threads = num_threads()?;
        if threads == 1 || work < least || crew::at_work() {
            return Ok(Self::SERIAL);
        }
        let length = match work / threshold {
            0..LONG => Length::Short,
            LONG..VERY_LONG => Length::Long,
            _ => Length::VeryLong,
        };
        Ok(Self { crew: Some(crew::of(threads)?), length })
    }

    /// Whether there is more than the calling thread.
    pub(crate) fn is_parallel(self) -> bool {
        self.crew.is_some()
    }

    /// Runs `body(task)` for each of `0..tasks`.
    pub(crate) fn for_each(self, tasks: usize, body: impl Fn(usize) + Sync) {
        match self.crew {
            Some(crew) => crew.run(tasks, self.length, &body),
            None => (0..tasks).for_each(body),
        }
    }

    /// Cuts `data` into parts of `part_len` units and runs `body(index, part)` for each.
    pub(crate) fn for_each_part<P: Parts>(
        self,
        data: P,
        part_len: usize,
        body: impl Fn(usize, P) + Sync,
    ) {
        let (len, part_len) = (data.len(), part_len.max(1));
        let whole = data.into_raw();
        self.for_each(len.div_ceil(part_len), |index| {
            let from = index * part_len;
            // SAFETY: within the data, disjoint from the parts of all other tasks, each of which runs once; and over before
            // this function ends, for whose length the data is borrowed.
            let part = unsafe { P::part(whole, from, part_len.min(len - from)) };
            body(index, part);
        });
    }

    /// The sum of `body(part)` over the parts of `part_len` units, added in their order.
    pub(crate) fn sum_parts<P: Parts>(
        self,
        data: P,
        part_len: usize,
        body: impl Fn(P) -> f64 + Sync,
    ) -> f64 {
        with_scratch::<f64, _>(data.len().div_ceil(part_len.max(1)), |results| {
            let whole = results.into_raw();
            self.for_each_part(data, part_len, |index, part| {
                // SAFETY: there is a result for each part, and this is the only task of this one.
                let result = unsafe { <&mut [f64]>::part(whole, index, 1) };
                result[0] = body(part);
            });
            results.iter().sum()
        })
    }
}

/// Something that can be cut at any unit: slices, rows, and tuples or arrays of them.
pub(crate) trait Parts: Send + Sized {
    /// The whole, for tasks to take their parts of.
    type Raw: Copy + Sync;

    /// Units of the whole.
    fn len(&self) -> usize;

    fn into_raw(self) -> Self::Raw;

    /// `len` units from `from` on.
    ///
    /// # Safety
    /// - They must lie within the whole, which must still be borrowed.
    /// - No two parts that live at the same time may overlap.
    unsafe fn part(whole: Self::Raw, from: usize, len: usize) -> Self;
}

impl<T: Sync> Parts for &[T] {
    type Raw = Self;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn into_raw(self) -> Self {
        self
    }

    unsafe fn part(whole: Self, from: usize, len: usize) -> Self {
        &whole[from..][..len]
    }
}

/// Where a slice that tasks write to begins.
pub(crate) struct Start<T>(pub(crate) *mut T);

impl<T> Start<T> {
    /// Where element `index` is; a method, so that closures take the whole of it, not the pointer.
    pub(crate) fn at(self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

impl<T> Clone for Start<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Start<T> {}

// SAFETY: a task makes a slice of its own part of it, which is sent to it so to speak.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T: Send> Parts for &mut [T] {
    type Raw = Start<T>;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn into_raw(self) -> Start<T> {
        Start(self.as_mut_ptr())
    }

    unsafe fn part(Start(start): Start<T>, from: usize, len: usize) -> Self {
        // SAFETY: the caller's promises.
        unsafe { std::slice::from_raw_parts_mut(start.add(from), len) }
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
    type Raw = (P::Raw, usize);

    fn len(&self) -> usize {
        self.rows
    }

    fn into_raw(self) -> Self::Raw {
        (self.data.into_raw(), self.width)
    }

    unsafe fn part((data, width): Self::Raw, from: usize, len: usize) -> Self {
        // SAFETY: the caller's promises, in rows.
        Self { data: unsafe { P::part(data, from * width, len * width) }, rows: len, width }
    }
}

impl<P: Parts, const N: usize> Parts for [P; N] {
    type Raw = [P::Raw; N];

    /// Of the first; the others have the same. An empty array has none.
    fn len(&self) -> usize {
        self.first().map_or(0, P::len)
    }

    fn into_raw(self) -> Self::Raw {
        self.map(P::into_raw)
    }

    unsafe fn part(whole: Self::Raw, from: usize, len: usize) -> Self {
        // SAFETY: the caller's promises.
        whole.map(|whole| unsafe { P::part(whole, from, len) })
    }
}

macro_rules! impl_tuple {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Parts),*> Parts for ($($part,)*) {
            type Raw = ($($part::Raw,)*);

            /// Of the first; the others have the same.
            fn len(&self) -> usize {
                self.0.len()
            }

            fn into_raw(self) -> Self::Raw {
                ($(self.$index.into_raw(),)*)
            }

            unsafe fn part(whole: Self::Raw, from: usize, len: usize) -> Self {
                // SAFETY: the caller's promises.
                unsafe { ($($part::part(whole.$index, from, len),)*) }
            }
        }
    };
}
impl_tuple!(A 0, B 1);
impl_tuple!(A 0, B 1, C 2);
impl_tuple!(A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_data_once_in_order() {
        for threads in [2, 5] {
            let pool = Pool { crew: Some(crew::of(threads).unwrap()), length: Length::Long };
            let mut data = vec![0usize; 1003];
            let mut rows = vec![0usize; 1003 * 3];
            let parts = (data.as_mut_slice(), Rows::new(rows.as_mut_slice(), 1003, 3));
            pool.for_each_part(parts, 10, |index, (part, rows)| {
                assert_eq!(rows.data.len(), part.len() * 3);
                part.iter_mut().for_each(|x| *x += index + 1);
                rows.data.fill(index + 1);
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x == i / 10 + 1));
            assert!(rows.iter().enumerate().all(|(i, &x)| x == i / 30 + 1));
        }
    }
}
