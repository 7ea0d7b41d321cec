//! Average-pooling. The padding counts as zeros: every sum is divided by the whole window's area.

use super::Geometry;
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::reference;

fn check<T>(
    op: &'static str,
    input: [usize; 4],
    window: &Window,
    x: (&'static str, &[T]),
    y: (&'static str, &[T]),
) -> Result<Geometry> {
    let geometry = Geometry::new(op, input, window)?;
    check_len(op, x.0, x.1, geometry.input_len())?;
    check_len(op, y.0, y.1, geometry.output_len())?;
    Ok(geometry)
}

/// y = the sum under each window over the window's area.
///
/// # Errors
/// [`crate::Error::Shape`] where the window does not fit, [`crate::Error::Length`] where a slice has
/// another size.
pub fn average_pool_forward<T: Element>(
    input: [usize; 4],
    window: &Window,
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    check("average_pool_forward", input, window, ("x", x), ("y", y))?;
    reference::pool::average_pool_forward(input, window, x, y);
    Ok(())
}

/// dx, the gradient by x, from dy, the gradient by y: each element of x gets its share of every window
/// over it. `dx` is overwritten.
///
/// # Errors
/// As [`average_pool_forward`].
pub fn average_pool_backward<T: Element>(
    input: [usize; 4],
    window: &Window,
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    check("average_pool_backward", input, window, ("dx", dx), ("dy", dy))?;
    reference::pool::average_pool_backward(input, window, dy, dx);
    Ok(())
}
