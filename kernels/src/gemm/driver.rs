//! The loops around the macrokernel: JC, PC and IC of BLIS, with packing shared by all tasks.

use super::blocking::Blocking;
use super::epilogue::General;
use super::macrokernel::{Block, Output};
use super::packing::{PanelSource, pack_panels, packed_len};
use super::panels::Strided;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::Pool;
use crate::view::MatRef;
use crate::workspace::with_scratch;

/// A or B, and how it reaches the microkernel.
pub(crate) enum Operand<'a, T, P> {
    /// Packed on the way.
    Source(&'a P),
    /// Packed before, all of it: A by [`pack_left`], B by [`pack_right`].
    Packed(&'a [T]),
    /// Read where it is; a B must have contiguous rows.
    InPlace(MatRef<'a, T>),
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
    pack_all(arch, pool, a, [m, mr], [k, kc], panels);
}

/// Packs B of k×n likewise, in panels of NR columns.
pub(crate) fn pack_right<T: Element, B: PanelSource<T>>(
    arch: Arch,
    pool: Pool,
    b: &B,
    [k, n]: [usize; 2],
    panels: &mut [T],
) {
    let Blocking { nr, kc, .. } = Blocking::of::<T>(arch, k);
    pack_all(arch, pool, b, [n, nr], [k, kc], panels);
}

fn pack_all<T: Element, P: PanelSource<T>>(
    arch: Arch,
    pool: Pool,
    source: &P,
    [lines, width]: [usize; 2],
    [k, kc]: [usize; 2],
    panels: &mut [T],
) {
    for start in (0..k).step_by(kc) {
        let depth = start..k.min(start + kc);
        let block =
            &mut panels[packed_len(lines, width, start)..packed_len(lines, width, depth.end)];
        pack_panels(arch, pool, source, block, width, 0..lines, depth);
    }
}

/// C = relu(α·A·B + β·C + bias).
pub(crate) struct Product<'a, T, A, B> {
    /// `[m, n, k]`.
    pub(crate) size: [usize; 3],
    /// Gives the rows of A.
    pub(crate) a: Operand<'a, T, A>,
    /// Gives the columns of B.
    pub(crate) b: Operand<'a, T, B>,
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
        let blocking = Blocking::of::<T>(arch, self.size[2]);
        // SAFETY: the caller's promises.
        unsafe { self.compute_in(arch, pool, blocking) }
    }

    /// Computes C in these blocks, whose depth must be that of [`Blocking::of`].
    ///
    /// # Safety
    /// As [`Product::compute`].
    pub(super) unsafe fn compute_in(self, arch: Arch, pool: Pool, blocking: Blocking) {
        let [m, n, _] = self.size;
        if m == 0 || n == 0 {
            return;
        }
        let Blocking { mr, nr, kc, .. } = blocking;
        // Only what is packed here comes in blocks of NC columns.
        let nc = if matches!(self.b, Operand::Source(_)) { blocking.nc.min(n) } else { n };
        let a_len = if matches!(self.a, Operand::Source(_)) { packed_len(m, mr, kc) } else { 0 };
        let b_len = if matches!(self.b, Operand::Source(_)) { packed_len(nc, nr, kc) } else { 0 };
        let compute = |scratch: &mut [T]| {
            let (a, b) = scratch.split_at_mut(a_len);
            // SAFETY: the caller's promises.
            unsafe { self.blocks(arch, pool, Blocking { nc, ..blocking }, a, b) }
        };
        match a_len + b_len {
            0 => compute(&mut []),
            len => with_scratch(len, compute),
        }
    }

    /// The loops JC and PC: packs a block of B and one of A where they need it, and hands them to the tasks.
    ///
    /// # Safety
    /// As [`Product::compute`].
    unsafe fn blocks(
        &self,
        arch: Arch,
        pool: Pool,
        blocking: Blocking,
        a_scratch: &mut [T],
        b_scratch: &mut [T],
    ) {
        let [m, n, k] = self.size;
        let Blocking { mr, nr, lanes, nc, kc, .. } = blocking;
        for col in (0..n).step_by(nc) {
            let cols = nc.min(n - col);
            // Depth 0 still has one block: C = β·C + bias.
            for start in (0..k.max(1)).step_by(kc) {
                let depth = start..k.min(start + kc);
                let deep = depth.len();
                let right = match self.b {
                    Operand::InPlace(b) => Strided::registers(b, start, col, lanes),
                    Operand::Packed(all) => {
                        let before = packed_len(n, nr, start);
                        Strided::packed(&all[before..], deep, nr, lanes)
                    }
                    Operand::Source(source) => {
                        let b = &mut b_scratch[..packed_len(cols, nr, deep)];
                        pack_panels(arch, pool, source, b, nr, col..col + cols, depth.clone());
                        Strided::packed(b, deep, nr, lanes)
                    }
                };
                let left = match self.a {
                    Operand::InPlace(a) => Strided::rows(a, 0, start),
                    Operand::Packed(all) => {
                        Strided::packed(&all[packed_len(m, mr, start)..], deep, mr, 1)
                    }
                    Operand::Source(source) => {
                        let a = &mut a_scratch[..packed_len(m, mr, deep)];
                        pack_panels(arch, pool, source, a, mr, 0..m, depth.clone());
                        Strided::packed(a, deep, mr, 1)
                    }
                };
                let block =
                    Block { left, right, depth: deep, rows: m, cols, row: 0, col, c: self.c };
                let finish = self.finish.of_block(start == 0, depth.end == k);
                // SAFETY: the caller's promises.
                unsafe { Grid { blocking, block }.compute(arch, pool, finish) }
            }
        }
    }
}

/// Multiply-adds of a task, at least: a microsecond.
pub(super) const TASK_WORK: usize = 1 << 15;
/// Tasks that a block of C is cut into, where it is large enough: even for 4 cores, or 2 of which one is late.
const TASKS: usize = 8;

/// A block of C cut into tasks: by rows, and by groups of panels where those are few.
struct Grid<'a, T> {
    blocking: Blocking,
    block: Block<T, Strided<'a, T>, Strided<'a, T>>,
}

impl<T: Element> Grid<'_, T> {
    /// # Safety
    /// As [`Block::compute`].
    unsafe fn compute(&self, arch: Arch, pool: Pool, finish: General<'_, T>) {
        let Self { blocking: Blocking { mr, nr, mc, .. }, block } = *self;
        let [rows, cols] = if pool.is_parallel() {
            let work = block.rows * block.cols * block.depth.max(1);
            let tasks = (work / TASK_WORK).clamp(1, TASKS);
            // Of whole tiles, and as many as fit the caches at most.
            let rows =
                block.rows.div_ceil(tasks).next_multiple_of(mr).clamp(4 * mr, mc.max(4 * mr));
            let groups = tasks.div_ceil(block.rows.div_ceil(rows));
            [rows, block.cols.div_ceil(groups).next_multiple_of(nr)]
        } else {
            [mc, block.cols]
        };
        let groups = block.cols.div_ceil(cols);
        pool.for_each(block.rows.div_ceil(rows) * groups, |task| {
            let (row, col) = (task / groups * rows, task % groups * cols);
            let part = Block {
                left: block.left.starting_at(row),
                right: block.right.starting_at(col),
                rows: rows.min(block.rows - row),
                cols: cols.min(block.cols - col),
                row: block.row + row,
                col: block.col + col,
                ..block
            };
            // SAFETY: the caller's promises; the parts are disjoint.
            unsafe { part.compute(arch, finish) };
        });
    }
}
