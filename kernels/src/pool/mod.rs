//! 2-D pooling, NCHW: the maximum and the average under a [`Window`].
//!
//! `x` is (batch, channels, height, width), `y` is (batch, channels, output height, output width)
//! with the sizes of [`Window::output`]. A window's padding must be smaller than the window, so that
//! every window has a cell on the plane.

mod average;
mod max;
mod walk;

pub use average::{average_pool_backward, average_pool_forward};
pub use max::{WindowIndex, max_pool_backward, max_pool_forward};

use std::ops::Range;

use crate::conv::Window;
use crate::error::{Error, Result, checked_size};

/// Elements of x below which waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 14;

/// Elements of x a task takes: with what is written, they stay in L2.
const PART_LEN: usize = 1 << 14;

/// A pooling whose shapes fit.
#[derive(Clone, Copy)]
struct Geometry {
    planes: usize,
    height: usize,
    width: usize,
    out_h: usize,
    out_w: usize,
    window: Window,
}

impl Geometry {
    fn new(op: &'static str, input: [usize; 4], window: &Window) -> Result<Self> {
        let [batch, channels, height, width] = input;
        let problem = |problem: String| Err(Error::Shape { op, problem });
        if height == 0 || width == 0 {
            return problem(format!("a plane of {height} × {width} has no cells to pool"));
        }
        if window.pad[0] >= window.size[0] || window.pad[1] >= window.size[1] {
            return problem(format!(
                "padding {:?} must be smaller than the window {:?}",
                window.pad, window.size
            ));
        }
        let [out_h, out_w] = window.output([height, width])?;
        checked_size(op, &input)?;
        checked_size(op, &[batch, channels, out_h, out_w])?;
        Ok(Self { planes: batch * channels, height, width, out_h, out_w, window: *window })
    }

    fn input_len(&self) -> usize {
        self.planes * self.plane_len()
    }

    fn output_len(&self) -> usize {
        self.planes * self.output_plane_len()
    }

    /// Elements of one plane of x.
    #[inline]
    fn plane_len(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one plane of y.
    #[inline]
    fn output_plane_len(&self) -> usize {
        self.out_h * self.out_w
    }

    /// Planes a task takes.
    fn planes_a_part(&self) -> usize {
        (PART_LEN / self.plane_len()).max(1)
    }

    /// 2×2 windows side by side: the pooling that networks use.
    fn is_halving(&self) -> bool {
        self.window == Window::new(2, 2).stride(2)
    }

    /// Whether half a register, or a whole one, fits a row of such windows.
    fn halves_in(&self, lanes: usize) -> bool {
        self.is_halving() && (self.is_of_halves(lanes) || self.out_w >= lanes)
    }

    /// Whether rows of y are whole halves of registers.
    fn is_of_halves(&self, lanes: usize) -> bool {
        let half = lanes / 2;
        half > 0 && self.out_w.is_multiple_of(half) && self.output_plane_len() >= lanes
    }

    /// Where windows can be [halved](Geometry::halves_in): calls `visit(at, from)` for registers of windows until all of a plane's have
    /// been in one, some of them twice. `at` is where the first of a register's windows lies in y, and `from` where the upper rows of its
    /// first half and of its second half lie in x: each half in a row of y, where those are whole halves.
    #[inline(always)]
    fn halve(&self, lanes: usize, mut visit: impl FnMut(usize, [usize; 2])) {
        let &Self { width, out_h, out_w, .. } = self;
        let half = lanes / 2;
        if self.is_of_halves(lanes) {
            let place = |at: usize| at / out_w * 2 * width + at % out_w * 2;
            let (mut row, mut column) = (0, 0);
            let mut next = || {
                let from = row + 2 * column;
                column += half;
                if column == out_w {
                    (row, column) = (row + 2 * width, 0);
                }
                from
            };
            for register in 0..out_h * out_w / lanes {
                visit(register * lanes, [next(), next()]);
            }
            if !(out_h * out_w).is_multiple_of(lanes) {
                let at = out_h * out_w - lanes;
                visit(at, [place(at), place(at + half)]);
            }
            return;
        }
        for oy in 0..out_h {
            for register in 0..out_w.div_ceil(lanes) {
                let ox = (register * lanes).min(out_w - lanes);
                let from = 2 * (oy * width + ox);
                visit(oy * out_w + ox, [from, from + lanes]);
            }
        }
    }

    /// The rows of the windows of row `oy` of y that lie on the plane. Never empty.
    #[inline]
    fn rows_on_plane(&self, oy: usize) -> Range<usize> {
        self.cells_on_plane(0, self.height, oy)
    }

    /// The columns of the windows of column `ox` of y that lie on the plane. Never empty.
    #[inline]
    fn columns_on_plane(&self, ox: usize) -> Range<usize> {
        self.cells_on_plane(1, self.width, ox)
    }

    #[inline]
    fn cells_on_plane(&self, axis: usize, len: usize, at: usize) -> Range<usize> {
        let Window { size, stride, pad } = self.window;
        let start = at * stride[axis];
        pad[axis].saturating_sub(start)..size[axis].min(len + pad[axis] - start)
    }

    /// The columns of y whose windows lie within the rows of the plane.
    fn interior_columns(&self) -> Range<usize> {
        let Window { size, stride, pad } = self.window;
        let start = pad[1].div_ceil(stride[1]).min(self.out_w);
        let end = match (self.width + pad[1]).checked_sub(size[1]) {
            Some(room) => (room / stride[1] + 1).min(self.out_w),
            None => start,
        };
        start..end.max(start)
    }
}
