//! 2-D convolution, NCHW, and its two gradients; [`im2col`] and [`col2im`] for those who want the column matrix.
//!
//! | shape | way | why |
//! |---|---|---|
//! | 3×3, stride 1, 8 channels or more on both sides, a batch that fills lanes | `in_lanes.rs`: Winograd's filtering, samples in lanes | a quarter to a third of the multiplications |
//! | a stride and 2 channels or more, or 6 and more without; small images, a batch that fills three quarters of the lanes | `in_lanes.rs`: the direct kernels there | rows of any length and windows any distance apart are as good |
//! | 1×1, stride 1, no padding | `forward.rs`: a matrix product | a channel of the image is a row of all windows |
//! | anything else, rows of a register or more | `forward.rs`, in place: a matrix product whose windows are read where they lie | nothing is copied but the image, once, with its padding; its columns in turns, where windows are a stride apart |
//! | shorter rows; many filters, if rows fit registers badly | `forward.rs`, packed: the same, windows copied into panels | half a register of windows costs as much as a whole one |
//! | gradient by x of one channel; stride 1, rows of a register or more, filters of 2 to 5 rows | `one_channel.rs`: lanes along the pixels, rows of dx in registers | dy is read once for each column of a filter, and nothing of it that is not needed |
//! | gradient by x of one channel else, of a stride, or of an image much larger than dy | `by_columns.rs`: the gradient of the column matrix, added up | a product for each of x's pixels is half a tile, or mostly of zeros |
//! | gradient by the weights of few taps, or of filters that leave much of a panel empty; stride 1, rows of a register or more | `few_taps.rs`: lanes along the pixels | 9 taps are too few to pack dy for, and 6 filters a third of a panel |
//! | gradient by the weights, but for those | `backward_weight.rs`: a matrix product over the pixels | windows are read element by element where they lie |
//!
//! docs/conv.md derives all of them and has the measurements. By Winograd's filtering a NaN or an infinity reaches not only the
//! outputs whose window sees it, but all sixteen of their tile.

mod backward_weight;
mod by_columns;
mod columns;
mod few_taps;
mod forward;
mod geometry;
mod in_lanes;
mod one_channel;
pub(crate) mod plane;
mod source;

pub use geometry::{ConvGeometry, Window};

use backward_weight::Pass;
use in_lanes::InLanes;

use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::parallel::{Pool, Rows};
use crate::threads::num_threads;

/// Multiply-adds below which waking a thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 19;
/// Images from which on each of them is a task; fewer are cut into groups of filters as well.
const IMAGES: usize = 4;
/// Parts the batch is cut into for the gradient by the weights, each with a gradient of its own; they are added in order, so the
/// number is fixed.
const BATCH_PARTS: usize = 16;

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
    match InLanes::new::<T>(geometry)? {
        Some(in_lanes) => in_lanes.forward(x, w, bias, relu, y),
        None => forward::forward(geometry, x, w, bias, relu, y),
    }
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
    if let Some(in_lanes) = InLanes::new::<T>(geometry)? {
        return in_lanes.backward_data(dy, w, dx);
    }
    match DataWay::of::<T>(geometry)? {
        // Few images are cut further there.
        DataWay::Correlation => forward::backward_data(geometry, dy, w, dx),
        _ if dx.is_empty() => Ok(()),
        way => {
            let ([batch, ..], work) = (geometry.input(), geometry.taps() * geometry.output_len());
            let pool = Pool::for_work(work, PARALLEL_WORK)?;
            let dx = Rows::new(dx, batch, geometry.input_len() / batch);
            let dy = Rows::new(dy, batch, geometry.output_len() / batch);
            way.with_data_gradient(geometry, w, |of_image| {
                pool.for_each_part((dx, dy), 1, |_, (dx, dy)| of_image(dy.data, dx.data));
                Ok(())
            })
        }
    }
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
    match InLanes::new::<T>(geometry)? {
        Some(in_lanes) => in_lanes.backward([x, dy], dw, db, None),
        None => Pass { geometry, x, dy, dw, db, data: None }.run(),
    }
}

/// What [`backward`] computes.
pub struct Gradients<'a, T> {
    /// By x.
    pub dx: &'a mut [T],
    /// By w.
    pub dw: &'a mut [T],
    /// By the bias.
    pub db: &'a mut [T],
}

/// All gradients: [`backward_data`] and [`backward_weight`] in one pass over the batch, which reads dy once.
///
/// # Errors
/// [`crate::Error::Length`] where a slice does not hold what the geometry asks for.
pub fn backward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    dy: &[T],
    w: &[T],
    Gradients { dx, dw, db }: Gradients<'_, T>,
) -> Result<()> {
    const OP: &str = "conv::backward";
    check_len(OP, "x", x, geometry.input_len())?;
    check_len(OP, "dy", dy, geometry.output_len())?;
    check_len(OP, "w", w, geometry.weight_len())?;
    check_len(OP, "dx", dx, geometry.input_len())?;
    check_len(OP, "dw", dw, geometry.weight_len())?;
    check_len(OP, "db", db, geometry.weight()[0])?;
    if let Some(in_lanes) = InLanes::new::<T>(geometry)? {
        return in_lanes.backward([x, dy], dw, Some(db), Some((w, dx)));
    }
    // For dx alone few images are cut further, and many among more threads than there are parts.
    let ([batch, ..], is_empty) = (geometry.input(), dx.is_empty() || dy.is_empty());
    if batch < IMAGES || num_threads()? > BATCH_PARTS || is_empty {
        backward_data(geometry, dy, w, dx)?;
        return backward_weight(geometry, x, dy, dw, Some(db));
    }
    DataWay::of::<T>(geometry)?.with_data_gradient(geometry, w, |of_image| {
        let data = Some((dx, of_image));
        Pass { geometry, x, dy, dw, db: Some(db), data }.run()
    })
}

/// Computes dx of one image from its dy.
type DataGradient<'a, T> = dyn Fn(&[T], &mut [T]) + Sync + 'a;

/// The ways to the gradient by x of one image after another.
#[derive(Clone, Copy)]
enum DataWay {
    OneChannel,
    ByColumns,
    Correlation,
}

impl DataWay {
    /// The best of them.
    fn of<T: Element>(geometry: &ConvGeometry) -> Result<Self> {
        Ok(if one_channel::is_best::<T>(geometry)? {
            Self::OneChannel
        } else if by_columns::is_best::<T>(geometry)? {
            Self::ByColumns
        } else {
            Self::Correlation
        })
    }

    /// Calls `body` with what gives dx of one image from its dy.
    fn with_data_gradient<T: Element>(
        self,
        geometry: &ConvGeometry,
        w: &[T],
        body: impl FnOnce(&DataGradient<'_, T>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::OneChannel => one_channel::with_data_gradient(geometry, w, body),
            Self::ByColumns => by_columns::with_data_gradient(geometry, w, body),
            Self::Correlation => forward::with_data_gradient(geometry, w, body),
        }
    }
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
