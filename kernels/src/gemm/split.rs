//! Split-k: products whose C is too small to be cut for the threads, and whose depth is not. Its blocks are the tasks; their sums
//! are added in the blocks' order, as they are where one block follows the other, so the bits are the same.

use pulp::{Scalar, Simd, WithSimd};

use super::blocking::Blocking;
use super::driver::Product;
use super::epilogue::{Epilogue, General};
use super::leftover::AlongColumns;
use super::output::Output;
use super::packing::PanelSource;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::simd::Vector;
use crate::workspace::with_scratch;

/// Tiles of C at most.
const FEW_TILES: usize = 64;
/// Blocks of the depth at least.
const MANY_BLOCKS: usize = 4;

/// Whether C of `[m, n, k]` has few tiles, and many blocks of depth.
pub(super) fn is_tall([m, n, k]: [usize; 3], blocking: &Blocking) -> bool {
    let &Blocking { mr, nr, kc, .. } = blocking;
    m.div_ceil(mr) * n.div_ceil(nr) <= FEW_TILES && k.div_ceil(kc) >= MANY_BLOCKS
}

/// Computes C.
///
/// # Safety
/// As [`Product::compute`].
pub(super) unsafe fn compute<T: Element, A: PanelSource<T>, B: PanelSource<T>>(
    product: &Product<'_, T, A, B>,
    arch: Arch,
    pool: Pool,
    blocking: Blocking,
) {
    let Product { size: [m, n, k], c, finish, last, .. } = *product;
    let kc = blocking.kc;
    let cols = n + last.map_or(0, |last| last.b.cols());
    with_scratch(k.div_ceil(kc) * m * cols, |sums: &mut [T]| {
        pool.for_each_part(&mut *sums, m * cols, |block, sums| {
            let c = Output { start: sums.as_mut_ptr(), strides: [cols as isize, 1] };
            let finish = General::new(T::one(), T::zero(), Epilogue::default());
            let last = last.map(|last| AlongColumns { c: c.from(0, n), finish, ..last });
            let depth = block * kc..k.min((block + 1) * kc);
            let product = Product { c, finish, last, ..*product };
            // SAFETY: a row of m×cols elements of this task's own for each of C, and no bias.
            unsafe { product.compute_depth(arch, Pool::SERIAL, blocking, depth) };
        });
        arch.dispatch(AddBlocks { sums, c, size: [m, cols], finish });
    });
}

/// Finishes C with the sums of one block after the other.
struct AddBlocks<'a, T> {
    /// C's size for each block.
    sums: &'a [T],
    c: Output<T>,
    size: [usize; 2],
    finish: General<'a, T>,
}

impl<T: Element> WithSimd for AddBlocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, c, size: [rows, cols], finish } = self;
        let lanes = T::lanes::<S>();
        let in_registers = if c.strides[1] == 1 { cols - cols % lanes } else { 0 };
        let blocks = sums.len() / (rows * cols);
        for block in 0..blocks {
            let finish = finish.of_block(block == 0, block + 1 == blocks);
            for row in 0..rows {
                let sums = &sums[(block * rows + row) * cols..][..cols];
                // SAFETY: elements and registers within C's row, which the caller of `compute` promises, and the bias as well.
                unsafe {
                    for col in (0..in_registers).step_by(lanes) {
                        let (c, sums) = (c.at(row, col), Vector::load(simd, &sums[col..]));
                        finish.store(simd, sums, c, row, col);
                    }
                    for (col, &sum) in sums.iter().enumerate().skip(in_registers) {
                        let (c, sum) = (c.at(row, col), Vector::splat(Scalar::new(), sum));
                        finish.store(Scalar::new(), sum, c, row, col);
                    }
                }
            }
        }
    }
}
