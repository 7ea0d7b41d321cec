//! One walk over the windows of every plane, forward, whatever the pooling.
//!
//! Registers lie along a row of y, filled from a row of x for each cell of the windows; where 2×2
//! windows lie side by side, every element is read once and pairs of registers are taken apart. A row
//! need not end with a register: what the last one writes beyond the row is written again by those
//! that follow (of 2×2 windows, see [`Geometry::halve`]). The last windows of a task are taken one at a time by the same code, in registers of one
//! element. A padded plane is copied with its padding.

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::{Geometry, PARALLEL_LEN};
use crate::arch::Arch;
use crate::conv::Window;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Parts, Pool, Rows};
use crate::simd::{MAX_LANES, Vector};
use crate::workspace::with_scratch_in_parts;

/// How the cells of a window become an element of y.
pub(super) trait Pooling<T: Element>: Copy + Sync {
    /// What is known of a register of windows after some of their cells.
    type State<S: Simd>: Copy;

    /// What a cell on the padding holds, which changes nothing.
    fn padding(self) -> T;

    /// Before all cells, of which the first on the plane are `cells`, as [`Element::of_bits`].
    fn before<S: Simd>(self, cells: Vector<T, S>) -> Self::State<S>;

    /// After the first cell of each window.
    fn first<S: Simd>(self, cell: usize, x: Vector<T, S>) -> Self::State<S>;

    /// After another cell, in the order of the cells.
    fn next<S: Simd>(self, state: Self::State<S>, cell: usize, x: Vector<T, S>) -> Self::State<S>;
}

/// Where the results of a pooling go.
pub(super) trait Output<T: Element, P: Pooling<T>>: Parts {
    /// Writes the results of the windows from `at`, one a lane.
    fn store<S: Simd>(&mut self, at: usize, state: P::State<S>);
}

/// Pools every plane of `x` into `y`.
pub(super) fn walk<T: Element, P: Pooling<T>, Y: Output<T, P>>(
    geometry: &Geometry,
    pooling: P,
    x: &[T],
    y: Y,
) -> Result<()> {
    let planes = geometry.planes;
    let arch = Arch::current()?;
    let pool = Pool::for_work(x.len(), PARALLEL_LEN)?;
    let parts = (
        Rows::new(x, planes, geometry.plane_len()),
        Rows::new(y, planes, geometry.output_plane_len()),
    );
    let halving = geometry.halves_in(arch.lanes::<T>());
    let halo = Halo::new(geometry);
    pool.for_each_part(parts, geometry.planes_a_part(), |_, (x, y)| {
        let (x, y) = (x.data, y.data);
        if halving {
            return arch.dispatch(Halve { geometry, pooling, x, y });
        }
        let lens = halo.map_or([0, 0], |halo| halo.lens());
        with_scratch_in_parts(lens, |[plane, cells]| {
            plane.fill(pooling.padding());
            let halo = halo.map(|halo| (halo, plane, cells));
            match geometry.window.stride[1] {
                1 => arch.dispatch(Walk::<_, _, _, 1> { geometry, pooling, x, y, halo }),
                2 => arch.dispatch(Walk::<_, _, _, 2> { geometry, pooling, x, y, halo }),
                _ => arch.dispatch(Walk::<_, _, _, 0> { geometry, pooling, x, y, halo }),
            }
        });
    });
    Ok(())
}

/// A plane with its padding beside it, where there is any: so windows over the border are taken in registers, too.
#[derive(Clone, Copy)]
struct Halo {
    geometry: Geometry,
    /// Columns.
    width: usize,
}

impl Halo {
    fn new(geometry: &Geometry) -> Option<Self> {
        let &Geometry { width, out_w, window: Window { size, stride, pad }, .. } = geometry;
        let reached = (out_w - 1) * stride[1] + size[1];
        (pad[1] > 0).then(|| Self { geometry: *geometry, width: reached.max(pad[1] + width) })
    }

    /// Elements of the plane and as many as a register may reach beyond; windows of a row, likewise.
    fn lens(&self) -> [usize; 2] {
        let Geometry { height, out_w, window, .. } = self.geometry;
        [height * self.width + MAX_LANES * window.stride[1], out_w + MAX_LANES]
    }

    /// Copies a plane of x.
    fn fill<T: Element>(&self, x: &[T], plane: &mut [T]) {
        let Geometry { width, window, .. } = self.geometry;
        for (to, from) in plane.chunks_exact_mut(self.width).zip(x.chunks_exact(width)) {
            to[window.pad[1]..][..width].copy_from_slice(from);
        }
    }

    /// The first cells that the windows of a row have on the plane, of those from `row` on.
    fn first_cells<T: Element>(&self, row: usize, cells: &mut [T]) {
        let Window { size, stride, pad } = self.geometry.window;
        for (ox, cell) in cells.iter_mut().enumerate() {
            *cell = T::of_bits((row * size[1] + pad[1].saturating_sub(ox * stride[1])) as u32);
        }
    }
}

/// Windows of 2×2 cells side by side.
struct Halve<'a, T, P, Y> {
    geometry: &'a Geometry,
    pooling: P,
    x: &'a [T],
    y: Y,
}

impl<T: Element, P: Pooling<T>, Y: Output<T, P>> WithSimd for Halve<'_, T, P, Y> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, pooling, x, mut y } = self;
        let (lanes, width) = (Vector::<T, S>::len(), geometry.width);
        for (plane, x) in x.chunks_exact(geometry.plane_len()).enumerate() {
            let first = plane * geometry.output_plane_len();
            geometry.halve(
                lanes,
                #[inline(always)]
                |at, from| halve(simd, pooling, x, from, width, &mut y, first + at),
            );
        }
    }
}

/// A register of windows, whose upper rows are the registers at `from` and whose lower ones those `width` elements on.
#[inline(always)]
fn halve<T: Element, P: Pooling<T>, Y: Output<T, P>, S: Simd>(
    simd: S,
    pooling: P,
    x: &[T],
    [left, right]: [usize; 2],
    width: usize,
    y: &mut Y,
    at: usize,
) {
    let [a, b] = load_pairs(simd, [&x[left..], &x[right..]]);
    let [c, d] = load_pairs(simd, [&x[left + width..], &x[right + width..]]);
    let state = pooling.first(0, a);
    let state = pooling.next(state, 1, b);
    let state = pooling.next(state, 2, c);
    y.store(at, pooling.next(state, 3, d));
}

/// The even and the odd ones of two registers' elements.
#[inline(always)]
fn load_pairs<T: Element, S: Simd>(simd: S, [left, right]: [&[T]; 2]) -> [Vector<T, S>; 2] {
    Vector::load(simd, left).deinterleave(Vector::load(simd, right))
}

/// Windows that move by `STRIDE` columns, or for 0 by what the geometry says.
struct Walk<'a, T, P, Y, const STRIDE: usize> {
    geometry: &'a Geometry,
    pooling: P,
    x: &'a [T],
    y: Y,
    /// With room for a plane, filled with padding, and for the first cells of a row of windows.
    halo: Option<(Halo, &'a mut [T], &'a mut [T])>,
}

impl<T: Element, P: Pooling<T>, Y: Output<T, P>, const STRIDE: usize> WithSimd
    for Walk<'_, T, P, Y, STRIDE>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, pooling, x, mut y, mut halo } = self;
        let &Geometry { width, out_h, out_w, window, .. } = geometry;
        let stride = if STRIDE == 0 { window.stride[1] } else { STRIDE };
        let (lanes, y_len) = (Vector::<T, S>::len(), y.len());
        // The elements of x that a register of one cell of the windows spans.
        let span = if STRIDE == 0 { (lanes - 1) * stride + 1 } else { lanes * stride };
        let mut at = 0;
        for plane in 0..x.len() / geometry.plane_len() {
            let x = &x[plane * geometry.plane_len()..];
            if let Some((halo, plane, _)) = &mut halo {
                halo.fill(&x[..geometry.plane_len()], plane);
            }
            let mut first_cells_of = None; // their first row
            for oy in 0..out_h {
                let cells = geometry.rows_on_plane(oy);
                let first_row = oy * window.stride[0] + cells.start - window.pad[0];
                let row = Row { geometry, x: &x[first_row * width..], cells };
                let (x, width, first_cells) = match &mut halo {
                    Some((halo, plane, cells)) => {
                        if first_cells_of.replace(row.cells.start) != Some(row.cells.start) {
                            halo.first_cells(row.cells.start, cells);
                        }
                        (&plane[first_row * halo.width..], halo.width, Some(&**cells))
                    }
                    None => (row.x, width, None),
                };
                // What the last cell of a register at column 0 reads to.
                let reach = (row.cells.len() - 1) * width + window.size[1] - 1 + span;
                let mut ox = 0;
                while ox < out_w && at + ox + lanes <= y_len && ox * stride + reach <= x.len() {
                    let before = match first_cells {
                        Some(cells) => Some(pooling.before(Vector::load(simd, &cells[ox..]))),
                        None => None,
                    };
                    let (x, columns) = ((&x[ox * stride..], width), 0..window.size[1]);
                    let state = row.reduce::<S, P, STRIDE>(simd, pooling, x, columns, before);
                    y.store(at + ox, state);
                    ox += lanes;
                }
                row.take_one_by_one(pooling, ox.min(out_w)..out_w, &mut y, at);
                at += out_w;
            }
        }
    }
}

/// Every `stride`th element of `x`, which is `STRIDE` where that is not 0.
#[inline(always)]
fn load<T: Element, S: Simd, const STRIDE: usize>(simd: S, x: &[T], stride: usize) -> Vector<T, S> {
    match STRIDE {
        1 => Vector::load(simd, x),
        2 => load_pairs(simd, [x, &x[Vector::<T, S>::len()..]])[0],
        _ => {
            let mut strided = [T::zero(); MAX_LANES];
            for lane in 0..Vector::<T, S>::len() {
                strided[lane] = x[lane * stride];
            }
            Vector::load(simd, &strided)
        }
    }
}

/// The windows of a row of y.
struct Row<'a, T> {
    geometry: &'a Geometry,
    /// x from the first row that the windows have on the plane.
    x: &'a [T],
    /// The rows of the windows that lie on the plane.
    cells: Range<usize>,
}

impl<T: Element> Row<'_, T> {
    #[inline(always)]
    fn take_one_by_one<P: Pooling<T>, Y: Output<T, P>>(
        &self,
        pooling: P,
        columns: Range<usize>,
        y: &mut Y,
        at: usize,
    ) {
        for ox in columns {
            let &Geometry { width, window, .. } = self.geometry;
            let cells = self.geometry.columns_on_plane(ox);
            let x = (&self.x[ox * window.stride[1] + cells.start - window.pad[1]..], width);
            let state = self.reduce::<Scalar, P, 1>(Scalar::new(), pooling, x, cells, None);
            y.store(at + ox, state);
        }
    }

    /// The windows in a register over `columns` of their cells, of which the first is that of `x`; `width` elements further is the next
    /// row. `before` is what is known before them, if the first may lie on the padding.
    #[inline(always)]
    fn reduce<S: Simd, P: Pooling<T>, const STRIDE: usize>(
        &self,
        simd: S,
        pooling: P,
        (x, width): (&[T], usize),
        columns: Range<usize>,
        before: Option<P::State<S>>,
    ) -> P::State<S> {
        let Window { size, stride, .. } = self.geometry.window;
        let mut cell = self.cells.start * size[1] + columns.start;
        let first = load::<T, S, STRIDE>(simd, x, stride[1]);
        let mut state = match before {
            Some(before) => pooling.next(before, cell, first),
            None => pooling.first(cell, first),
        };
        for row in 0..self.cells.len() {
            let x = &x[row * width..];
            for column in usize::from(row == 0)..columns.len() {
                let x = load::<T, S, STRIDE>(simd, &x[column..], stride[1]);
                state = pooling.next(state, cell + column, x);
            }
            cell += size[1];
        }
        state
    }
}
