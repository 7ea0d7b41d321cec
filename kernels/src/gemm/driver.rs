//! The loops around the macrokernel: JC, PC and IC of BLIS, with packing shared by all tasks.

use super::blocking::Blocking;
use super::epilogue::{Bias, Epilogue, General};
use super::macrokernel::{Block, Output};
use super::packing::{PanelSource, pack_panels, packed_len};
use super::panels::Packed;
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

/// Packs A of m×k, for any number of products: a block of panels for each block of depth. `panels` must hold
/// [`packed_len`] elements for panels of MR rows.
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

/// C = relu(α·A·B + β·C + bias).
pub(crate) struct Product<'a, T, A, B> {
    /// `[m, n, k]`.
    pub(crate) size: [usize; 3],
    /// Gives the rows of A.
    pub(crate) a: Left<'a, T, A>,
    /// Gives the columns of B.
    pub(crate) b: &'a B,
    pub(crate) c: Output<T>,
    pub(crate) finish: General<'a, T>,
}

impl<T: Element, A: PanelSource<T>, B: PanelSource<T>> Product<'_, T, A, B> {
    /// Computes C.
    ///
    /// # Safety
    /// - `c` must be valid for m×n elements, for this call alone, and no two of them the same.
    /// - A bias must have m elements (per row) or n (per column).
    pub(crate) unsafe fn compute(self, arch: Arch, pool: Pool) {
        let [m, n, k] = self.size;
        if m == 0 || n == 0 {
            return;
        }
        let blocking = Blocking::of::<T>(arch, k);
        match self.finish.epilogue.bias {
            Bias::PerColumn(bias) if bias.len() % blocking.nr != 0 => {
                with_scratch(n.next_multiple_of(blocking.nr), |padded| {
                    padded[..n].copy_from_slice(bias);
                    padded[n..].fill(T::zero());
                    let bias = Bias::PerColumn(&*padded);
                    let epilogue = Epilogue { bias, ..self.finish.epilogue };
                    // SAFETY: the caller's promises, and the bias is padded now.
                    unsafe { self.blocks(arch, pool, blocking, epilogue) }
                });
            }
            // SAFETY: the caller's promises, and the bias needs no padding.
            _ => unsafe { self.blocks(arch, pool, blocking, self.finish.epilogue) },
        }
    }

    /// The loops JC and PC: packs a block of B and one of A, and hands them to the tasks.
    ///
    /// # Safety
    /// As [`Product::compute`], and a bias per column must be padded to a whole number of tiles.
    unsafe fn blocks(&self, arch: Arch, pool: Pool, blocking: Blocking, epilogue: Epilogue<'_, T>) {
        let [m, n, k] = self.size;
        let Blocking { mr, nr, lanes, nc, kc, .. } = blocking;
        let a_len = if matches!(self.a, Left::Source(_)) { packed_len(m, mr, kc) } else { 0 };
        with_scratch(a_len + packed_len(n.min(nc), nr, kc), |scratch| {
            let (a_scratch, b_scratch) = scratch.split_at_mut(a_len);
            for col in (0..n).step_by(nc) {
                let cols = nc.min(n - col);
                // Depth 0 still has one block: C = β·C + bias.
                for start in (0..k.max(1)).step_by(kc) {
                    let depth = start..k.min(start + kc);
                    let b = &mut b_scratch[..packed_len(cols, nr, depth.len())];
                    pack_panels(arch, pool, self.b, b, nr, col..col + cols, depth.clone());
                    let a = match self.a {
                        Left::Packed(all) => {
                            &all[packed_len(m, mr, depth.start)..packed_len(m, mr, depth.end)]
                        }
                        Left::Source(source) => {
                            let a = &mut a_scratch[..packed_len(m, mr, depth.len())];
                            pack_panels(arch, pool, source, a, mr, 0..m, depth.clone());
                            a
                        }
                    };
                    let deep = depth.len();
                    let block = Block {
                        left: Packed { panels: a, depth: deep, width: mr, line: 1 },
                        right: Packed { panels: b, depth: deep, width: nr, line: lanes },
                        depth: deep,
                        rows: m,
                        cols,
                        row: 0,
                        col,
                        c: self.c,
                    };
                    let finish = General {
                        alpha: self.finish.alpha,
                        beta: if depth.start == 0 { self.finish.beta } else { T::one() },
                        epilogue: if depth.end == k { epilogue } else { Epilogue::default() },
                    };
                    // SAFETY: the caller's promises.
                    unsafe { Grid { blocking, block }.compute(arch, pool, finish) }
                }
            }
        });
    }
}

/// A block of C cut into tasks: by blocks of rows, and by groups of panels where those are few.
struct Grid<'a, T> {
    blocking: Blocking,
    block: Block<T, Packed<'a, T>, Packed<'a, T>>,
}

impl<T: Element> Grid<'_, T> {
    /// # Safety
    /// As [`Block::compute`].
    unsafe fn compute(&self, arch: Arch, pool: Pool, finish: General<'_, T>) {
        let Self { blocking: Blocking { mr, nr, mc, .. }, block } = *self;
        let row_blocks = block.rows.div_ceil(mc);
        let panels = block.cols.div_ceil(nr);
        let groups = MIN_TASKS.div_ceil(row_blocks).min(panels);
        let group_cols = panels.div_ceil(groups) * nr;
        let groups = block.cols.div_ceil(group_cols);
        pool.for_each(row_blocks * groups, |task| {
            let (row, col) = (task / groups * mc, task % groups * group_cols);
            let Block { left, right, .. } = block;
            let a = &left.panels[packed_len(row, mr, block.depth)..];
            let b = &right.panels[packed_len(col, nr, block.depth)..];
            let part = Block {
                left: Packed { panels: a, ..left },
                right: Packed { panels: b, ..right },
                rows: mc.min(block.rows - row),
                cols: group_cols.min(block.cols - col),
                row: block.row + row,
                col: block.col + col,
                ..block
            };
            // SAFETY: the caller's promises; the parts are disjoint.
            unsafe { part.compute(arch, finish) };
        });
    }
}
