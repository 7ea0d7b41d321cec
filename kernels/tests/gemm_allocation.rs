//! A warm matrix product allocates nothing. A test of its own, with an allocator that counts what each thread asks for: the
//! test harness has a thread, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kasoku_kernels::gemm::gemm;
use kasoku_kernels::{MatMut, MatRef, set_num_threads};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_product_allocates_nothing() {
    set_num_threads(1); // the product runs on this thread
    // In place, packed, and with B's columns contiguous.
    for ([m, n, k], turned) in
        [([32, 32, 32], false), ([100, 50, 784], false), ([90, 300, 300], true)]
    {
        let (a, b, mut c) = (vec![1f32; m * k], vec![1f32; k * n], vec![0f32; m * n]);
        let strides = if turned { [1, k as isize] } else { [n as isize, 1] };
        let mut product = || {
            let a = MatRef::new(&a, [m, k]).unwrap();
            let b = MatRef::strided(&b, 0, [k, n], strides).unwrap();
            gemm(1.0, a, b, 0.0, MatMut::new(&mut c, [m, n]).unwrap()).unwrap();
        };
        product();
        let before = ALLOCATIONS.get();
        (0..10).for_each(|_| product());
        assert_eq!(ALLOCATIONS.get(), before, "{m}×{n}×{k}");
    }
}
