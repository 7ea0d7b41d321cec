//! Packing: operands rearranged into micropanels, the order in which the microkernel reads them.
//!
//! A micropanel is `width` lines of an operand (rows of A, columns of B) over a range of depth, stored depth by
//! depth: element (line, d) at `[d·width + line]`. Lines beyond the operand hold anything; what comes of them is not stored.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::caches::{LINE, lines_of_l1};
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::{Pool, Rows};
use crate::simd::prefetch;
use crate::view::MatRef;

/// An operand that can be packed: a dense matrix, or an image seen through a filter's taps. The seam through
/// which convolution is a matrix product without a column matrix.
pub(crate) trait PanelSource<T: Element>: Sync {
    /// Depth over which all panels of `width` lines are packed before the next: where neighbouring panels lie side by side in
    /// memory and a step along the depth is far, a few rows at a time.
    fn depth_at_a_time(&self, _width: usize) -> usize {
        usize::MAX
    }

    /// Packs `lines` (at most `width`) over `depth` into `panel`, which holds `width` elements for each depth.
    fn pack<S: Simd>(
        &self,
        simd: S,
        panel: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    );
}

/// A matrix whose rows are the lines and whose columns are the depth: A itself, or Bᵀ.
pub(crate) struct Dense<'a, T>(pub(crate) MatRef<'a, T>);

impl<T: Element> PanelSource<T> for Dense<'_, T> {
    fn depth_at_a_time(&self, width: usize) -> usize {
        let [line_stride, depth_stride] = self.0.strides();
        match width * size_of::<T>() {
            _ if line_stride != 1 => usize::MAX,
            // The next panel reads on in the same lines of the cache.
            bytes if bytes < LINE => lines_of_l1::<T>(depth_stride),
            _ => LONG_RUNS,
        }
    }

    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        simd: S,
        panel: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        assert!(lines.end <= self.0.rows() && depth.end <= self.0.cols());
        assert!(lines.len() <= width && panel.len() == width * depth.len());
        let [line_stride, depth_stride] = self.0.strides();
        if line_stride != 1 && depth_stride == 1 {
            return self.pack_turned(simd, panel, width, lines, depth);
        }
        // A width known to the compiler turns the copies into plain vector moves.
        match width {
            4 => self.pack_lines::<4, 4>(panel, lines, depth),
            6 => self.pack_lines::<6, 8>(panel, lines, depth),
            8 => self.pack_lines::<8, 8>(panel, lines, depth),
            12 => self.pack_lines::<12, 16>(panel, lines, depth),
            16 => self.pack_lines::<16, 16>(panel, lines, depth),
            32 => self.pack_lines::<32, 32>(panel, lines, depth),
            _ => self.pack_any(panel, width, lines, depth),
        }
    }
}

impl<T: Element> Dense<'_, T> {
    /// Panels of `W` lines, side by side or far apart. `R` is the power of two that holds them.
    #[inline(always)]
    fn pack_lines<const W: usize, const R: usize>(
        &self,
        panel: &mut [T],
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        let [line_stride, depth_stride] = self.0.strides();
        let mut from = self.0.at(lines.start, depth.start);
        let whole = self.depths_to_read::<R>(lines.start, &depth).min(depth.len() - 1);
        for d in 0..whole {
            // In whole registers: what is too much, the next step overwrites, and one must follow.
            // SAFETY: the matrix holds R elements from here on; this step of the panel and the next have 2·W >= R elements.
            unsafe {
                let to = panel.as_mut_ptr().add(d * W);
                to.cast::<[T; R]>().write(from.cast::<[T; R]>().read());
            }
            from = from.wrapping_offset(depth_stride);
        }
        if lines.len() < W {
            return self.pack_any(
                &mut panel[whole * W..],
                W,
                lines,
                depth.start + whole..depth.end,
            );
        }
        let (steps, _) = panel.as_chunks_mut::<W>();
        for step in &mut steps[whole..] {
            for (i, to) in step.iter_mut().enumerate() {
                // SAFETY: W whole lines of this depth lie within the matrix, checked in `pack`.
                *to = unsafe { *from.wrapping_offset(i as isize * line_stride) };
            }
            from = from.wrapping_offset(depth_stride);
        }
    }

    /// For how many steps of `depth` the matrix holds R elements, one after another, from line `first` on: its own lines, or where
    /// each step lies right behind the one before it, that and what follows.
    #[inline(always)]
    fn depths_to_read<const R: usize>(&self, first: usize, depth: &Range<usize>) -> usize {
        let ([lines, all], [line_stride, depth_stride]) = (self.0.shape(), self.0.strides());
        if line_stride != 1 {
            0
        } else if first + R <= lines {
            depth.len()
        } else if depth_stride == lines as isize {
            let before_the_end = (lines * all + lines).saturating_sub(first + R) / lines;
            before_the_end.saturating_sub(depth.start)
        } else {
            0
        }
    }

    /// Lines that are contiguous along the depth: square by square, transposed in registers.
    #[inline(always)]
    fn pack_turned<S: Simd>(
        &self,
        simd: S,
        panel: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        let (side, row) = (T::SIDE, self.0.strides()[0]);
        // What a square writes beyond the panel's width, the first square or the next depth overwrites: so the last
        // square comes first, and where there is such a thing, one more depth must follow.
        let by_squares = depth.len() - usize::from(!width.is_multiple_of(side));
        if by_squares < side {
            return self.pack_any(panel, width, lines, depth);
        }
        for done in (0..by_squares).step_by(side) {
            // The last squares may begin among the depths of those before them.
            let done = done.min(by_squares - side);
            for at in (0..width).step_by(side).rev() {
                let (first, rows) = (lines.start + at, lines.len().saturating_sub(at).min(side));
                let from = self.0.at(first.min(lines.end - 1), depth.start + done);
                // The next panel's rows, of which each is too short for the hardware to see it coming.
                for i in 0..side {
                    prefetch(from.wrapping_offset((width + i) as isize * row));
                }
                // SAFETY: `rows` lines and `side` depths from here on lie within the matrix, checked in `pack`; the last step
                // ends within the panel, or `side` elements after its beginning at most, and then a whole depth follows:
                // width·(done + side + 1) <= panel.len().
                let turned = unsafe {
                    let to = panel.as_mut_ptr().add(done * width + at);
                    T::transpose(simd, from, row, rows, to, width)
                };
                if !turned {
                    return self.pack_any(panel, width, lines, depth);
                }
            }
        }
        let left = depth.start + by_squares..depth.end;
        self.pack_any(&mut panel[by_squares * width..], width, lines, left);
    }

    /// Any lines, element by element.
    #[inline(always)]
    fn pack_any(&self, panel: &mut [T], width: usize, lines: Range<usize>, depth: Range<usize>) {
        for (step, d) in panel.chunks_exact_mut(width).zip(depth) {
            let (inside, beyond) = step.split_at_mut(lines.len());
            for (to, line) in inside.iter_mut().zip(lines.clone()) {
                // SAFETY: the element lies within the matrix, checked in `pack`.
                *to = unsafe { *self.0.at(line, d) };
            }
            beyond.fill(T::zero());
        }
    }
}

/// Elements that `lines` lines over `depth` take when packed in panels of `width`.
pub(crate) fn packed_len(lines: usize, width: usize, depth: usize) -> usize {
    lines.next_multiple_of(width) * depth
}

/// Elements a task packs, at least.
const PART_LEN: usize = 16 * 1024;
/// Tasks at most: more would cut rows of adjacent lines into short pieces.
const PARTS: usize = 8;
/// Depth at a time that makes the rows of a matrix pass as runs of many panels, which the hardware prefetches, instead of a
/// panel's width from each page.
const LONG_RUNS: usize = 16;

/// Packs `lines` of `source` over `depth` into `panels`, which must hold [`packed_len`] elements.
pub(crate) fn pack_panels<T: Element, P: PanelSource<T>>(
    arch: Arch,
    pool: Pool,
    source: &P,
    panels: &mut [T],
    width: usize,
    lines: Range<usize>,
    depth: Range<usize>,
) {
    let panel_len = width * depth.len();
    let count = lines.len().div_ceil(width);
    let part_panels = PART_LEN.div_ceil(panel_len.max(1)).max(count.div_ceil(PARTS));
    let panels = Rows::new(panels, count, panel_len);
    pool.for_each_part(panels, part_panels, |part, panels| {
        let start = lines.start + part * part_panels * width;
        let lines = start..lines.end.min(start + panels.rows * width);
        arch.dispatch(PackPart { source, panels: panels.data, width, lines, depth: depth.clone() });
    });
}

struct PackPart<'a, T, P> {
    source: &'a P,
    panels: &'a mut [T],
    width: usize,
    lines: Range<usize>,
    depth: Range<usize>,
}

impl<T: Element, P: PanelSource<T>> WithSimd for PackPart<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { source, panels, width, lines, depth } = self;
        if depth.is_empty() {
            return;
        }
        let panel_len = width * depth.len();
        let step = source.depth_at_a_time(width).min(depth.len());
        for first in depth.clone().step_by(step) {
            let depth_here = first..depth.end.min(first + step);
            let here = width * (first - depth.start)..width * (depth_here.end - depth.start);
            let mut start = lines.start;
            for panel in panels.chunks_exact_mut(panel_len) {
                let end = lines.end.min(start + width);
                source.pack(simd, &mut panel[here.clone()], width, start..end, depth_here.clone());
                start = end;
            }
        }
    }
}
