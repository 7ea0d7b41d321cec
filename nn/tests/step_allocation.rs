//! A warm step of training allocates no array: activations, gradients and scratch are there from the first step on. What is left
//! are the headers of shared arrays and lists of layers. A test of its own, with an allocator that counts what each thread asks
//! for: the test harness has a thread, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kasoku_nn::kernels::set_num_threads;
use kasoku_nn::ndarray::{ArrayD, aview1};
use kasoku_nn::networks::{DeepConvNet, MultiLayerNet, Sequential, SimpleConvNet, TwoLayerNet};
use kasoku_nn::optimizers::Adam;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
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
fn a_warm_step_allocates_no_array() {
    const BATCH: usize = 100;
    let networks: [(&str, Sequential<f32>, [usize; 2]); 4] = [
        ("TwoLayerNet", TwoLayerNet::new(784, 50, 10).build(1).unwrap(), [32, 2048]),
        ("MultiLayerNet", MultiLayerNet::new(784, &[100; 4], 10).build(1).unwrap(), [32, 2048]),
        ("SimpleConvNet", SimpleConvNet::default().build(1).unwrap(), [32, 2048]),
        // Its dropouts run layer by layer, on copies of 100 × 50 and 100 × 10.
        ("DeepConvNet", DeepConvNet::default().build(1).unwrap(), [64, 65_536]),
    ];
    set_num_threads(1); // the step runs on this thread
    for (name, mut network, [allocations, bytes]) in networks {
        let x = ArrayD::from_elem(vec![BATCH, 1, 28, 28], 0.5).into_shared();
        let labels: Vec<usize> = (0..BATCH).map(|sample| sample % 10).collect();
        let mut adam = Adam::new(0.001, 0.0);
        let mut step = || network.train_step(x.clone(), aview1(&labels), &mut adam).unwrap();
        for _ in 0..3 {
            step();
        }
        let counted = || [ALLOCATIONS.get(), BYTES.get()];
        let before = counted();
        step();
        let after = counted();
        let found = [after[0] - before[0], after[1] - before[1]];
        assert!(found[0] <= allocations && found[1] <= bytes, "{name}: {found:?}");
    }
}
