//! A block of C from a block of A and a block of B: the loops over micro-tiles.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::blocking::Tile;
use super::epilogue::{Bias, General};
use super::microkernel::{Cut, Next, microkernel};
use super::output::{At, Output, copy_cells};
use super::panels::{Columns, Panels};
use crate::arch::Arch;
use crate::element::Element;
use crate::simd::{MAX_LANES, Mask, prefetch};

/// Depth from which C's tile, which may lie in memory, is asked for while the sums are added up.
const DEPTH_TO_PREFETCH: usize = 64;

/// A block of C and the panels it is the product of.
#[derive(Clone, Copy)]
pub struct Block<T, L, R> {
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
    /// [`Block::compute`], generic: for `compiled.rs` alone.
    ///
    /// # Safety
    /// As [`Block::compute`].
    pub(super) unsafe fn compute_generic(self, arch: Arch, finish: General<'_, T>) {
        struct Compute<B, G>(B, G);
        impl<T: Element, L: Panels<T>, R: Panels<T>> WithSimd for Compute<Block<T, L, R>, General<'_, T>> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // SAFETY: promised to `Block::compute`, which alone makes a Compute.
                unsafe { self.0.compute_with(simd, &self.1) }
            }
        }
        arch.dispatch(Compute(self, finish));
    }

    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn compute_with<S: Simd>(&self, simd: S, finish: &General<'_, T>) {
        macro_rules! tiles_of {
            ($tile:expr) => {{
                const TILE: Tile = $tile;
                const EDGE: [usize; 3] = TILE.edge_rows;
                let first =
                    self.wide_panels::<S, { 4 * TILE.vectors }, { 2 * TILE.vectors }>(simd, finish);
                let first =
                    self.whole_panels::<S, { TILE.rows }, { TILE.vectors }>(simd, first, finish);
                self.last_panel::<S, { EDGE[0] }, { EDGE[1] }, { EDGE[2] }>(simd, first, finish);
            }};
        }
        // One of the four is compiled: which one is a constant of S, as in `Tile::of`.
        // SAFETY: the caller's promises.
        unsafe {
            if const { S::IS_SCALAR } {
                tiles_of!(Tile::SCALAR)
            } else if const { S::REGISTER_COUNT < 32 } {
                tiles_of!(Tile::REGISTERS_16)
            } else if const { S::F32_LANES < 16 } {
                tiles_of!(Tile::NARROW_REGISTERS_32)
            } else {
                tiles_of!(Tile::WIDE_REGISTERS_32)
            }
        }
    }

    /// The loop JR of BLIS from column `first` on, over the panels that are whole or may be read as if they were. Returns the
    /// first column that is left.
    ///
    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn whole_panels<S: Simd, const MR: usize, const V: usize>(
        &self,
        simd: S,
        first: usize,
        finish: &General<'_, T>,
    ) -> usize {
        let nr = V * T::lanes::<S>();
        // A packed panel may be read to its end; registers of an image come in whole panels.
        let to_the_end = R::PADDED && self.right.panel() > 1;
        let whole = if to_the_end { self.cols } else { self.cols - (self.cols - first) % nr };
        for j in (first..whole).step_by(nr) {
            // SAFETY: the caller's promises.
            unsafe { self.panel::<S, MR, V, false>(simd, j, finish) }
        }
        whole
    }

    /// Where one row, or two or three, are all there is and B is read in place: panels of `V1` or `V3` registers, wide enough for 8
    /// chains and more. They are whole numbers of the usual panels. Returns the first column that is left.
    ///
    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn wide_panels<S: Simd, const V1: usize, const V3: usize>(
        &self,
        simd: S,
        finish: &General<'_, T>,
    ) -> usize {
        if self.right.panel() > 1 {
            return 0;
        }
        // SAFETY: the caller's promises.
        unsafe {
            match self.rows {
                1 => self.whole_panels::<S, 1, V1>(simd, 0, finish),
                2..=3 => self.whole_panels::<S, 3, V3>(simd, 0, finish),
                _ => 0,
            }
        }
    }

    /// The panel from column `j` on, that C's last column cuts off: as few registers as hold it. Where B is read in place and C is
    /// only written, it begins further left, and what was there is written again with the same bits; else its last register
    /// is masked at the depths where what lies behind the row must not be read.
    ///
    /// # Safety
    /// As [`Block::compute`].
    #[inline(always)]
    unsafe fn last_panel<S: Simd, const E1: usize, const E2: usize, const E3: usize>(
        &self,
        simd: S,
        j: usize,
        finish: &General<'_, T>,
    ) {
        if R::PADDED || j == self.cols {
            return;
        }
        let lanes = T::lanes::<S>();
        let left = self.cols - j;
        let registers = left.div_ceil(lanes);
        macro_rules! panel_of {
            ($j:expr, $cut:literal, $finish:expr) => {
                // SAFETY: the caller's promises.
                unsafe {
                    match registers {
                        1 => self.panel::<S, E1, 1, $cut>(simd, $j, $finish),
                        2 => self.panel::<S, E2, 2, $cut>(simd, $j, $finish),
                        _ => {
                            if const { E3 > 0 } {
                                self.panel::<S, E3, 3, $cut>(simd, $j, $finish)
                            }
                        }
                    }
                }
            };
        }
        if self.right.panel() == 1 && self.cols >= registers * lanes && !finish.reads_c() {
            return panel_of!(self.cols - registers * lanes, false, finish);
        }
        // The kernel adds whole registers of a bias per column, so it gets a copy that is long enough.
        let mut padded = [T::zero(); 3 * MAX_LANES];
        let mut finish = *finish;
        if let Bias::PerColumn(bias) = finish.bias() {
            padded[..left].copy_from_slice(&bias[self.col + j..][..left]);
            finish = finish.with_bias(Bias::PerColumn(&padded));
        }
        panel_of!(j, true, &finish)
    }

    /// The loop IR of BLIS: B's panel stays in L1 while A's rows pass, in tiles of at most `MR`.
    ///
    /// # Safety
    /// As [`Block::compute`]; `j` must begin a panel.
    #[inline(always)]
    unsafe fn panel<S: Simd, const MR: usize, const V: usize, const CUT: bool>(
        &self,
        simd: S,
        j: usize,
        finish: &General<'_, T>,
    ) {
        // Packed panels fix where tiles begin. Otherwise tiles of even height lose least: 13 rows are 5 + 4 + 4.
        let packed = self.left.panel();
        let groups = if packed > 1 {
            let height = packed.min(MR);
            [(height, self.rows / height), (self.rows % height, 1)]
        } else {
            let tiles = self.rows.div_ceil(MR).max(1);
            let (height, longer) = (self.rows / tiles, self.rows % tiles);
            [(height + 1, longer), (height, tiles - longer)]
        };
        let kernels = Kernels::<T, L, R, S, MR, V, CUT>::BY_ROWS;
        let mut first = 0;
        for (height, count) in groups {
            if height * count > 0 {
                // SAFETY: the caller's promises.
                unsafe { kernels[height - 1](simd, self, (first, count), j, finish) }
            }
            first += height * count;
        }
    }

    /// What the tiles at column `j` share.
    ///
    /// # Safety
    /// As [`Block::compute`]; `j` must begin a panel.
    #[inline(always)]
    unsafe fn column<S: Simd, const V: usize, const CUT: bool>(
        &self,
        simd: S,
        j: usize,
    ) -> Column<T, S, R, V> {
        let lanes = T::lanes::<S>();
        let (width, cols) = (V * lanes, (V * lanes).min(self.cols - j));
        let is_in_place = !CUT && cols == width && self.c.strides[1] == 1;
        // SAFETY: the caller's promise.
        let (b, found) = unsafe { (self.right.registers(j, lanes), self.right.columns(j, lanes)) };
        Column {
            b,
            cut: Cut {
                mask: Mask::first(simd, if CUT { cols - (V - 1) * lanes } else { 0 }),
                whole: if CUT { self.right.readable(j, width) } else { self.depth },
            },
            cols,
            in_place: is_in_place.then_some(found),
            col: self.col + j,
        }
    }

    /// The tile of `ROWS` rows at row `i` of the block, the column's `nth`; where it is cut off at C's last column, or C's columns
    /// are not contiguous, by way of a whole tile on the stack.
    ///
    /// # Safety
    /// As [`Block::compute`]; `i` must begin a panel.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const V: usize, const CUT: bool>(
        &self,
        simd: S,
        column: &Column<T, S, R, V>,
        (i, nth): (usize, usize),
        finish: &General<'_, T>,
    ) {
        let lanes = T::lanes::<S>();
        let (width, row) = (V * lanes, self.row + i);
        // SAFETY: the caller's promise.
        let a = unsafe { self.left.rows(i) };
        let mut on_stack = MaybeUninit::<[T; Tile::MAX_LEN]>::uninit();
        let first_row = on_stack.as_mut_ptr().cast::<T>();
        let stack = Output { start: first_row, strides: [width as isize, 1] };
        let (first_row, row_stride, columns) = match column.in_place {
            Some(columns) => {
                let row_stride = self.c.strides[0];
                let first_row =
                    self.c.start.wrapping_offset(row as isize * row_stride).wrapping_add(self.col);
                if self.depth >= DEPTH_TO_PREFETCH {
                    for i in 0..ROWS {
                        let row = first_row.wrapping_offset(i as isize * row_stride);
                        prefetch(row.wrapping_add(columns.at(0, lanes)));
                        prefetch(row.wrapping_add(columns.at(V - 1, lanes) + lanes - 1));
                    }
                }
                (first_row, row_stride, columns)
            }
            None => (first_row, width as isize, R::Columns::side_by_side(0, lanes)),
        };
        let col = if CUT { 0 } else { column.col };
        let at = At { first_row, row_stride, columns, row, col };
        // SAFETY: the panels and the cells of C by the caller's promise; the tile on the stack has ROWS × V registers, at most
        // MAX_LEN elements, all written before they are read.
        unsafe {
            let c = self.c.from(row, column.col);
            if column.in_place.is_none() && finish.reads_c() {
                first_row.write_bytes(0, ROWS * width);
                copy_cells::<T, S, ROWS>(simd, c, stack, column.cols);
            }
            let next = Next { is_packed: self.right.panel() > 1, nth };
            let b = (column.b, next);
            microkernel::<T, S, _, ROWS, V, CUT>(simd, column.cut, self.depth, a, b, at, finish);
            if column.in_place.is_none() {
                copy_cells::<T, S, ROWS>(simd, stack, c, column.cols);
            }
        }
    }
}

/// What the tiles of a column of the block share, worked out once.
struct Column<T: Element, S: Simd, R: Panels<T>, const V: usize> {
    b: R::Registers<V>,
    cut: Cut<T, S>,
    /// Columns of C.
    cols: usize,
    /// Where they begin, from the block's first, if C is written where it is.
    in_place: Option<R::Columns<V>>,
    /// The first, within C.
    col: usize,
}

/// [`tiles`] by their rows, 1 to `MR`: functions behind pointers, so that the compiler cannot merge them into one that
/// spills its registers.
struct Kernels<T, L, R, S, const MR: usize, const V: usize, const CUT: bool>(
    PhantomData<(T, L, R, S)>,
);

type Kernel<T, L, R, S> = unsafe fn(S, &Block<T, L, R>, (usize, usize), usize, &General<'_, T>);

impl<
    T: Element,
    L: Panels<T>,
    R: Panels<T>,
    S: Simd,
    const MR: usize,
    const V: usize,
    const CUT: bool,
> Kernels<T, L, R, S, MR, V, CUT>
{
    const BY_ROWS: [Kernel<T, L, R, S>; Tile::MAX_ROWS] = {
        macro_rules! kernels {
            ($($rows:literal)*) => {
                [$(if $rows <= MR { tiles::<T, L, R, S, $rows, V, CUT> } else { tiles::<T, L, R, S, 1, V, CUT> }),*]
            };
        }
        kernels!(1 2 3 4 5 6 7 8 9 10 11 12)
    };
}

/// `count` tiles below each other, from row `first` on.
///
/// # Safety
/// As [`Block::tile`].
unsafe fn tiles<
    T: Element,
    L: Panels<T>,
    R: Panels<T>,
    S: Simd,
    const ROWS: usize,
    const V: usize,
    const CUT: bool,
>(
    simd: S,
    block: &Block<T, L, R>,
    (first, count): (usize, usize),
    j: usize,
    finish: &General<'_, T>,
) {
    struct Run<'a, B, G, const ROWS: usize, const V: usize, const CUT: bool> {
        block: &'a B,
        first: usize,
        count: usize,
        j: usize,
        finish: &'a G,
    }
    impl<T: Element, L: Panels<T>, R: Panels<T>, const ROWS: usize, const V: usize, const CUT: bool>
        WithSimd for Run<'_, Block<T, L, R>, General<'_, T>, ROWS, V, CUT>
    {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { block, first, count, j, finish } = self;
            // SAFETY: promised to `tiles`, which alone makes a Run.
            unsafe {
                let column = block.column::<S, V, CUT>(simd, j);
                for nth in 0..count {
                    let i = first + nth * ROWS;
                    block.tile::<S, ROWS, V, CUT>(simd, &column, (i, nth), finish);
                }
            }
        }
    }
    simd.vectorize(Run::<_, _, ROWS, V, CUT> { block, first, count, j, finish });
}
