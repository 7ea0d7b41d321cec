//! The column matrix itself, for those who want it: [`super::im2col`] and its adjoint.

use super::geometry::Window;
use super::plane::Plane;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Pool, Rows};
use crate::workspace::with_scratch;

/// Elements below which waking a thread costs more than it saves.
const PARALLEL_LEN: usize = 1 << 15;

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
        with_scratch(plane.len(), |haloed| {
            plane.fill(image.data, haloed);
            let mut to = col.data.chunks_exact_mut(cells);
            for pixel in &pixels {
                for (row, to) in tap_rows.iter().zip(&mut to) {
                    // Cell by cell: a filter's row is shorter than a call to memcpy.
                    let from = &haloed[pixel + row..][..cells];
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        });
    });
    Ok(())
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
            let mut from = col.data.chunks_exact(cells);
            for pixel in &pixels {
                for (row, from) in tap_rows.iter().zip(&mut from) {
                    let to = &mut haloed[pixel + row..][..cells];
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                }
            }
            plane.read(haloed, image.data);
        });
    });
    Ok(())
}
