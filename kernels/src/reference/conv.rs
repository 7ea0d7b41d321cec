//! Twins of [`mod@crate::conv`].

use crate::conv::{ConvGeometry, Window};
use crate::element::Element;

/// Where a filter's cell lies on the input, if not on the padding.
fn input_at(window: &Window, size: usize, axis: usize, out: usize, cell: usize) -> Option<usize> {
    (out * window.stride[axis] + cell).checked_sub(window.pad[axis]).filter(|&at| at < size)
}

/// Calls `body(y index, x index, w index)` for every product a convolution sums.
fn for_each_product(geometry: &ConvGeometry, mut body: impl FnMut(usize, usize, usize)) {
    let [batch, channels, height, width] = geometry.input();
    let [_, filters, out_h, out_w] = geometry.output();
    let window = geometry.window();
    let [filter_h, filter_w] = window.size;
    for n in 0..batch {
        for f in 0..filters {
            for oy in 0..out_h {
                for ox in 0..out_w {
                    let y = ((n * filters + f) * out_h + oy) * out_w + ox;
                    for c in 0..channels {
                        for fy in 0..filter_h {
                            for fx in 0..filter_w {
                                let at_y = input_at(&window, height, 0, oy, fy);
                                let at_x = input_at(&window, width, 1, ox, fx);
                                let (Some(iy), Some(ix)) = (at_y, at_x) else { continue };
                                let x = ((n * channels + c) * height + iy) * width + ix;
                                let w = ((f * channels + c) * filter_h + fy) * filter_w + fx;
                                body(y, x, w);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// [`crate::conv::forward`] by the definition.
pub fn forward<T: Element>(
    geometry: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) {
    let [_, filters, out_h, out_w] = geometry.output();
    y.fill(T::zero());
    for_each_product(geometry, |at_y, at_x, at_w| y[at_y] += x[at_x] * w[at_w]);
    for (index, y) in y.iter_mut().enumerate() {
        if let Some(bias) = bias {
            *y += bias[index / (out_h * out_w) % filters];
        }
        if relu && *y <= T::zero() {
            *y = T::zero();
        }
    }
}

/// [`crate::conv::backward_data`] by the definition.
pub fn backward_data<T: Element>(geometry: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    dx.fill(T::zero());
    for_each_product(geometry, |at_y, at_x, at_w| dx[at_x] += dy[at_y] * w[at_w]);
}

/// The `dw` of [`crate::conv::backward_weight`] by the definition.
pub fn backward_weight<T: Element>(geometry: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    dw.fill(T::zero());
    for_each_product(geometry, |at_y, at_x, at_w| dw[at_w] += dy[at_y] * x[at_x]);
}

/// The `db` of [`crate::conv::backward_weight`] by the definition.
pub fn backward_bias<T: Element>(geometry: &ConvGeometry, dy: &[T], db: &mut [T]) {
    let [_, filters, out_h, out_w] = geometry.output();
    db.fill(T::zero());
    for (index, &dy) in dy.iter().enumerate() {
        db[index / (out_h * out_w) % filters] += dy;
    }
}

/// Calls `body(col index, x index)` for every cell of the column matrix; `None` on the padding.
fn for_each_cell(input: [usize; 4], window: &Window, mut body: impl FnMut(usize, Option<usize>)) {
    let [batch, channels, height, width] = input;
    let [out_h, out_w] = window.output([height, width]).expect("a window that fits");
    let mut col = 0;
    for n in 0..batch {
        for oy in 0..out_h {
            for ox in 0..out_w {
                for c in 0..channels {
                    for fy in 0..window.size[0] {
                        for fx in 0..window.size[1] {
                            let at_y = input_at(window, height, 0, oy, fy);
                            let at_x = input_at(window, width, 1, ox, fx);
                            let plane = n * channels + c;
                            let x = at_y.zip(at_x).map(|(y, x)| (plane * height + y) * width + x);
                            body(col, x);
                            col += 1;
                        }
                    }
                }
            }
        }
    }
}

/// [`crate::conv::im2col`] by the definition.
pub fn im2col<T: Element>(input: [usize; 4], window: &Window, x: &[T], col: &mut [T]) {
    for_each_cell(input, window, |at, from| col[at] = from.map_or(T::zero(), |from| x[from]));
}

/// [`crate::conv::col2im`] by the definition.
pub fn col2im<T: Element>(input: [usize; 4], window: &Window, col: &[T], x: &mut [T]) {
    x.fill(T::zero());
    for_each_cell(input, window, |at, to| {
        if let Some(to) = to {
            x[to] += col[at];
        }
    });
}
