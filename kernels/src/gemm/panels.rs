//! What the microkernel reads: packed micropanels, or an image in place.
//!
//! A tile reads a few lines of a panel (rows of A, registers of B), all at one depth, then at the next. Where these lie is a
//! [`Walk`]: packed, they are neighbours at even steps; on an image, offsets of a filter's taps (or of the pixels), and nothing
//! needs to be packed.

use std::marker::PhantomData;

use super::blocking::Tile;
use crate::element::Element;
use crate::simd::opaque;
use crate::view::MatRef;

/// N lines of a panel, on their way from depth to depth.
///
/// As little arithmetic as can be: on Intel's cores it takes the ports of multiply-adds, 7 instructions a step 8 % of the time.
pub trait Walk<T, const N: usize>: Copy {
    /// Whether addresses beyond the panel can be told, to prefetch them.
    const EVEN: bool;
    /// Whether each line is contiguous.
    const CONTIGUOUS: bool = false;

    /// The address of line `i`, `further` depths on.
    ///
    /// # Safety
    /// - The panel must be as deep, unless its steps are `EVEN`.
    unsafe fn at(&self, i: usize, further: usize) -> *const T;

    /// Goes on by `depths`.
    fn advance(&mut self, depths: usize);

    /// Where the next N lines are, if those are contiguous and one behind the other; and how far a depth of them reaches.
    fn next_lines(&self, _depth: usize) -> (*const T, usize) {
        (std::ptr::null(), 0)
    }
}

/// Elements side by side, at even steps: rows of A in packed panels, and where columns are contiguous.
#[derive(Clone, Copy)]
pub struct Neighbours<T> {
    start: *const T,
    step: isize,
}

impl<T: Element, const N: usize> Walk<T, N> for Neighbours<T> {
    const EVEN: bool = true;

    #[inline(always)]
    unsafe fn at(&self, i: usize, further: usize) -> *const T {
        self.start.wrapping_offset(further as isize * self.step).wrapping_add(i)
    }

    #[inline(always)]
    fn advance(&mut self, depths: usize) {
        self.start = opaque(self.start.wrapping_offset(depths as isize * self.step));
    }
}

/// Lines any distance apart, at even steps: registers of B in packed panels, and where rows are contiguous; rows of A of any strides.
#[derive(Clone, Copy)]
pub struct Apart<T> {
    first: Neighbours<T>,
    /// From line to line, in elements.
    distance: isize,
}

impl<T: Element, const N: usize> Walk<T, N> for Apart<T> {
    const EVEN: bool = true;

    #[inline(always)]
    unsafe fn at(&self, i: usize, further: usize) -> *const T {
        // SAFETY: the caller's promise.
        let first = unsafe { Walk::<T, N>::at(&self.first, 0, further) };
        first.wrapping_offset(i as isize * self.distance)
    }

    #[inline(always)]
    fn advance(&mut self, depths: usize) {
        Walk::<T, N>::advance(&mut self.first, depths);
    }
}

/// Contiguous rows of A in place.
#[derive(Clone, Copy)]
pub struct Rows<T> {
    /// Every third row: x86 adds no, one or two distances to an address for nothing. A pointer for each row would not leave enough
    /// registers.
    thirds: [*const T; Tile::MAX_ROWS.div_ceil(3)],
    distance: isize,
}

impl<T> Rows<T> {
    #[inline(always)]
    pub(super) fn new(start: *const T, distance: isize) -> Self {
        let thirds = std::array::from_fn(|third| {
            opaque(start.wrapping_offset(3 * third as isize * distance))
        });
        Self { thirds, distance }
    }
}

impl<T: Element, const N: usize> Walk<T, N> for Rows<T> {
    const EVEN: bool = false;
    const CONTIGUOUS: bool = true;

    #[inline(always)]
    unsafe fn at(&self, i: usize, further: usize) -> *const T {
        self.thirds[i / 3].wrapping_offset((i % 3) as isize * self.distance).wrapping_add(further)
    }

    #[inline(always)]
    fn advance(&mut self, depths: usize) {
        for third in self.thirds.iter_mut().take(N.div_ceil(3)) {
            *third = opaque(third.wrapping_add(depths));
        }
    }

    #[inline(always)]
    fn next_lines(&self, depth: usize) -> (*const T, usize) {
        match self.distance == depth as isize {
            true => (self.thirds[0].wrapping_add(N * depth), N),
            false => (self.thirds[0], 0),
        }
    }
}

/// Lines anywhere, at steps from a table.
#[derive(Clone, Copy)]
pub struct Listed<T, const N: usize> {
    lines: [*const T; N],
    offsets: *const usize,
}

impl<T: Element, const N: usize> Walk<T, N> for Listed<T, N> {
    const EVEN: bool = false;

    #[inline(always)]
    unsafe fn at(&self, i: usize, further: usize) -> *const T {
        // SAFETY: the table is as long as the panel is deep, the caller's promise.
        self.lines[i].wrapping_add(unsafe { *self.offsets.add(further) })
    }

    #[inline(always)]
    fn advance(&mut self, depths: usize) {
        self.offsets = self.offsets.wrapping_add(depths);
    }
}

/// The rows of A that a tile reads, by how they lie.
pub enum TileRows<T, O> {
    Neighbours(Neighbours<T>),
    Rows(Rows<T>),
    Other(O),
}

/// Where the registers of a tile begin among C's columns.
pub trait Columns: Copy {
    /// One after another.
    fn side_by_side(first: usize, lanes: usize) -> Self;

    /// The column at which register `j` begins.
    fn at(&self, j: usize, lanes: usize) -> usize;
}

/// All side by side: only the first is kept.
#[derive(Clone, Copy)]
pub struct SideBySide(usize);

impl Columns for SideBySide {
    #[inline(always)]
    fn side_by_side(first: usize, _lanes: usize) -> Self {
        Self(first)
    }

    #[inline(always)]
    fn at(&self, j: usize, lanes: usize) -> usize {
        self.0 + j * lanes
    }
}

impl<const N: usize> Columns for [usize; N] {
    #[inline(always)]
    fn side_by_side(first: usize, lanes: usize) -> Self {
        std::array::from_fn(|j| first + j * lanes)
    }

    #[inline(always)]
    fn at(&self, j: usize, _lanes: usize) -> usize {
        self[j]
    }
}

/// A block of an operand, panel by panel.
pub trait Panels<T>: Copy + Sync {
    /// Rows that are neither neighbours nor contiguous.
    type OtherRows<const N: usize>: Walk<T, N>;
    /// Registers of B.
    type Registers<const N: usize>: Walk<T, N>;
    /// The columns of C that those belong to.
    type Columns<const N: usize>: Columns;

    /// Whether a whole panel may be read where the operand ends within it.
    const PADDED: bool;

    /// Lines of a panel, at whose multiples tiles must begin; 1 where they may begin at any line.
    fn panel(&self) -> usize;

    /// The N rows of the panel at row `first` of the block.
    ///
    /// # Safety
    /// - `first` must be the first row of a panel of this block, and the panel must have N rows.
    unsafe fn rows<const N: usize>(&self, first: usize) -> TileRows<T, Self::OtherRows<N>>;

    /// The N registers of `lanes` elements of the panel at column `first` of the block.
    ///
    /// # Safety
    /// - `first` must be the first column of a panel of this block, and the panel must have N registers.
    unsafe fn registers<const N: usize>(&self, first: usize, lanes: usize) -> Self::Registers<N>;

    /// Which columns of C those begin at, from the block's first.
    ///
    /// # Safety
    /// As [`Panels::registers`].
    unsafe fn columns<const N: usize>(&self, first: usize, lanes: usize) -> Self::Columns<N>;

    /// At how many depths, from the first on, `width` columns from `first` on may be read, even those beyond the operand: all, where
    /// it is `PADDED`.
    fn readable(&self, _first: usize, _width: usize) -> usize {
        usize::MAX
    }
}

/// Packed micropanels.
#[derive(Clone, Copy)]
pub struct Packed<'a, T> {
    pub(crate) panels: &'a [T],
    pub(crate) depth: usize,
    /// Elements of a panel at one depth: MR or NR.
    pub(crate) width: usize,
}

impl<T: Element> Packed<'_, T> {
    /// The elements from line `first` on, which must begin a panel.
    #[inline(always)]
    fn lines(&self, first: usize) -> Neighbours<T> {
        debug_assert!(self.panels.len() >= (first + self.width) * self.depth);
        // The panels before this one take `first` elements of each depth.
        let start = self.panels.as_ptr().wrapping_add(first * self.depth);
        Neighbours { start, step: self.width as isize }
    }
}

impl<T: Element> Panels<T> for Packed<'_, T> {
    type OtherRows<const N: usize> = Neighbours<T>;
    type Registers<const N: usize> = Apart<T>;
    type Columns<const N: usize> = SideBySide;

    const PADDED: bool = true;

    #[inline(always)]
    fn panel(&self) -> usize {
        self.width
    }

    #[inline(always)]
    unsafe fn rows<const N: usize>(&self, first: usize) -> TileRows<T, Neighbours<T>> {
        TileRows::Neighbours(self.lines(first))
    }

    #[inline(always)]
    unsafe fn registers<const N: usize>(&self, first: usize, lanes: usize) -> Apart<T> {
        Apart { first: self.lines(first), distance: lanes as isize }
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize, lanes: usize) -> SideBySide {
        SideBySide::side_by_side(first, lanes)
    }
}

/// A dense operand, packed or where it is: which of the two makes no difference to the code that reads it.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    start: *const T,
    /// Elements from one line to the next at one depth, within a panel.
    line: isize,
    /// Elements from one depth to the next.
    step: isize,
    /// Elements from the start to line n, over n: the depth of a panel, or the operand's own stride.
    reach: isize,
    /// Lines of a panel; 1 of an operand in place.
    panel: usize,
    /// The end of what may be read, if nothing else lies between rows of B.
    end: *const T,
    lifetime: PhantomData<&'a [T]>,
}

// SAFETY: a shared slice with strides.
unsafe impl<T: Sync> Sync for Strided<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for Strided<'_, T> {}

impl<'a, T: Element> Strided<'a, T> {
    /// Packed panels of `width` over `depth`.
    pub(crate) fn packed(panels: &'a [T], depth: usize, width: usize) -> Self {
        Self {
            start: panels.as_ptr(),
            line: 1,
            step: width as isize,
            reach: depth as isize,
            panel: width,
            end: panels.as_ptr_range().end,
            lifetime: PhantomData,
        }
    }

    /// The rows of `a`, any strides, from (row, depth) on.
    pub(crate) fn rows(a: MatRef<'a, T>, row: usize, depth: usize) -> Self {
        let [line, step] = a.strides();
        let start = a.at(row, depth);
        let end = std::ptr::null();
        Self { start, line, step, reach: line, panel: 1, end, lifetime: PhantomData }
    }

    /// The columns of `b`, whose rows must be contiguous, from (depth, column) on.
    pub(crate) fn columns(b: MatRef<'a, T>, depth: usize, col: usize) -> Self {
        let [step, along] = b.strides();
        debug_assert!(along == 1 || b.cols() <= 1);
        let start = b.at(depth, col);
        let end = if step == b.cols() as isize { b.at(b.rows(), 0) } else { std::ptr::null() };
        Self { start, line: 1, step, reach: 1, panel: 1, end, lifetime: PhantomData }
    }

    /// The same from line `first` on, which must begin a panel.
    pub(crate) fn starting_at(self, first: usize) -> Self {
        debug_assert_eq!(first % self.panel, 0);
        Self { start: self.line_at(first), ..self }
    }

    /// The address of line `first`, which must begin a panel.
    #[inline(always)]
    fn line_at(&self, first: usize) -> *const T {
        self.start.wrapping_offset(first as isize * self.reach)
    }
}

impl<T: Element> Panels<T> for Strided<'_, T> {
    type OtherRows<const N: usize> = Apart<T>;
    type Registers<const N: usize> = Apart<T>;
    type Columns<const N: usize> = SideBySide;

    const PADDED: bool = false;

    #[inline(always)]
    fn panel(&self) -> usize {
        self.panel
    }

    #[inline(always)]
    unsafe fn rows<const N: usize>(&self, first: usize) -> TileRows<T, Apart<T>> {
        let (start, distance, step) = (self.line_at(first), self.line, self.step);
        if distance == 1 || N == 1 {
            TileRows::Neighbours(Neighbours { start, step })
        } else if step == 1 {
            TileRows::Rows(Rows::new(start, distance))
        } else {
            TileRows::Other(Apart { first: Neighbours { start, step }, distance })
        }
    }

    #[inline(always)]
    unsafe fn registers<const N: usize>(&self, first: usize, lanes: usize) -> Apart<T> {
        let first = Neighbours { start: self.line_at(first), step: self.step };
        Apart { first, distance: lanes as isize }
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize, lanes: usize) -> SideBySide {
        SideBySide::side_by_side(first, lanes)
    }

    #[inline(always)]
    fn readable(&self, first: usize, width: usize) -> usize {
        let bytes = self.end.addr().saturating_sub(self.line_at(first).addr());
        match (bytes / size_of::<T>()).checked_sub(width) {
            Some(further) => further / self.step.unsigned_abs().max(1) + 1,
            None => 0,
        }
    }
}

/// Lines of an image, read where they are: element (line, d) is `data[lines[line] + depth[d]]`.
#[derive(Clone, Copy)]
pub struct Gathered<'a, T> {
    data: &'a [T],
    lines: &'a [usize],
    depth: &'a [usize],
    columns: &'a [usize],
}

impl<'a, T: Element> Gathered<'a, T> {
    /// As rows of A.
    ///
    /// # Safety
    /// - Every sum of a line's and a depth's offset must lie within `data`.
    pub(crate) unsafe fn rows(data: &'a [T], lines: &'a [usize], depth: &'a [usize]) -> Self {
        Self { data, lines, depth, columns: &[] }
    }

    /// As columns of B, a register a line; `columns` says where C keeps each.
    ///
    /// # Safety
    /// - A register from every sum of a line's and a depth's offset on must lie within `data`.
    /// - The lines must be a whole number of panels, and there must be as many `columns`.
    pub(crate) unsafe fn registers(
        data: &'a [T],
        lines: &'a [usize],
        depth: &'a [usize],
        columns: &'a [usize],
    ) -> Self {
        Self { data, lines, depth, columns }
    }

    /// N lines from line `first` on.
    #[inline(always)]
    fn listed<const N: usize>(&self, first: usize) -> Listed<T, N> {
        let lines = &self.lines[first..][..N];
        let lines = std::array::from_fn(|i| self.data.as_ptr().wrapping_add(lines[i]));
        Listed { lines, offsets: self.depth.as_ptr() }
    }
}

impl<T: Element> Panels<T> for Gathered<'_, T> {
    type OtherRows<const N: usize> = Listed<T, N>;
    type Registers<const N: usize> = Listed<T, N>;
    type Columns<const N: usize> = [usize; N];

    const PADDED: bool = true;

    #[inline(always)]
    fn panel(&self) -> usize {
        1
    }

    #[inline(always)]
    unsafe fn rows<const N: usize>(&self, first: usize) -> TileRows<T, Listed<T, N>> {
        TileRows::Other(self.listed(first))
    }

    #[inline(always)]
    unsafe fn registers<const N: usize>(&self, first: usize, lanes: usize) -> Listed<T, N> {
        self.listed(first / lanes)
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize, lanes: usize) -> [usize; N] {
        let columns = &self.columns[first / lanes..][..N];
        std::array::from_fn(|j| columns[j])
    }
}
