//! im2col as a panel source: the packed GEMM reads an image through its filter's taps, and no column matrix exists.

use std::ops::Range;

use pulp::Simd;

use crate::element::Element;
use crate::gemm::packing::PanelSource;
use crate::simd::Vector;

/// The matrix whose lines are windows and whose depth is taps: element (line, d) is
/// `data[lines[line] + depth[d]]`.
pub(super) struct Taps<'a, T> {
    data: &'a [T],
    lines: &'a [usize],
    depth: &'a [usize],
}

/// Consecutive lines of a panel whose elements are consecutive in memory too.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Position in the panel.
    at: usize,
    /// Offset of its first line.
    from: usize,
    len: usize,
}

/// The widest panel: 2 registers of 16 f32.
const MAX_WIDTH: usize = 32;

impl<'a, T: Element> Taps<'a, T> {
    /// # Safety
    /// - A register from the sum of any line's and any depth's offset on must lie within `data`.
    pub(super) unsafe fn new(data: &'a [T], lines: &'a [usize], depth: &'a [usize]) -> Self {
        Self { data, lines, depth }
    }

    /// The runs of `lines`.
    #[inline(always)]
    fn runs<'r>(&self, lines: Range<usize>, runs: &'r mut [Run; MAX_WIDTH]) -> &'r [Run] {
        let mut count = 0;
        for (at, &from) in self.lines[lines].iter().enumerate() {
            match runs[..count].last_mut() {
                Some(run) if run.from + run.len == from => run.len += 1,
                _ => {
                    runs[count] = Run { at, from, len: 1 };
                    count += 1;
                }
            }
        }
        &runs[..count]
    }
}

impl<T: Element> PanelSource<T> for Taps<'_, T> {
    /// Copies run by run in whole registers: what a copy writes beyond its run, the next run or the next depth
    /// overwrites.
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        simd: S,
        panel: &mut [T],
        width: usize,
        lines: Range<usize>,
        depth: Range<usize>,
    ) {
        assert!(lines.len() <= width && width <= MAX_WIDTH);
        assert_eq!(panel.len(), width * depth.len());
        let lanes = Vector::<T, S>::len();
        let beyond = lines.len();
        let mut runs = [Run::default(); MAX_WIDTH];
        let runs = self.runs(lines, &mut runs);
        let end = panel.len();
        for (step, &tap) in self.depth[depth].iter().enumerate() {
            for run in runs {
                for done in (0..run.len).step_by(lanes) {
                    // SAFETY: a register from the offset of a line and a tap on lies in `data`, promised in `new`.
                    let register = unsafe {
                        Vector::load_ptr(simd, self.data.as_ptr().add(tap + run.from + done))
                    };
                    let at = step * width + run.at + done;
                    if at + lanes <= end {
                        // SAFETY: just compared.
                        unsafe { register.store_ptr(panel.as_mut_ptr().add(at)) }
                    } else {
                        register.store_partial(&mut panel[at..]);
                    }
                }
            }
            panel[step * width + beyond..(step + 1) * width].fill(T::zero());
        }
    }
}
