//! Scratch memory: aligned to cache lines, kept by each thread, and only ever growing, so that a
//! warm kernel allocates nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

use crate::element::Element;

const ALIGN: usize = 64;

thread_local! {
    /// The buffers of this thread that nobody uses: a stack, since a task may be interrupted by
    /// another that needs scratch of its own.
    static FREE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
}

impl Buffer {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGN).expect("scratch within the address range")
    }

    /// `bytes` must not be 0. Zeroed, so that its contents are initialised from the start.
    fn new(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        assert!(bytes > 0);
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) });
        Self { start: start.unwrap_or_else(|| handle_alloc_error(layout)), bytes }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
    }
}

/// Runs `body` with `len` elements of scratch, aligned to 64 bytes. What they hold is left over
/// from earlier calls.
pub fn with_scratch<T: Element, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    let bytes = (len.max(1) * size_of::<T>()).next_multiple_of(ALIGN);
    let buffer = FREE.with_borrow_mut(|free| free.pop()).filter(|buffer| buffer.bytes >= bytes);
    // Grow by half at least, so that slowly rising sizes do not reallocate each time.
    let buffer = buffer.unwrap_or_else(|| Buffer::new(bytes.max(1 << 14).next_power_of_two()));
    // SAFETY: `buffer` is owned here for the whole call, aligned to 64, initialised (zeroed at
    // birth, later written only through this slice) and at least `len` elements long; any bits
    // are a valid f32 or f64.
    let scratch = unsafe { std::slice::from_raw_parts_mut(buffer.start.cast::<T>().as_ptr(), len) };
    let result = body(scratch);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}

/// [`with_scratch`] in parts of so many elements. All lie in one piece, the first aligned to 64 bytes.
pub(crate) fn with_scratch_in_parts<T: Element, R, const N: usize>(
    lens: [usize; N],
    body: impl FnOnce([&mut [T]; N]) -> R,
) -> R {
    with_scratch(lens.iter().sum(), |mut scratch| {
        body(lens.map(|len| {
            let (part, left) = std::mem::take(&mut scratch).split_at_mut(len);
            scratch = left;
            part
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_and_nested_scratch_is_separate() {
        with_scratch::<f32, _>(100, |outer| {
            outer.fill(1.0);
            with_scratch::<f64, _>(1000, |inner| {
                assert_eq!(inner.as_ptr() as usize % ALIGN, 0);
                inner.fill(2.0);
            });
            assert!(outer.iter().all(|&x| x == 1.0));
        });
    }

    #[test]
    fn a_warm_call_gets_the_same_memory() {
        let address = || with_scratch::<f32, _>(5000, |scratch| scratch.as_ptr() as usize);
        assert_eq!(address(), address());
    }
}
