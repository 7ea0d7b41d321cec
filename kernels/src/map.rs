//! Elementwise kernels: one pass over any number of slices of equal length.

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::parallel::Pool;
use crate::simd::Vector;

/// What happens to one register of each slice: `OUT` slices are read and written, `IN` only read.
/// (A compiler drops the reads of an output whose old value is not used.)
pub(crate) trait Map<T: Element, const OUT: usize, const IN: usize>: Sync {
    fn map<S: Simd>(
        &self,
        simd: S,
        outputs: [Vector<T, S>; OUT],
        inputs: [Vector<T, S>; IN],
    ) -> [Vector<T, S>; OUT];

    /// The same of two registers of each slice that follow each other: for what is faster in
    /// turns ([`Pair`](crate::registers::Pair)).
    #[inline(always)]
    fn map_pair<S: Simd>(
        &self,
        simd: S,
        [outputs, next_outputs]: [[Vector<T, S>; OUT]; 2],
        [inputs, next_inputs]: [[Vector<T, S>; IN]; 2],
    ) -> [[Vector<T, S>; OUT]; 2] {
        [self.map(simd, outputs, inputs), self.map(simd, next_outputs, next_inputs)]
    }
}

/// Elements a task takes: 32 KiB of f32 a slice, so that a few slices stay in L2.
const PART_LEN: usize = 8 * 1024;

/// Below this many elements (over all slices) waking a thread costs more than the work.
const PARALLEL_LEN: usize = 32 * 1024;

/// Runs `op` over the slices, whose names are for the error where their lengths differ.
pub(crate) fn map<T: Element, const OUT: usize, const IN: usize>(
    name: &'static str,
    op: &impl Map<T, OUT, IN>,
    outputs: [(&'static str, &mut [T]); OUT],
    inputs: [(&'static str, &[T]); IN],
) -> Result<()> {
    let len = outputs[0].1.len();
    for (operand, slice) in &outputs {
        check_len(name, operand, slice, len)?;
    }
    for (operand, slice) in &inputs {
        check_len(name, operand, slice, len)?;
    }
    let arch = Arch::current()?;
    let pool = Pool::for_work(len * (OUT + IN), PARALLEL_LEN)?;
    let slices = (outputs.map(|(_, slice)| slice), inputs.map(|(_, slice)| slice));
    pool.for_each_part(slices, PART_LEN, |_, (outputs, inputs)| {
        arch.dispatch(MapPart { op, outputs, inputs });
    });
    Ok(())
}

struct MapPart<'a, T, Op, const OUT: usize, const IN: usize> {
    op: &'a Op,
    outputs: [&'a mut [T]; OUT],
    inputs: [&'a [T]; IN],
}

impl<T: Element, Op: Map<T, OUT, IN>, const OUT: usize, const IN: usize> WithSimd
    for MapPart<'_, T, Op, OUT, IN>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { op, mut outputs, inputs } = self;
        let len = outputs[0].len();
        let lanes = Vector::<T, S>::len();
        let whole = len - len % lanes;
        assert!(outputs.iter().all(|slice| slice.len() == len));
        assert!(inputs.iter().all(|slice| slice.len() == len));
        let to = outputs.each_mut().map(|slice| slice.as_mut_ptr());
        let from = inputs.map(|slice| slice.as_ptr());
        let old = to.map(<*mut T>::cast_const);
        let mut at = 0;
        while at + 2 * lanes <= whole {
            let next = at + lanes;
            // SAFETY: next + lanes <= whole <= the length of every slice.
            unsafe {
                let outputs = [load(simd, old, at), load(simd, old, next)];
                let inputs = [load(simd, from, at), load(simd, from, next)];
                let [results, next_results] = op.map_pair(simd, outputs, inputs);
                store(results, to, at);
                store(next_results, to, next);
            }
            at += 2 * lanes;
        }
        if at < whole {
            // SAFETY: at + lanes <= whole, as above.
            unsafe {
                store(op.map(simd, load(simd, old, at), load(simd, from, at)), to, at);
            }
        }
        if whole < len {
            let results = op.map(
                simd,
                outputs.each_ref().map(|slice| Vector::load_partial(simd, &slice[whole..])),
                inputs.map(|slice| Vector::load_partial(simd, &slice[whole..])),
            );
            for (slice, result) in outputs.iter_mut().zip(results) {
                result.store_partial(&mut slice[whole..]);
            }
        }
    }
}

/// A register of each slice.
///
/// # Safety
/// - Each of `slices` must be valid for reading a register of elements from `at` on.
#[inline(always)]
unsafe fn load<T: Element, S: Simd, const N: usize>(
    simd: S,
    slices: [*const T; N],
    at: usize,
) -> [Vector<T, S>; N] {
    // SAFETY: the caller's promise.
    slices.map(|slice| unsafe { Vector::load_ptr(simd, slice.add(at)) })
}

/// # Safety
/// - Each of `slices` must be valid for writing a register of elements from `at` on.
#[inline(always)]
unsafe fn store<T: Element, S: Simd, const N: usize>(
    registers: [Vector<T, S>; N],
    slices: [*mut T; N],
    at: usize,
) {
    for (register, slice) in registers.into_iter().zip(slices) {
        // SAFETY: the caller's promise.
        unsafe { register.store_ptr(slice.add(at)) };
    }
}
