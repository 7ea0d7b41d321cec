//! A block of C from a packed block of A and a packed block of B: the loops over micro-tiles.

use std::mem::MaybeUninit;

use pulp::Simd;

use super::blocking::Tile;
use super::epilogue::Finish;
use super::microkernel::{At, microkernel};
use crate::element::Element;

/// C while tasks write to it, each to tiles of its own.
#[derive(Clone, Copy)]
pub(crate) struct Output<T> {
    pub(crate) start: *mut T,
    pub(crate) strides: [isize; 2],
}

// SAFETY: tasks write disjoint tiles; whoever hands an Output to them guarantees it.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    /// Cᵀ.
    pub(super) fn t(self) -> Self {
        let [row_stride, col_stride] = self.strides;
        Self { strides: [col_stride, row_stride], ..self }
    }

    fn at(self, row: usize, col: usize) -> *mut T {
        let [row_stride, col_stride] = self.strides;
        self.start.wrapping_offset(row as isize * row_stride + col as isize * col_stride)
    }
}

/// A block of C and the packed operands it is the product of.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, T> {
    /// Micropanels of A, `rows` in all.
    pub(super) a: &'a [T],
    /// Micropanels of B, `cols` in all.
    pub(super) b: &'a [T],
    pub(super) depth: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The block's first row and column within C.
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) c: Output<T>,
}

impl<T: Element> Block<'_, T> {
    /// Computes the block.
    ///
    /// # Safety
    /// - `c` must be valid for `rows` × `cols` elements from (`row`, `col`) on, for this thread alone.
    /// - `finish` must hold a bias as long as C, its columns padded to a whole tile.
    #[inline(always)]
    pub(super) unsafe fn compute<S: Simd, F: Finish<T>>(&self, simd: S, finish: &F) {
        // One of the four is compiled: which one is a constant of S, as in `Tile::of`.
        // SAFETY: the caller's promises.
        unsafe {
            if const { S::IS_SCALAR } {
                const TILE: Tile = Tile::SCALAR;
                self.tiles::<S, F, { TILE.rows }, { TILE.vectors }>(simd, finish)
            } else if const { S::REGISTER_COUNT < 32 } {
                const TILE: Tile = Tile::REGISTERS_16;
                self.tiles::<S, F, { TILE.rows }, { TILE.vectors }>(simd, finish)
            } else if const { S::F32_LANES < 16 } {
                const TILE: Tile = Tile::NARROW_REGISTERS_32;
                self.tiles::<S, F, { TILE.rows }, { TILE.vectors }>(simd, finish)
            } else {
                const TILE: Tile = Tile::WIDE_REGISTERS_32;
                self.tiles::<S, F, { TILE.rows }, { TILE.vectors }>(simd, finish)
            }
        }
    }

    /// The loops JR and IR of BLIS: B's panel stays in L1 while A's panels pass.
    ///
    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn tiles<S: Simd, F: Finish<T>, const MR: usize, const VECTORS: usize>(
        &self,
        simd: S,
        finish: &F,
    ) {
        let nr = VECTORS * T::lanes::<S>();
        assert!(self.a.len() >= self.rows.next_multiple_of(MR) * self.depth);
        assert!(self.b.len() >= self.cols.next_multiple_of(nr) * self.depth);
        for j in (0..self.cols).step_by(nr) {
            for i in (0..self.rows).step_by(MR) {
                let size = [MR.min(self.rows - i), nr.min(self.cols - j)];
                let a = self.a[i * self.depth..].as_ptr();
                let b = self.b[j * self.depth..].as_ptr();
                let (row, col) = (self.row + i, self.col + j);
                // SAFETY: the panels are whole, asserted above; the tile lies within the block.
                unsafe { self.tile::<S, F, MR, VECTORS>(simd, size, a, b, row, col, finish) };
            }
        }
    }

    /// One tile; where it is cut off at C's last column, or C's columns are not contiguous, by way of a whole tile on the
    /// stack.
    ///
    /// # Safety
    /// - `a` and `b` must be panels of MR and VECTORS registers over `self.depth`.
    /// - The `size` elements of C from (`row`, `col`) on must be valid, for this thread alone.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // a tile is where, from what, and what then
    unsafe fn tile<S: Simd, F: Finish<T>, const MR: usize, const VECTORS: usize>(
        &self,
        simd: S,
        size: [usize; 2],
        a: *const T,
        b: *const T,
        row: usize,
        col: usize,
        finish: &F,
    ) {
        let nr = VECTORS * T::lanes::<S>();
        let [rows, cols] = size;
        let mut on_stack = MaybeUninit::<[T; Tile::MAX_LEN]>::uninit();
        let on_stack = on_stack.as_mut_ptr().cast::<T>();
        let whole = cols == nr && self.c.strides[1] == 1;
        let at = if whole {
            At { c: self.c.at(row, col), row_stride: self.c.strides[0], row, col }
        } else {
            At { c: on_stack, row_stride: nr as isize, row, col }
        };
        // SAFETY: the panels by the caller's promise; the tile is C's or the one on the stack, which has
        // MR × NR <= MAX_LEN elements, all written before they are read.
        unsafe {
            if !whole && finish.reads_c() {
                on_stack.write_bytes(0, MR * nr);
                for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                    *on_stack.add(i * nr + j) = *self.c.at(row + i, col + j);
                }
            }
            macro_rules! microkernel_of_rows {
                ($($rows:literal)*) => {
                    $(if const { $rows <= MR } && rows == $rows {
                        microkernel::<T, S, F, $rows, VECTORS>(simd, self.depth, a, MR, b, at, finish);
                    })*
                };
            }
            microkernel_of_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
            if !whole {
                for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                    *self.c.at(row + i, col + j) = *on_stack.add(i * nr + j);
                }
            }
        }
    }
}
