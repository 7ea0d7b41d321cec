//! Twins of [`mod@crate::pool`].

use crate::conv::Window;
use crate::element::Element;
use crate::pool::WindowIndex;

/// Calls `body(y index, cell of the window, x index)` for every cell that is not on the padding,
/// window by window.
fn for_each_cell(input: [usize; 4], window: &Window, mut body: impl FnMut(usize, usize, usize)) {
    let [batch, channels, height, width] = input;
    let [out_h, out_w] = window.output([height, width]).expect("a window that fits");
    for plane in 0..batch * channels {
        for oy in 0..out_h {
            for ox in 0..out_w {
                for fy in 0..window.size[0] {
                    for fx in 0..window.size[1] {
                        let iy = (oy * window.stride[0] + fy).wrapping_sub(window.pad[0]);
                        let ix = (ox * window.stride[1] + fx).wrapping_sub(window.pad[1]);
                        if iy < height && ix < width {
                            body(
                                (plane * out_h + oy) * out_w + ox,
                                fy * window.size[1] + fx,
                                (plane * height + iy) * width + ix,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// [`crate::pool::max_pool_forward`] by the definition.
pub fn max_pool_forward<T: Element, I: WindowIndex>(
    input: [usize; 4],
    window: &Window,
    x: &[T],
    y: &mut [T],
    index: &mut [I],
) {
    let mut last = None;
    for_each_cell(input, window, |at, cell, from| {
        let best = y[at];
        let first = last.replace(at) != Some(at);
        if first || x[from] > best || (x[from].is_nan() && !best.is_nan()) {
            y[at] = x[from];
            index[at] = I::from_usize(cell);
        }
    });
}

/// [`crate::pool::max_pool_backward`] by the definition.
pub fn max_pool_backward<T: Element, I: WindowIndex>(
    input: [usize; 4],
    window: &Window,
    dy: &[T],
    index: &[I],
    dx: &mut [T],
) {
    dx.fill(T::zero());
    for_each_cell(input, window, |at, cell, to| {
        if index[at].to_usize() == cell {
            dx[to] += dy[at];
        }
    });
}

/// [`crate::pool::average_pool_forward`] by the definition.
pub fn average_pool_forward<T: Element>(input: [usize; 4], window: &Window, x: &[T], y: &mut [T]) {
    y.fill(T::zero());
    for_each_cell(input, window, |at, _, from| y[at] += x[from]);
    for y in y {
        *y /= T::of(window.area() as f64);
    }
}

/// [`crate::pool::average_pool_backward`] by the definition.
pub fn average_pool_backward<T: Element>(
    input: [usize; 4],
    window: &Window,
    dy: &[T],
    dx: &mut [T],
) {
    dx.fill(T::zero());
    for_each_cell(input, window, |at, _, to| dx[to] += dy[at] / T::of(window.area() as f64));
}
