//! The loops around the macrokernel: JC, PC and IC of BLIS, with packing shared by all tasks.

use std::ops::Range;

use super::blocking::Blocking;
use super::caches::Caches;
use super::epilogue::General;
use super::leftover::AlongColumns;
use super::macrokernel::Block;
use super::output::Output;
use super::packing::{PanelSource, pack_panels, packed_len};
use super::panels::Strided;
use super::split;
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

impl<T: Copy, P> Clone for Operand<'_, T, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy, P> Copy for Operand<'_, T, P> {}

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
    /// Columns behind C's, of as many rows and as deep a product.
    pub(crate) last: Option<AlongColumns<'a, T>>,
}

impl<T: Element, A: PanelSource<T>, B: PanelSource<T>> Product<'_, T, A, B> {
    /// Computes C, and the columns behind it.
    ///
    /// # Safety
    /// - `c` must be valid for m×n elements, for this call alone, and no two of them the same.
    /// - A bias must have m elements (per row) or n (per column).
    /// - The last columns must be as [`AlongColumns::compute`] asks.
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
        let [m, n, k] = self.size;
        if m == 0 || n == 0 {
            return;
        }
        // SAFETY: the caller's promises.
        unsafe {
            match pool.is_parallel() && split::is_tall(self.size, &blocking) {
                true => split::compute(&self, arch, pool, blocking),
                false => self.compute_depth(arch, pool, blocking, 0..k),
            }
        }
    }

    /// C over these steps of the depth, which begin with a block.
    ///
    /// # Safety
    /// As [`Product::compute`].
    pub(super) unsafe fn compute_depth(
        &self,
        arch: Arch,
        pool: Pool,
        blocking: Blocking,
        depth: Range<usize>,
    ) {
        let [m, n, _] = self.size;
        let Blocking { mr, nr, kc, .. } = blocking;
        let packs = [matches!(self.a, Operand::Source(_)), matches!(self.b, Operand::Source(_))];
        // C is cut along its longer side, and each task packs what that side's operand gives to its part of C; along the columns, too,
        // where B alone is packed, and small, or rows are few: then it need not cross from one core to the other.
        let is_small =
            blocking.bytes_of_b::<T>(n) <= most_of_b_by_task() || m < ROWS_TO_CUT_FOR_LARGE_B;
        let by_cols =
            n > m || !packs[0] && is_small && can_halve_columns(n, nr) && pool.is_parallel();
        let by_task = [packs[0] && m >= n, packs[1] && by_cols];
        // Only what is packed for all comes in blocks of NC columns.
        let nc = if packs[1] && !by_task[1] { blocking.nc.min(n) } else { n };
        let a_len = if packs[0] && !by_task[0] { packed_len(m, mr, kc) } else { 0 };
        let b_len = if packs[1] && !by_task[1] { packed_len(nc, nr, kc) } else { 0 };
        let compute = |scratch: &mut [T]| {
            let (a, b) = scratch.split_at_mut(a_len);
            // SAFETY: the caller's promises.
            unsafe { self.blocks(arch, pool, Blocking { nc, ..blocking }, depth, by_task, [a, b]) }
        };
        match a_len + b_len {
            0 => compute(&mut []),
            len => with_scratch(len, compute),
        }
    }

    /// The loops JC and PC: packs a block of B and one of A where all tasks share them, and hands them over.
    ///
    /// # Safety
    /// As [`Product::compute`].
    unsafe fn blocks(
        &self,
        arch: Arch,
        pool: Pool,
        blocking: Blocking,
        all_depth: Range<usize>,
        [a_by_task, b_by_task]: [bool; 2],
        [a_scratch, b_scratch]: [&mut [T]; 2],
    ) {
        let [m, n, _] = self.size;
        let Blocking { mr, nr, nc, kc, .. } = blocking;
        for col in (0..n).step_by(nc) {
            let cols = col..n.min(col + nc);
            // Depth 0 still has one block: C = β·C + bias.
            for start in (all_depth.start..all_depth.end.max(1)).step_by(kc) {
                let depth = start..all_depth.end.min(start + kc);
                let packing = |width| Packing { width, depth: depth.clone() };
                let (a_packing, b_packing) = (packing(mr), packing(nr));
                let right = match self.b {
                    Operand::InPlace(b) => Side::Ready(Strided::columns(b, start, col)),
                    Operand::Packed(all) => {
                        Side::Ready(b_packing.found(&all[packed_len(n, nr, start)..]))
                    }
                    Operand::Source(source) if b_by_task => Side::ByTask(source, b_packing),
                    Operand::Source(source) => {
                        Side::Ready(b_packing.pack(arch, pool, source, cols.clone(), b_scratch))
                    }
                };
                let left = match self.a {
                    Operand::InPlace(a) => Side::Ready(Strided::rows(a, 0, start)),
                    Operand::Packed(all) => {
                        Side::Ready(a_packing.found(&all[packed_len(m, mr, start)..]))
                    }
                    Operand::Source(source) if a_by_task => Side::ByTask(source, a_packing),
                    Operand::Source(source) => {
                        Side::Ready(a_packing.pack(arch, pool, source, 0..m, a_scratch))
                    }
                };
                let (is_first, is_last) = (start == all_depth.start, depth.end == all_depth.end);
                let finish = self.finish.of_block(is_first, is_last);
                let last = self.last.filter(|_| cols.end == n).map(|last| {
                    let finish = last.finish.of_block(is_first, is_last);
                    AlongColumns { finish, ..last }
                });
                let grid = Grid {
                    blocking,
                    left,
                    right,
                    depth: depth.clone(),
                    rows: m,
                    cols: cols.clone(),
                    c: self.c,
                    last,
                };
                // SAFETY: the caller's promises.
                unsafe { grid.compute(arch, pool, finish) }
            }
        }
    }
}

/// How lines of an operand are packed over a block's depth: in panels of `width`.
struct Packing {
    width: usize,
    depth: Range<usize>,
}

impl Packing {
    /// Panels that are packed already.
    fn found<'a, T: Element>(&self, panels: &'a [T]) -> Strided<'a, T> {
        Strided::packed(panels, self.depth.len(), self.width)
    }

    fn pack<'a, T: Element, P: PanelSource<T>>(
        &self,
        arch: Arch,
        pool: Pool,
        source: &P,
        lines: Range<usize>,
        scratch: &'a mut [T],
    ) -> Strided<'a, T> {
        let panels = &mut scratch[..packed_len(lines.len(), self.width, self.depth.len())];
        pack_panels(arch, pool, source, panels, self.width, lines, self.depth.clone());
        self.found(panels)
    }
}

/// The rows or the columns of a block of C.
enum Side<'a, T, P> {
    /// The panels of all of them.
    Ready(Strided<'a, T>),
    /// Each task packs those that it needs.
    ByTask(&'a P, Packing),
}

impl<T: Element, P: PanelSource<T>> Side<'_, T, P> {
    /// Runs `body` with the panels of `lines`, which lie `first` lines into the operand.
    #[inline(always)]
    fn with(
        &self,
        arch: Arch,
        first: usize,
        lines: Range<usize>,
        body: impl FnOnce(Strided<'_, T>),
    ) {
        match self {
            Self::Ready(panels) => body(panels.starting_at(lines.start)),
            Self::ByTask(source, packing) => {
                let len = packed_len(lines.len(), packing.width, packing.depth.len());
                let lines = first + lines.start..first + lines.end;
                with_scratch(len, |scratch| {
                    body(packing.pack(arch, Pool::SERIAL, *source, lines, scratch))
                });
            }
        }
    }
}

/// A's rows that pass along B's panels before the next rows do: a share of L2, where they are still when the next panel comes.
const ROWS_SHARE_OF_L2: usize = 4;
/// Rows of C that a whole number of pages separates share few sets of the caches: no more than so many at once, so that a panel's
/// lines are still there when the next panel writes beside them; twice as many where L2 has room.
const PAGE: usize = 4096;
const ROWS_OF_PAGES: usize = 24;
const ROOMY_L2: usize = 1 << 20;
/// Multiply-adds of a task, at least: a microsecond.
pub(super) const TASK_WORK: usize = 1 << 15;
/// Tasks that a block of C is cut into, where it is large enough: even for 4 cores, or 2 of which one is late.
const TASKS: usize = 8;

/// Bytes of B up to which C is cut along the columns for B's sake: each task reads all rows of A, and those, a part of B and its copy
/// have to share L2 (with one of 512 KiB 256³, whose B is half of it, takes 0.86 of the time cut along its rows; with 1 MiB, where B is a
/// quarter, 1.1).
fn most_of_b_by_task() -> usize {
    let l2 = Caches::of_machine().l2;
    if l2 >= ROOMY_L2 { l2 } else { l2 / 3 }
}

/// Rows of C from which that counts: fewer are a smaller part of L2 than B (100×50×1024 in f64 takes 0.8 of the time cut along the
/// columns).
const ROWS_TO_CUT_FOR_LARGE_B: usize = 256;

/// Panels of B from which C is cut along the columns for B's sake: one for each of 4 cores.
const PANELS_TO_CUT_COLUMNS: usize = 4;

/// Whether `n` columns in panels of `nr` can be cut in two, the second part at most a tenth longer than the first: 100 into 48 and 52.
fn can_halve_columns(n: usize, nr: usize) -> bool {
    let half = piece(n, nr, 0, 2).len();
    n.div_ceil(nr) >= PANELS_TO_CUT_COLUMNS && 10 * (n - half) <= 11 * half
}

/// Piece `index` of `pieces` of `len` lines: whole tiles of `unit`, as equal as can be.
pub(super) fn piece(len: usize, unit: usize, index: usize, pieces: usize) -> Range<usize> {
    let start = |index: usize| (len.div_ceil(unit) * index / pieces * unit).min(len);
    start(index)..start(index + 1)
}

/// A block of C cut into tasks: along the side that tasks pack; else by rows, and by groups of panels where those are few.
struct Grid<'a, T, A, B> {
    blocking: Blocking,
    left: Side<'a, T, A>,
    right: Side<'a, T, B>,
    depth: Range<usize>,
    rows: usize,
    /// Within C.
    cols: Range<usize>,
    c: Output<T>,
    /// The columns behind these.
    last: Option<AlongColumns<'a, T>>,
}

impl<T: Element, A: PanelSource<T>, B: PanelSource<T>> Grid<'_, T, A, B> {
    /// Into how many pieces rows and columns are cut, no longer than fits the caches: where there are more of those than [`TASKS`], so
    /// many more that threads still have as many each.
    #[inline(always)]
    fn pieces(&self, pool: Pool) -> [usize; 2] {
        let Self { blocking: Blocking { mr, nr, mc, .. }, rows, .. } = *self;
        let (cols, depth) = (self.cols.len(), self.depth.len());
        let tasks = match pool.is_parallel() {
            true => 1 << (rows * cols * depth.max(1) / TASK_WORK).clamp(1, TASKS).ilog2(),
            false => 1,
        };
        let fitting = |len: usize| len.div_ceil(mc).next_multiple_of(tasks);
        if let Side::ByTask(..) = self.right {
            return [1, fitting(cols).min(cols.div_ceil(nr))];
        }
        if tasks == 1 || rows >= tasks * 4 * mr {
            return [fitting(rows).min(rows.div_ceil(mr)), 1];
        }
        let pieces = (rows / (4 * mr)).max(1);
        let groups = match self.left {
            Side::ByTask(..) => 1,
            Side::Ready(_) => tasks.div_ceil(pieces).min(cols.div_ceil(nr)),
        };
        [pieces, groups]
    }

    /// Rows that go along all panels of B before others do.
    #[inline(always)]
    fn rows_at_once(&self) -> usize {
        let l2 = Caches::of_machine().l2;
        let bytes = self.depth.len().max(1) * size_of::<T>();
        let fitting = (l2 / ROWS_SHARE_OF_L2 / bytes).max(ROWS_OF_PAGES);
        let apart = self.c.strides[0].unsigned_abs() * size_of::<T>();
        let of_pages = match apart > 0 && apart.is_multiple_of(PAGE) {
            true if l2 >= ROOMY_L2 => 2 * ROWS_OF_PAGES,
            true => ROWS_OF_PAGES,
            false => usize::MAX,
        };
        fitting.next_multiple_of(self.blocking.mr).min(of_pages)
    }

    /// # Safety
    /// As [`Block::compute`].
    unsafe fn compute(&self, arch: Arch, pool: Pool, finish: General<'_, T>) {
        let Self { blocking: Blocking { mr, nr, .. }, rows, ref depth, ref cols, c, .. } = *self;
        let [pieces, groups] = self.pieces(pool);
        let at_once = self.rows_at_once();
        pool.for_each(pieces * groups, |task| {
            let of_rows = piece(rows, mr, task / groups, pieces);
            let of_cols = piece(cols.len(), nr, task % groups, groups);
            self.left.with(arch, 0, of_rows.clone(), |left| {
                self.right.with(arch, cols.start, of_cols.clone(), |right| {
                    for first in (0..of_rows.len()).step_by(at_once) {
                        let block = Block {
                            left: left.starting_at(first),
                            right,
                            depth: depth.len(),
                            rows: at_once.min(of_rows.len() - first),
                            cols: of_cols.len(),
                            row: of_rows.start + first,
                            col: cols.start + of_cols.start,
                            c,
                        };
                        // SAFETY: the caller's promises; the parts are disjoint.
                        unsafe { block.compute(arch, finish) };
                        if let Some(last) = self.last.filter(|_| of_cols.end == cols.len()) {
                            let rows = block.row..block.row + block.rows;
                            // SAFETY: as above.
                            unsafe { last.compute(arch, rows, depth.clone()) };
                        }
                    }
                });
            });
        });
    }
}
