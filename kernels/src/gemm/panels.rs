//! What the microkernel reads: packed micropanels, or an image in place.
//!
//! A panel is a few lines (rows of A, registers of B), each with an address, and one list of steps that all of them
//! take from one depth to the next. Packed, the steps are even; on an image, they are the offsets of a filter's taps (or of
//! the pixels), and nothing needs to be packed.

use std::marker::PhantomData;

use crate::element::Element;
use crate::view::MatRef;

/// The offset, in elements, of each depth from a line's address.
pub trait Steps: Copy {
    /// # Safety
    /// - `d` must be below the depth of the panel.
    unsafe fn offset(self, d: usize) -> isize;

    /// The offset of a depth that may lie beyond the panel, to prefetch it; `None` where only a table would tell.
    fn ahead(self, d: usize) -> Option<isize>;
}

/// Steps of the same length.
#[derive(Clone, Copy)]
pub struct Even(isize);

impl Steps for Even {
    #[inline(always)]
    unsafe fn offset(self, d: usize) -> isize {
        d as isize * self.0
    }

    #[inline(always)]
    fn ahead(self, d: usize) -> Option<isize> {
        Some(d as isize * self.0)
    }
}

/// Steps from a table.
#[derive(Clone, Copy)]
pub struct Listed(*const usize);

impl Steps for Listed {
    #[inline(always)]
    unsafe fn offset(self, d: usize) -> isize {
        // SAFETY: the table is as long as the panel is deep, and `d` is within it; offsets lie within a slice.
        unsafe { *self.0.add(d) as isize }
    }

    #[inline(always)]
    fn ahead(self, _d: usize) -> Option<isize> {
        None
    }
}

/// A block of an operand, panel by panel.
pub trait Panels<T>: Copy + Sync {
    type Steps: Steps;

    /// Whether a whole panel may be read where the operand ends within it.
    const PADDED: bool;

    fn steps(&self) -> Self::Steps;

    /// Lines of a panel, at whose multiples tiles must begin; 1 where they may begin at any line.
    fn panel(&self) -> usize;

    /// The addresses of the N lines of the panel at element `first` of the block.
    ///
    /// # Safety
    /// - `first` must be the first row (or column) of a panel of this block, and the panel must have N lines.
    unsafe fn lines<const N: usize>(&self, first: usize) -> [*const T; N];

    /// Which columns of C the N registers of the panel at column `first` of the block begin at, from the block's first.
    ///
    /// # Safety
    /// As [`Panels::lines`].
    unsafe fn columns<const N: usize>(&self, first: usize) -> [usize; N];
}

/// Packed micropanels.
#[derive(Clone, Copy)]
pub struct Packed<'a, T> {
    pub(crate) panels: &'a [T],
    pub(crate) depth: usize,
    /// Elements of a panel at one depth: MR or NR.
    pub(crate) width: usize,
    /// Elements of a line at one depth: 1 of A, a register of B.
    pub(crate) line: usize,
}

impl<T: Element> Panels<T> for Packed<'_, T> {
    type Steps = Even;

    const PADDED: bool = true;

    #[inline(always)]
    fn steps(&self) -> Even {
        Even(self.width as isize)
    }

    #[inline(always)]
    fn panel(&self) -> usize {
        self.width
    }

    #[inline(always)]
    unsafe fn lines<const N: usize>(&self, first: usize) -> [*const T; N] {
        debug_assert!(self.panels.len() >= (first + self.width) * self.depth);
        // SAFETY: the panels before this one take `first` elements of each depth, and N lines fit its width.
        std::array::from_fn(|i| unsafe {
            self.panels.as_ptr().add(first * self.depth + i * self.line)
        })
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize) -> [usize; N] {
        std::array::from_fn(|j| first + j * self.line)
    }
}

/// A dense operand, packed or where it is: which of the two makes no difference to the code that reads it.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    start: *const T,
    /// Elements from one line of a tile (a row of A, a register of B) to the next.
    line: isize,
    /// Elements from one depth to the next.
    step: isize,
    /// Elements from the start to column or row n, over n: the depth of a panel, or the operand's own stride.
    reach: isize,
    /// Lines of a panel; 1 of an operand in place.
    panel: usize,
    lifetime: PhantomData<&'a [T]>,
}

// SAFETY: a shared slice with strides.
unsafe impl<T: Sync> Sync for Strided<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for Strided<'_, T> {}

impl<'a, T: Element> Strided<'a, T> {
    /// Packed panels of `width` over `depth`, whose lines are `line` elements apart: 1 of A, a register of B.
    pub(crate) fn packed(panels: &'a [T], depth: usize, width: usize, line: usize) -> Self {
        Self {
            start: panels.as_ptr(),
            line: line as isize,
            step: width as isize,
            reach: depth as isize,
            panel: width,
            lifetime: PhantomData,
        }
    }

    /// The rows of `a`, any strides, from (row, depth) on.
    pub(crate) fn rows(a: MatRef<'a, T>, row: usize, depth: usize) -> Self {
        let [line, step] = a.strides();
        let start = a.at(row, depth);
        Self { start, line, step, reach: line, panel: 1, lifetime: PhantomData }
    }

    /// Registers of `lanes` along the rows of `b`, which must be contiguous, from (depth, column) on.
    pub(crate) fn registers(b: MatRef<'a, T>, depth: usize, col: usize, lanes: usize) -> Self {
        let [step, along] = b.strides();
        debug_assert!(along == 1 || b.cols() <= 1);
        let start = b.at(depth, col);
        Self { start, line: lanes as isize, step, reach: 1, panel: 1, lifetime: PhantomData }
    }

    /// The same from line `first` on, which must begin a panel.
    pub(crate) fn starting_at(self, first: usize) -> Self {
        debug_assert_eq!(first % self.panel, 0);
        Self { start: self.start.wrapping_offset(first as isize * self.reach), ..self }
    }
}

impl<T: Element> Panels<T> for Strided<'_, T> {
    type Steps = Even;

    const PADDED: bool = false;

    #[inline(always)]
    fn steps(&self) -> Even {
        Even(self.step)
    }

    #[inline(always)]
    fn panel(&self) -> usize {
        self.panel
    }

    #[inline(always)]
    unsafe fn lines<const N: usize>(&self, first: usize) -> [*const T; N] {
        let start = self.start.wrapping_offset(first as isize * self.reach);
        std::array::from_fn(|i| start.wrapping_offset(i as isize * self.line))
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize) -> [usize; N] {
        std::array::from_fn(|j| first + j * self.line as usize)
    }
}

/// Lines of an image, read where they are: element (line, d) is `data[lines[line] + depth[d]]`.
#[derive(Clone, Copy)]
pub struct Gathered<'a, T> {
    data: &'a [T],
    lines: &'a [usize],
    depth: &'a [usize],
    columns: &'a [usize],
    line: usize,
}

impl<'a, T: Element> Gathered<'a, T> {
    /// As rows of A.
    ///
    /// # Safety
    /// - Every sum of a line's and a depth's offset must lie within `data`.
    pub(crate) unsafe fn rows(data: &'a [T], lines: &'a [usize], depth: &'a [usize]) -> Self {
        Self { data, lines, depth, columns: &[], line: 1 }
    }

    /// As columns of B, a register of `lanes` elements a line; `columns` says where C keeps each.
    ///
    /// # Safety
    /// - A register from every sum of a line's and a depth's offset on must lie within `data`.
    /// - The lines must be a whole number of panels, and there must be as many `columns`.
    pub(crate) unsafe fn registers(
        data: &'a [T],
        lines: &'a [usize],
        depth: &'a [usize],
        columns: &'a [usize],
        lanes: usize,
    ) -> Self {
        Self { data, lines, depth, columns, line: lanes }
    }
}

impl<T: Element> Panels<T> for Gathered<'_, T> {
    type Steps = Listed;

    const PADDED: bool = true;

    #[inline(always)]
    fn steps(&self) -> Listed {
        Listed(self.depth.as_ptr())
    }

    #[inline(always)]
    fn panel(&self) -> usize {
        1
    }

    #[inline(always)]
    unsafe fn lines<const N: usize>(&self, first: usize) -> [*const T; N] {
        let lines = &self.lines[first / self.line..][..N];
        // SAFETY: offsets lie within the data, promised when this was made.
        std::array::from_fn(|i| unsafe { self.data.as_ptr().add(lines[i]) })
    }

    #[inline(always)]
    unsafe fn columns<const N: usize>(&self, first: usize) -> [usize; N] {
        let columns = &self.columns[first / self.line..][..N];
        std::array::from_fn(|j| columns[j])
    }
}
