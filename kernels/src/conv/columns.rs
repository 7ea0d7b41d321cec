//! The column matrix itself, for those who want it: [`super::im2col`] and its adjoint.

use super::geometry::Window;
use super::plane::Plane;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Pool, Rows};
use crate::workspace::with_scratch;

/// Elements below which waking a thread costs more than it saves.
const PARALLEL_LEN: usize = 1 << 15;

/// `$function` with the number of cells in a filter's row known to the compiler, where it is a usual one: such a row is shorter than
/// a loop over it, or a call to memcpy.
macro_rules! by_cells {
    ($function:ident($cells:expr, $($argument:expr),*)) => {
        match $cells {
            1 => $function(1, $($argument),*),
            2 => $function(2, $($argument),*),
            3 => $function(3, $($argument),*),
            5 => $function(5, $($argument),*),
            7 => $function(7, $($argument),*),
            cells => $function(cells, $($argument),*),
        }
    };
}

pub(super) fn im2col<T: Element>(
    input: [usize; 4],
    window: &Window,
    x: &[T],
    col: &mut [T],
) -> Result<()> {
    let [batch, ..] = input;
    if col.is_empty() {
        return Ok(());
    }
    let plane = Plane::of_window(input, window)?;
    let pool = Pool::for_work(col.len(), PARALLEL_LEN)?;
    let (pixels, tap_rows) = (plane.pixel_offsets(), plane.tap_row_offsets());
    let (cells, col_len) = (window.size[1], col.len() / batch);
    let parts = (Rows::new(x, batch, x.len() / batch), Rows::new(col, batch, col_len));
    pool.for_each_part(parts, 1, |_, (image, col)| {
        plane.with_haloed(image.data, |haloed| {
            by_cells!(copy_windows(cells, haloed, &pixels, &tap_rows, col.data));
        });
    });
    Ok(())
}

/// The windows of a haloed image, row of the filter by row.
#[inline(always)]
fn copy_windows<T: Element>(
    cells: usize,
    haloed: &[T],
    pixels: &[usize],
    tap_rows: &[usize],
    col: &mut [T],
) {
    for (pixel, window) in pixels.iter().zip(col.chunks_exact_mut(cells * tap_rows.len())) {
        for (row, to) in tap_rows.iter().zip(window.chunks_exact_mut(cells)) {
            let from = &haloed[pixel + row..][..cells];
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        }
    }
}

pub(super) fn col2im<T: Element>(
    input: [usize; 4],
    window: &Window,
    col: &[T],
    x: &mut [T],
) -> Result<()> {
    let [batch, ..] = input;
    if x.is_empty() {
        return Ok(());
    }
    let plane = Plane::of_window(input, window)?;
    let pool = Pool::for_work(col.len(), PARALLEL_LEN)?;
    let (pixels, tap_rows) = (plane.pixel_offsets(), plane.tap_row_offsets());
    let cells = window.size[1];
    let image_len = x.len() / batch;
    let parts = (Rows::new(x, batch, image_len), Rows::new(col, batch, col.len() / batch));
    pool.for_each_part(parts, 1, |_, (image, col)| {
        with_scratch(plane.len(), |haloed| {
            haloed.fill(T::zero());
            by_cells!(add_windows(cells, col.data, &pixels, &tap_rows, haloed));
            plane.read(haloed, image.data);
        });
    });
    Ok(())
}

/// The adjoint of [`copy_windows`].
#[inline(always)]
fn add_windows<T: Element>(
    cells: usize,
    col: &[T],
    pixels: &[usize],
    tap_rows: &[usize],
    haloed: &mut [T],
) {
    for (pixel, window) in pixels.iter().zip(col.chunks_exact(cells * tap_rows.len())) {
        for (row, from) in tap_rows.iter().zip(window.chunks_exact(cells)) {
            let to = &mut haloed[pixel + row..][..cells];
            to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
        }
    }
}
