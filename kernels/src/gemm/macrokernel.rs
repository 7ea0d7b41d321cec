//! A block of C from a block of A and a block of B: the loops over micro-tiles.

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::blocking::Tile;
use super::epilogue::{Accumulate, Finish, General, Plain, Store};
use super::microkernel::{At, microkernel};
use super::panels::Panels;
use crate::arch::Arch;
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

/// A block of C and the panels it is the product of.
#[derive(Clone, Copy)]
pub(crate) struct Block<T, L, R> {
    /// Panels of A, `rows` in all.
    pub(crate) left: L,
    /// Panels of B, `cols` in all.
    pub(crate) right: R,
    pub(crate) depth: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// The block's first row and column within C.
    pub(crate) row: usize,
    pub(crate) col: usize,
    pub(crate) c: Output<T>,
}

impl<T: Element, L: Panels<T>, R: Panels<T>> Block<T, L, R> {
    /// Computes the block, on the calling thread. The kernels for the two plain finishes know at compile time that there
    /// is nothing to scale or to add.
    ///
    /// # Safety
    /// - The panels must be as deep as `depth` and hold `rows` and `cols`, rounded up to whole tiles.
    /// - C must be valid for the block, and for this thread alone.
    /// - A bias must hold C's rows, or its columns rounded up to whole tiles.
    pub(crate) unsafe fn compute(self, arch: Arch, finish: General<'_, T>) {
        struct Compute<B, F>(B, F);
        impl<T: Element, L: Panels<T>, R: Panels<T>, F: Finish<T>> WithSimd for Compute<Block<T, L, R>, F> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `Block::compute`, which alone makes a Compute.
                unsafe { self.0.compute_with(simd, &self.1) }
            }
        }
        match finish.plain() {
            Some(Plain::Store) => arch.dispatch(Compute(self, Store)),
            Some(Plain::Accumulate) => arch.dispatch(Compute(self, Accumulate)),
            None => arch.dispatch(Compute(self, finish)),
        }
    }

    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn compute_with<S: Simd, F: Finish<T>>(&self, simd: S, finish: &F) {
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
    unsafe fn tiles<S: Simd, F: Finish<T>, const MR: usize, const V: usize>(
        &self,
        simd: S,
        finish: &F,
    ) {
        for j in (0..self.cols).step_by(V * T::lanes::<S>()) {
            for i in (0..self.rows).step_by(MR) {
                macro_rules! tile_of_rows {
                    ($($rows:literal)*) => {
                        $(if const { $rows <= MR } && $rows == MR.min(self.rows - i) {
                            // SAFETY: panels i and j, the caller's promise.
                            unsafe { self.tile::<S, F, $rows, V>(simd, i, j, finish) }
                        })*
                    };
                }
                tile_of_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
            }
        }
    }

    /// The tile of `ROWS` rows at row `i` and column `j` of the block; where it is cut off at C's last column, or C's columns
    /// are not contiguous, by way of a whole tile on the stack.
    ///
    /// # Safety
    /// As [`Block::compute`]; `i` and `j` must begin a panel each.
    #[inline(always)]
    unsafe fn tile<S: Simd, F: Finish<T>, const ROWS: usize, const V: usize>(
        &self,
        simd: S,
        i: usize,
        j: usize,
        finish: &F,
    ) {
        let lanes = T::lanes::<S>();
        let (nr, cols) = (V * lanes, (V * lanes).min(self.cols - j));
        let (row, col) = (self.row + i, self.col + j);
        let whole = cols == nr && self.c.strides[1] == 1;
        let mut on_stack = MaybeUninit::<[T; Tile::MAX_LEN]>::uninit();
        let on_stack = on_stack.as_mut_ptr().cast::<T>();
        // SAFETY: the panels by the caller's promise; the tile is C's or the one on the stack, which has
        // ROWS × NR <= MAX_LEN elements, all written before they are read.
        unsafe {
            let at = if whole {
                let (first_row, row_stride) = (self.c.at(row, self.col), self.c.strides[0]);
                At { first_row, row_stride, registers: self.right.columns(j), row, col }
            } else {
                let registers = std::array::from_fn(|j| j * lanes);
                At { first_row: on_stack, row_stride: nr as isize, registers, row, col }
            };
            let cells = || (0..ROWS).flat_map(|i| (0..cols).map(move |j| (i, j)));
            if !whole && finish.reads_c() {
                on_stack.write_bytes(0, ROWS * nr);
                cells().for_each(|(i, j)| *on_stack.add(i * nr + j) = *self.c.at(row + i, col + j));
            }
            let a = (self.left.lines(i), self.left.steps());
            let b = (self.right.lines(j), self.right.steps());
            microkernel::<T, S, ROWS, V>(simd, self.depth, a, b, at, finish);
            if !whole {
                cells().for_each(|(i, j)| *self.c.at(row + i, col + j) = *on_stack.add(i * nr + j));
            }
        }
    }
}
