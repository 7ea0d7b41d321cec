//! Max-pooling, with the place of each maximum for the way back.

use super::Geometry;
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::reference;

mod private {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
}

/// The number of a cell within its window: `u8` for windows of up to 256 cells, `u16` or `u32`.
pub trait WindowIndex: private::Sealed + Copy + Default + Send + Sync + 'static {
    /// The largest number it holds.
    const MAX: usize;

    /// `cell`, which is at most [`WindowIndex::MAX`].
    fn from_usize(cell: usize) -> Self;

    /// The number.
    fn to_usize(self) -> usize;
}

macro_rules! impl_window_index {
    ($($t:ident)*) => {
        $(impl WindowIndex for $t {
            const MAX: usize = $t::MAX as usize;

            #[inline(always)]
            fn from_usize(cell: usize) -> Self {
                cell as $t
            }

            #[inline(always)]
            fn to_usize(self) -> usize {
                self as usize
            }
        })*
    };
}
impl_window_index!(u8 u16 u32);

fn check<T, I: WindowIndex>(
    op: &'static str,
    input: [usize; 4],
    window: &Window,
    x: (&'static str, &[T]),
    y: (&'static str, &[T]),
    index: &[I],
) -> Result<Geometry> {
    let geometry = Geometry::new(op, input, window)?;
    check_len(op, x.0, x.1, geometry.input_len())?;
    check_len(op, y.0, y.1, geometry.output_len())?;
    check_len(op, "index", index, geometry.output_len())?;
    if window.area() - 1 > I::MAX {
        let problem = format!("a window of {:?} has more cells than its index counts", window.size);
        return Err(Error::Shape { op, problem });
    }
    Ok(geometry)
}

/// y = the maximum under each window, index = its cell in the window (row · window width + column).
///
/// The first maximum wins, in the order of the cells; NaN wins over numbers, the first of them; cells
/// on the padding never win. Source: chapter 7 (`Pooling.forward`).
///
/// # Errors
/// [`Error::Shape`] where the window does not fit, or has more cells than an `I` counts;
/// [`Error::Length`] where a slice has another size.
pub fn max_pool_forward<T: Element, I: WindowIndex>(
    input: [usize; 4],
    window: &Window,
    x: &[T],
    y: &mut [T],
    index: &mut [I],
) -> Result<()> {
    check("max_pool_forward", input, window, ("x", x), ("y", y), index)?;
    reference::pool::max_pool_forward(input, window, x, y, index);
    Ok(())
}

/// dx, the gradient by x, from dy, the gradient by y, and the `index` of [`max_pool_forward`]: each
/// element of x is the sum of the dy of the windows it won, in their order. `dx` is overwritten.
///
/// # Errors
/// As [`max_pool_forward`], and [`Error::Argument`] where an index points outside its window or at
/// the padding.
pub fn max_pool_backward<T: Element, I: WindowIndex>(
    input: [usize; 4],
    window: &Window,
    dy: &[T],
    index: &[I],
    dx: &mut [T],
) -> Result<()> {
    const OP: &str = "max_pool_backward";
    let geometry = check(OP, input, window, ("dx", dx), ("dy", dy), index)?;
    check_index(OP, &geometry, index)?;
    reference::pool::max_pool_backward(input, window, dy, index, dx);
    Ok(())
}

/// Checks that every index names a cell of its window that lies on the plane.
fn check_index<I: WindowIndex>(op: &'static str, geometry: &Geometry, index: &[I]) -> Result<()> {
    let Geometry { height, width, out_w, window, .. } = *geometry;
    let wrong = index.chunks(geometry.output_plane_len()).find_map(|plane| {
        plane.iter().enumerate().find(|&(at, cell)| {
            let cell = cell.to_usize();
            let [fy, fx] = [cell / window.size[1], cell % window.size[1]];
            let iy = (at / out_w * window.stride[0] + fy).wrapping_sub(window.pad[0]);
            let ix = (at % out_w * window.stride[1] + fx).wrapping_sub(window.pad[1]);
            cell >= window.area() || iy >= height || ix >= width
        })
    });
    match wrong {
        Some((_, cell)) => Err(Error::Argument {
            op,
            name: "index",
            value: cell.to_usize().to_string(),
            expected: "a cell of the window that is on the plane",
        }),
        None => Ok(()),
    }
}
