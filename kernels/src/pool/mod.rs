//! 2-D pooling, NCHW: the maximum and the average under a [`Window`].
//!
//! `x` is (batch, channels, height, width), `y` is (batch, channels, output height, output width)
//! with the sizes of [`Window::output`]. A window's padding must be smaller than the window, so that
//! every window has a cell on the plane.

mod average;
mod max;

pub use average::{average_pool_backward, average_pool_forward};
pub use max::{WindowIndex, max_pool_backward, max_pool_forward};

use crate::conv::Window;
use crate::error::{Error, Result, checked_size};

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
    fn plane_len(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one plane of y.
    fn output_plane_len(&self) -> usize {
        self.out_h * self.out_w
    }
}
