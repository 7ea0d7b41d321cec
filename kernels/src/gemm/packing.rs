//! Packing: operands rearranged into micropanels, the order in which the microkernel reads them.
//!
//! A micropanel is `width` lines of an operand (rows of A, columns of B) over a range of depth, stored depth by
//! depth: element (line, d) at `[d·width + line]`. Lines beyond the operand hold anything; what comes of them is not stored.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::caches::lines_of_l1;
use crate::arch::Arch;
use crate::element::Element;
use crate::parallel::{Pool, Rows};
use crate::simd::prefetch;
use crate::view::MatRef;

/// An operand that can be packed: a dense matrix, or an image seen through a filter's taps. The seam through
/// which convolution is a matrix product without a column matrix.
pub(crate) trait PanelSource<T: Element>: Sync {
    /// Whether [`Self::pack`] takes any number of lines; else it takes those of one panel.
    fn packs_many(&self) -> bool {
        false
    }

    /// Packs `lines` over `depth` into `panels`, one after another, each of `width` elements for each depth.
    fn pack<S: Simd>(
        &self,
        simd: S,
        panels: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    );
}

/// A matrix whose rows are the lines and whose columns are the depth: A itself, or Bᵀ.
pub(crate) struct Dense<'a, T>(pub(crate) MatRef<'a, T>);

impl<T: Element> PanelSource<T> for Dense<'_, T> {
    /// Where the next line is nearer than the next depth.
    fn packs_many(&self) -> bool {
        let [line_stride, depth_stride] = self.0.strides().map(isize::unsigned_abs);
        line_stride <= depth_stride
    }

    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        simd: S,
        panels: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        match self.0.strides()[1] == 1 && !self.packs_many() {
            true => self.pack_turned(simd, panels, width, lines, depth),
            false => self.pack_steps(panels, width, lines, depth),
        }
    }
}

/// Steps that are packed at once: four parts of 48 bytes are three whole lines of a panel, which those of the other panels might drive
/// out of L1 half written. So many runs are read side by side then, and must not drive each other out either: 1024×50×1000 of a
/// transposed A takes 0.88 of its time with AVX-512, on an Intel whose L1 has 12 ways.
const STEPS_AT_ONCE: usize = 4;
const LINES_FOR_STEPS: usize = 3 * STEPS_AT_ONCE;

impl<T: Element> Dense<'_, T> {
    /// What makes packing sound: the lines are the matrix's, and there is room for them.
    fn check(&self, panels: &[T], width: usize, lines: &Range<usize>, depth: &Range<usize>) {
        assert!(lines.end <= self.0.rows() && depth.end <= self.0.cols());
        assert!(panels.len() == packed_len(lines.len(), width, depth.len()));
    }

    /// Packs panels step by step of the depth.
    #[inline(always)]
    fn pack_steps(&self, panels: &mut [T], width: usize, lines: Range<usize>, depth: Range<usize>) {
        self.check(panels, width, &lines, &depth);
        // A width known to the compiler turns the copies into plain vector moves.
        match width {
            4 => self.pack_runs::<4>(panels, lines, depth),
            6 => self.pack_runs::<6>(panels, lines, depth),
            8 => self.pack_runs::<8>(panels, lines, depth),
            12 => self.pack_runs::<12>(panels, lines, depth),
            16 => self.pack_runs::<16>(panels, lines, depth),
            32 => self.pack_runs::<32>(panels, lines, depth),
            _ => {
                let starts = lines.clone().step_by(width);
                for (panel, start) in panels.chunks_exact_mut(width * depth.len()).zip(starts) {
                    let lines = start..lines.end.min(start + width);
                    self.pack_any(panel, width, lines, depth.clone());
                }
            }
        }
    }

    /// Panels of `W` lines. A few steps of the depth give all of them their parts: lines side by side are read as one run, whole lines
    /// of the cache at a time, however far the next step is.
    #[inline(always)]
    fn pack_runs<const W: usize>(
        &self,
        panels: &mut [T],
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        let (whole, panel_len) = (lines.len() / W, W * depth.len());
        let (panels, cut) = panels.split_at_mut(whole * panel_len);
        let [line, step] = self.0.strides();
        let most = if lines_of_l1::<T>(step) >= LINES_FOR_STEPS { STEPS_AT_ONCE } else { 1 };
        for first in (0..depth.len()).step_by(most) {
            let steps = most.min(depth.len() - first);
            for panel in 0..whole {
                let mut from = self.0.at(lines.start + panel * W, depth.start + first);
                let mut to = panels.as_mut_ptr().wrapping_add(panel * panel_len + first * W);
                for _ in 0..steps {
                    // SAFETY: W lines at this depth, within the matrix, and their place within a panel, as checked.
                    unsafe {
                        let part = match line {
                            1 => from.cast::<[T; W]>().read(),
                            _ => std::array::from_fn(|i| *from.wrapping_offset(i as isize * line)),
                        };
                        to.cast::<[T; W]>().write(part);
                    }
                    from = from.wrapping_offset(step);
                    to = to.wrapping_add(W);
                }
            }
        }
        if !cut.is_empty() {
            self.pack_cut::<W>(cut, lines.start + whole * W..lines.end, depth);
        }
    }

    /// The last of such panels, of fewer lines: with what follows them, where that is the matrix's next.
    #[inline(always)]
    fn pack_cut<const W: usize>(&self, panel: &mut [T], lines: Range<usize>, depth: Range<usize>) {
        let [all, depths] = self.0.shape();
        let is_dense = self.0.strides() == [1, all as isize];
        let readable =
            if is_dense { (depths * all - lines.start).saturating_sub(W) / all } else { 0 };
        let by_width = readable.clamp(depth.start, depth.end) - depth.start;
        let (steps, _) = panel.as_chunks_mut::<W>();
        for (step, d) in steps.iter_mut().zip(depth.clone()).take(by_width) {
            // SAFETY: W elements from here on lie within the matrix.
            *step = unsafe { self.0.at(lines.start, d).cast::<[T; W]>().read() };
        }
        self.pack_any(&mut panel[by_width * W..], W, lines, depth.start + by_width..depth.end);
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
        self.check(panel, width, &lines, &depth);
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
                // SAFETY: `rows` lines and `side` depths from here on lie within the matrix, as checked; the last step
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
                // SAFETY: the element lies within the matrix, as checked.
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
        let at_once = if source.packs_many() { lines.len() } else { width };
        let starts = lines.clone().step_by(at_once);
        for (panels, start) in
            panels.chunks_mut(packed_len(at_once, width, depth.len())).zip(starts)
        {
            let lines = start..lines.end.min(start + at_once);
            source.pack(simd, panels, width, lines, depth.clone());
        }
    }
}
