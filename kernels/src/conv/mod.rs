//! 2-D convolution, NCHW, and its two gradients; [`im2col`] and [`col2im`] for those who want the column matrix.

mod backward_weight;
mod columns;
mod forward;
mod geometry;
mod plane;
mod source;

pub use geometry::{ConvGeometry, Window};

use crate::element::Element;
use crate::error::{Result, check_len, checked_size};

/// Multiply-adds below which waking a thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 19;

/// y = x ∗ w + bias, then ReLU if `relu`; x, w and y as [`ConvGeometry`] says, bias of one value a filter.
///
/// Source: "Deep Learning from Scratch", chapter 7 (`Convolution.forward`).
///
/// # Errors
/// [`crate::Error::Length`] where a slice does not hold what the geometry asks for.
pub fn forward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) -> Result<()> {
    const OP: &str = "conv::forward";
    check_len(OP, "x", x, geometry.input_len())?;
    check_len(OP, "w", w, geometry.weight_len())?;
    check_len(OP, "y", y, geometry.output_len())?;
    if let Some(bias) = bias {
        check_len(OP, "bias", bias, geometry.weight()[0])?;
    }
    forward::forward(geometry, x, w, bias, relu, y)
}

/// dx, the gradient by x, from dy, the gradient by y.
///
/// # Errors
/// [`crate::Error::Length`] where a slice does not hold what the geometry asks for.
pub fn backward_data<T: Element>(
    geometry: &ConvGeometry,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    const OP: &str = "conv::backward_data";
    check_len(OP, "dy", dy, geometry.output_len())?;
    check_len(OP, "w", w, geometry.weight_len())?;
    check_len(OP, "dx", dx, geometry.input_len())?;
    forward::backward_data(geometry, dy, w, dx)
}

/// dw, the gradient by w, and db, the gradient by the bias, from dy, the gradient by y.
///
/// # Errors
/// [`crate::Error::Length`] where a slice does not hold what the geometry asks for.
pub fn backward_weight<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: Option<&mut [T]>,
) -> Result<()> {
    const OP: &str = "conv::backward_weight";
    check_len(OP, "x", x, geometry.input_len())?;
    check_len(OP, "dy", dy, geometry.output_len())?;
    check_len(OP, "dw", dw, geometry.weight_len())?;
    if let Some(db) = &db {
        check_len(OP, "db", db, geometry.weight()[0])?;
    }
    if let Some(db) = db {
        backward_weight::backward_bias(geometry, dy, db)?;
    }
    backward_weight::backward_weight(geometry, x, dy, dw)
}

/// The column matrix of x (batch, channels, height, width): a row for each window, in the order (n, y, x), and in it
/// a column for each cell, in the order (channel, filter y, filter x); 0 on the padding.
///
/// # Errors
/// [`crate::Error::Shape`] where the window does not fit, [`crate::Error::Length`] where a slice has another size.
pub fn im2col<T: Element>(
    input: [usize; 4],
    window: &Window,
    x: &[T],
    col: &mut [T],
) -> Result<()> {
    check_columns("conv::im2col", input, window, x, col)?;
    columns::im2col(input, window, x, col)
}

/// The adjoint of [`im2col`]: each element of x is the sum of the cells it was copied to.
///
/// # Errors
/// As [`im2col`].
pub fn col2im<T: Element>(
    input: [usize; 4],
    window: &Window,
    col: &[T],
    x: &mut [T],
) -> Result<()> {
    check_columns("conv::col2im", input, window, x, col)?;
    columns::col2im(input, window, col, x)
}

fn check_columns<T>(
    op: &'static str,
    input: [usize; 4],
    window: &Window,
    x: &[T],
    col: &[T],
) -> Result<()> {
    let [batch, channels, height, width] = input;
    let [out_h, out_w] = window.output([height, width])?;
    check_len(op, "x", x, checked_size(op, &input)?)?;
    check_len(op, "col", col, checked_size(op, &[batch, out_h, out_w, channels, window.area()])?)
}
