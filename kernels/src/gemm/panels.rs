//! What the microkernel reads: packed micropanels, or an image in place.
//!
//! A panel is a few lines (rows of A, registers of B), each with an address, and one list of steps that all of them
//! take from one depth to the next. Packed, the steps are even; on an image, they are the offsets of a filter's taps (or of
//! the pixels), and nothing needs to be packed.

use crate::element::Element;

/// The offset, in elements, of each depth from a line's address.
pub(crate) trait Steps: Copy {
    /// # Safety
    /// - `d` must be below the depth of the panel.
    unsafe fn offset(self, d: usize) -> usize;
}

/// Steps of the same length.
#[derive(Clone, Copy)]
pub(crate) struct Even(usize);

impl Steps for Even {
    #[inline(always)]
    unsafe fn offset(self, d: usize) -> usize {
        d * self.0
    }
}

/// Steps from a table.
#[derive(Clone, Copy)]
pub(crate) struct Listed(*const usize);

impl Steps for Listed {
    #[inline(always)]
    unsafe fn offset(self, d: usize) -> usize {
        // SAFETY: the table is as long as the panel is deep, and `d` is within it.
        unsafe { *self.0.add(d) }
    }
}

/// A block of an operand, panel by panel.
pub(crate) trait Panels<T>: Copy + Sync {
    type Steps: Steps;

    fn steps(&self) -> Self::Steps;

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
pub(crate) struct Packed<'a, T> {
    pub(crate) panels: &'a [T],
    pub(crate) depth: usize,
    /// Elements of a panel at one depth: MR or NR.
    pub(crate) width: usize,
    /// Elements of a line at one depth: 1 of A, a register of B.
    pub(crate) line: usize,
}

impl<T: Element> Panels<T> for Packed<'_, T> {
    type Steps = Even;

    #[inline(always)]
    fn steps(&self) -> Even {
        Even(self.width)
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

/// Lines of an image, read where they are: element (line, d) is `data[lines[line] + depth[d]]`.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a, T> {
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

    #[inline(always)]
    fn steps(&self) -> Listed {
        Listed(self.depth.as_ptr())
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
