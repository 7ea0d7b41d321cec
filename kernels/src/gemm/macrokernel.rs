//! A block of C from a block of A and a block of B: the loops over micro-tiles.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::blocking::Tile;
use super::epilogue::{Bias, General};
use super::microkernel::{At, Next, UNROLLED, microkernel};
use super::panels::Panels;
use crate::arch::Arch;
use crate::element::Element;
use crate::simd::{MAX_LANES, Mask, Vector, prefetch};

/// Depth from which C's tile, which may lie in memory, is asked for while the sums are added up.
const DEPTH_TO_PREFETCH: usize = 64;

/// C while tasks write to it, each to tiles of its own.
#[derive(Clone, Copy)]
pub struct Output<T> {
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

    pub(super) fn at(self, row: usize, col: usize) -> *mut T {
        let [row_stride, col_stride] = self.strides;
        self.start.wrapping_offset(row as isize * row_stride + col as isize * col_stride)
    }
}

impl<T: Copy> Output<T> {
    /// The same from (row, col) on.
    pub(super) fn from(self, row: usize, col: usize) -> Self {
        Self { start: self.at(row, col), ..self }
    }
}

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
    /// is masked.
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
        for (height, tiles) in groups {
            let rows = first..first + height * tiles;
            first = rows.end;
            if !rows.is_empty() {
                // SAFETY: the caller's promises.
                unsafe { kernels[height - 1](simd, self, rows, j, finish) }
            }
        }
    }

    /// The tile of `ROWS` rows at row `i` and column `j` of the block; where it is cut off at C's last column, or C's columns
    /// are not contiguous, by way of a whole tile on the stack.
    ///
    /// # Safety
    /// As [`Block::compute`]; `i` and `j` must begin a panel each.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const V: usize, const CUT: bool>(
        &self,
        simd: S,
        i: usize,
        j: usize,
        finish: &General<'_, T>,
    ) {
        let lanes = T::lanes::<S>();
        let (width, cols) = (V * lanes, (V * lanes).min(self.cols - j));
        let (row, col) = (self.row + i, self.col + j);
        let bias_col = if CUT { 0 } else { col };
        let mask = Mask::first(simd, if CUT { cols - (V - 1) * lanes } else { 0 });
        // SAFETY: the panels by the caller's promise.
        let (a, b) = unsafe { (self.left.rows(i), self.right.registers(j, lanes)) };
        let in_place = !CUT && cols == width && self.c.strides[1] == 1;
        let mut on_stack = MaybeUninit::<[T; Tile::MAX_LEN]>::uninit();
        let first_row = on_stack.as_mut_ptr().cast::<T>();
        let stack = Output { start: first_row, strides: [width as isize, 1] };
        let at = if in_place {
            if self.depth >= DEPTH_TO_PREFETCH {
                for i in 0..ROWS {
                    prefetch(self.c.at(row + i, col));
                    prefetch(self.c.at(row + i, col + width - 1));
                }
            }
            // SAFETY: the caller's promise.
            let registers = unsafe { self.right.columns(j, lanes) };
            let (first_row, row_stride) = (self.c.at(row, self.col), self.c.strides[0]);
            At { first_row, row_stride, registers, row, col: bias_col }
        } else {
            let registers = std::array::from_fn(|j| j * lanes);
            At { first_row, row_stride: width as isize, registers, row, col: bias_col }
        };
        // SAFETY: the panels and the cells of C by the caller's promise; the tile on the stack has ROWS × V registers, at most
        // MAX_LEN elements, all written before they are read.
        unsafe {
            if !in_place && finish.reads_c() {
                first_row.write_bytes(0, ROWS * width);
                copy_cells(simd, self.c.from(row, col), stack, [ROWS, cols]);
            }
            let next = if self.right.panel() > 1 && i < UNROLLED * ROWS {
                let part = i / ROWS * (self.depth / UNROLLED);
                Next { ahead: (self.depth + part) * width, stride: width }
            } else {
                Next { ahead: 0, stride: 0 }
            };
            microkernel::<T, S, ROWS, V, CUT>(simd, mask, self.depth, a, (b, next), at, finish);
            if !in_place {
                copy_cells(simd, stack, self.c.from(row, col), [ROWS, cols]);
            }
        }
    }
}

/// [`tiles`] by their rows, 1 to `MR`: functions behind pointers, so that the compiler cannot merge them into one that
/// spills its registers.
struct Kernels<T, L, R, S, const MR: usize, const V: usize, const CUT: bool>(
    PhantomData<(T, L, R, S)>,
);

type Kernel<T, L, R, S> = unsafe fn(S, &Block<T, L, R>, Range<usize>, usize, &General<'_, T>);

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

/// The tiles of these rows.
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
    rows: Range<usize>,
    j: usize,
    finish: &General<'_, T>,
) {
    struct Run<'a, B, G, const ROWS: usize, const V: usize, const CUT: bool> {
        block: &'a B,
        rows: Range<usize>,
        j: usize,
        finish: &'a G,
    }
    impl<T: Element, L: Panels<T>, R: Panels<T>, const ROWS: usize, const V: usize, const CUT: bool>
        WithSimd for Run<'_, Block<T, L, R>, General<'_, T>, ROWS, V, CUT>
    {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for i in self.rows.step_by(ROWS) {
                // SAFETY: promised to `tiles`, which alone makes a Run.
                unsafe { self.block.tile::<S, ROWS, V, CUT>(simd, i, self.j, self.finish) }
            }
        }
    }
    simd.vectorize(Run::<_, _, ROWS, V, CUT> { block, rows, j, finish });
}

/// # Safety
/// - Both must be valid for `rows` × `cols` elements, apart from each other.
#[inline(always)]
unsafe fn copy_cells<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    size: [usize; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (from.strides, to.strides) {
            ([_, 1], [_, 1]) => copy_rows(simd, from, to, size),
            ([_, 1], [1, _]) => turn_squares(simd, from, to, size),
            ([1, _], [_, 1]) => turn_squares(simd, from.t(), to.t(), [size[1], size[0]]),
            _ => copy_each(from, to, size),
        }
    }
}

/// [`copy_cells`] of contiguous rows, in registers. The last one is masked where that is one instruction, else it overlaps the one
/// before it.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn copy_rows<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    [rows, cols]: [usize; 2],
) {
    let lanes = T::lanes::<S>();
    let whole = cols / lanes;
    let last = Mask::first(simd, cols % lanes);
    // SAFETY: the caller's promise.
    unsafe {
        if cols < lanes && !Vector::<T, S>::HAS_MASKED_STORES {
            return copy_each(from, to, [rows, cols]);
        }
        for i in 0..rows {
            for register in 0..whole {
                let j = register * lanes;
                Vector::load_ptr(simd, from.at(i, j)).store_ptr(to.at(i, j));
            }
            if Vector::<T, S>::HAS_MASKED_STORES {
                let (from, to) = (from.at(i, whole * lanes), to.at(i, whole * lanes));
                Vector::load_masked(simd, last, from).store_masked(last, to);
            } else if !cols.is_multiple_of(lanes) {
                let j = cols - lanes;
                Vector::load_ptr(simd, from.at(i, j)).store_ptr(to.at(i, j));
            }
        }
    }
}

/// [`copy_cells`] of contiguous rows to contiguous columns: square by square, of which the last overlap those before them.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn turn_squares<T: Element, S: Simd>(
    simd: S,
    from: Output<T>,
    to: Output<T>,
    [rows, cols]: [usize; 2],
) {
    let (side, row, step) = (T::SIDE, from.strides[0], to.strides[1]);
    for i in (0..rows).step_by(side) {
        for j in (0..cols).step_by(side) {
            // SAFETY: the caller's promise; a square ends with the last row and the last column at most.
            unsafe {
                let turned = rows >= side && cols >= side && step > 0 && {
                    let (i, j) = (i.min(rows - side), j.min(cols - side));
                    T::transpose(simd, from.at(i, j), row, side, to.at(i, j), step as usize)
                };
                if !turned {
                    let (from, to) = (from.from(i, j), to.from(i, j));
                    copy_each(from, to, [side.min(rows - i), side.min(cols - j)]);
                }
            }
        }
    }
}

/// [`copy_cells`] one by one.
///
/// # Safety
/// As [`copy_cells`].
#[inline(always)]
unsafe fn copy_each<T: Element>(from: Output<T>, to: Output<T>, [rows, cols]: [usize; 2]) {
    for i in 0..rows {
        for j in 0..cols {
            // SAFETY: the caller's promise.
            unsafe { *to.at(i, j) = *from.at(i, j) };
        }
    }
}
