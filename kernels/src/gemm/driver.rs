//! The loops around the macrokernel: JC, PC and IC of BLIS, with packing shared by all tasks.

use pulp::{Simd, WithSimd};

use super::blocking::Blocking;
use super::epilogue::{Accumulate, Bias, Epilogue, Finish, General, Store};
use super::macrokernel::{Block, Output};
use super::packing::{PanelSource, pack_panels, packed_len};
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::workspace::with_scratch;

/// Tasks that a block of C is cut into where its rows alone give fewer: enough to keep 4 cores even.
const MIN_TASKS: usize = 8;

/// A, still to be packed or packed before.
pub(crate) enum Left<'a, T, A> {
    Source(&'a A),
    /// All of A, by [`pack_left`].
    Packed(&'a [T]),
}

/// Elements that [`pack_left`] writes for A of m×k.
pub(crate) fn packed_left_len<T: Element>(arch: Arch, m: usize, k: usize) -> usize {
    packed_len(m, Blocking::of::<T>(arch, k).mr, k)
}

/// Packs A of m×k, for any number of products: a block of panels for each block of depth.
pub(crate) fn pack_left<T: Element, A: PanelSource<T>>(
    arch: Arch,
    pool: Pool,
    a: &A,
    [m, k]: [usize; 2],
    panels: &mut [T],
) {
    let Blocking { mr, kc, .. } = Blocking::of::<T>(arch, k);
    for start in (0..k).step_by(kc) {
        let depth = start..k.min(start + kc);
        let block = &mut panels[packed_len(m, mr, depth.start)..packed_len(m, mr, depth.end)];
        pack_panels(arch, pool, a, block, mr, 0..m, depth);
    }
}

/// C = relu(α·A·B + β·C + bias), where `a` gives rows of A and `b` columns of B.
///
/// # Safety
/// - `c` must be valid for m×n elements, for this call alone, and no two of them the same.
/// - A bias must have m or n elements.
pub(crate) unsafe fn multiply<T: Element, A: PanelSource<T>, B: PanelSource<T>>(
    arch: Arch,
    pool: Pool,
    [m, n, k]: [usize; 3],
    scale: [T; 2],
    a: Left<'_, T, A>,
    b: &B,
    c: Output<T>,
    epilogue: Epilogue<'_, T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let Blocking { mr, nr, mc, nc, kc } = Blocking::of::<T>(arch, k);
    if let Bias::PerColumn(bias) = epilogue.bias
        && bias.len() % nr != 0
    {
        return with_scratch(bias.len().next_multiple_of(nr), |padded| {
            padded[..n].copy_from_slice(bias);
            padded[n..].fill(T::zero());
            let epilogue = Epilogue { bias: Bias::PerColumn(padded), ..epilogue };
            // SAFETY: the caller's promises; the bias is only longer.
            unsafe { multiply(arch, pool, [m, n, k], scale, a, b, c, epilogue) }
        });
    }
    let [alpha, beta] = scale;
    let a_len = if matches!(a, Left::Source(_)) { packed_len(m, mr, kc) } else { 0 };
    let row_blocks = m.div_ceil(mc);
    with_scratch(a_len + packed_len(n.min(nc), nr, kc), |scratch| {
        let (a_scratch, b_scratch) = scratch.split_at_mut(a_len);
        for col in (0..n).step_by(nc) {
            let cols = nc.min(n - col);
            // Depth 0 still has one block: C = β·C + bias.
            for start in (0..k.max(1)).step_by(kc) {
                let depth = start..k.min(start + kc);
                let b_panels = &mut b_scratch[..packed_len(cols, nr, depth.len())];
                pack_panels(arch, pool, b, b_panels, nr, col..col + cols, depth.clone());
                let a_panels = match a {
                    Left::Packed(all) => {
                        &all[packed_len(m, mr, depth.start)..packed_len(m, mr, depth.end)]
                    }
                    Left::Source(a) => {
                        let panels = &mut a_scratch[..packed_len(m, mr, depth.len())];
                        pack_panels(arch, pool, a, panels, mr, 0..m, depth.clone());
                        &*panels
                    }
                };
                let block = Block {
                    a: a_panels,
                    b: b_panels,
                    depth: depth.len(),
                    rows: m,
                    cols,
                    row: 0,
                    col,
                    c,
                };
                let beta = if depth.start == 0 { beta } else { T::one() };
                let epilogue = if depth.end == k { epilogue } else { Epilogue::default() };
                let general = General { alpha, beta, epilogue };
                let plain =
                    alpha == T::one() && matches!(epilogue.bias, Bias::None) && !epilogue.relu;
                let grid = Grid { mr, nr, mc, row_blocks };
                // SAFETY: the caller's promises; the bias is padded above.
                unsafe {
                    if plain && beta == T::zero() {
                        grid.compute(arch, pool, block, &Store);
                    } else if plain && beta == T::one() {
                        grid.compute(arch, pool, block, &Accumulate);
                    } else {
                        grid.compute(arch, pool, block, &general);
                    }
                }
            }
        }
    })
}

/// How a block of C is cut into tasks: by blocks of rows, and by groups of panels where those are few.
struct Grid {
    mr: usize,
    nr: usize,
    mc: usize,
    row_blocks: usize,
}

impl Grid {
    /// # Safety
    /// As [`Block::compute`], for all of `block`.
    unsafe fn compute<T: Element, F: Finish<T>>(
        &self,
        arch: Arch,
        pool: Pool,
        block: Block<'_, T>,
        finish: &F,
    ) {
        let panels = block.cols.div_ceil(self.nr);
        let groups = MIN_TASKS.div_ceil(self.row_blocks).min(panels);
        let group_cols = panels.div_ceil(groups) * self.nr;
        let groups = block.cols.div_ceil(group_cols);
        pool.for_each(self.row_blocks * groups, |task| {
            let row = task / groups * self.mc;
            let col = task % groups * group_cols;
            let part = Block {
                a: &block.a[packed_len(row, self.mr, block.depth)..],
                b: &block.b[packed_len(col, self.nr, block.depth)..],
                rows: self.mc.min(block.rows - row),
                cols: group_cols.min(block.cols - col),
                row: block.row + row,
                col: block.col + col,
                ..block
            };
            // SAFETY: the caller's promises; the parts are disjoint.
            arch.dispatch(unsafe { Compute::new(part, finish) });
        });
    }
}

/// A block to compute, as a task takes it.
struct Compute<'a, T, F> {
    block: Block<'a, T>,
    finish: &'a F,
}

impl<'a, T, F> Compute<'a, T, F> {
    /// # Safety
    /// As [`Block::compute`].
    unsafe fn new(block: Block<'a, T>, finish: &'a F) -> Self {
        Self { block, finish }
    }
}

impl<T: Element, F: Finish<T>> WithSimd for Compute<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: promised in `new`.
        unsafe { self.block.compute(simd, self.finish) }
    }
}
