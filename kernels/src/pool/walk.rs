//! One walk over the windows of every plane, forward, whatever the pooling.
//!
//! Registers lie along a row of y. Where the window moves by 1 or 2 columns they are filled straight
//! from a row of x; a 2×2 window that moves by 2 reads every element once. Windows over the border
//! and those of larger strides are taken one at a time by the same code, in registers of one element.

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::{Geometry, PARALLEL_LEN};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Parts, Pool, Rows};
use crate::simd::Vector;

/// How the cells of a window become an element of y.
pub(super) trait Pooling<T: Element>: Copy + Sync {
    /// What is known of a register of windows after some of their cells.
    type State<S: Simd>: Copy;

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
    pool.for_each_part(parts, geometry.planes_a_part(), |_, (x, y)| {
        arch.dispatch(Walk { geometry, pooling, x: x.data, y: y.data });
    });
    Ok(())
}

struct Walk<'a, T, P, Y> {
    geometry: &'a Geometry,
    pooling: P,
    x: &'a [T],
    y: Y,
}

impl<T: Element, P: Pooling<T>, Y: Output<T, P>> WithSimd for Walk<'_, T, P, Y> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, pooling, x, mut y } = self;
        let &Geometry { height, width, out_h, out_w, window, .. } = geometry;
        let interior = geometry.interior_columns();
        for (plane, x) in x.chunks_exact(geometry.plane_len()).enumerate() {
            for oy in 0..out_h {
                let at = (plane * out_h + oy) * out_w;
                if geometry.is_halving() {
                    let rows = x[2 * oy * width..].split_at(width);
                    halve_row(simd, pooling, (rows.0, &rows.1[..width]), &mut y, at, out_w);
                    continue;
                }
                let cells = geometry.rows_on_plane(oy);
                let first_row = oy * window.stride[0] + cells.start - window.pad[0];
                debug_assert!(first_row + cells.len() <= height);
                let row = Row { geometry, cells, x: &x[first_row * width..] };
                row.scalars(pooling, 0..interior.start, &mut y, at);
                let rest = match window.stride[1] {
                    1 => row.registers::<S, P, Y, 1>(simd, pooling, interior.clone(), &mut y, at),
                    2 => row.registers::<S, P, Y, 2>(simd, pooling, interior.clone(), &mut y, at),
                    _ => interior.start,
                };
                row.scalars(pooling, rest..out_w, &mut y, at);
            }
        }
    }
}

/// A row of y under 2×2 windows that move by 2: `rows` are the two of x.
#[inline(always)]
fn halve_row<T: Element, P: Pooling<T>, Y: Output<T, P>, S: Simd>(
    simd: S,
    pooling: P,
    rows: (&[T], &[T]),
    y: &mut Y,
    at: usize,
    out_w: usize,
) {
    let lanes = Vector::<T, S>::len();
    let mut ox = 0;
    while ox + lanes <= out_w {
        halve(simd, pooling, rows, y, at, ox);
        ox += lanes;
    }
    if ox == out_w {
        return;
    }
    if out_w >= lanes {
        // The last register again takes what the one before took.
        halve(simd, pooling, rows, y, at, out_w - lanes);
    } else {
        for ox in 0..out_w {
            halve(Scalar::new(), pooling, rows, y, at, ox);
        }
    }
}

#[inline(always)]
fn halve<T: Element, P: Pooling<T>, Y: Output<T, P>, S: Simd>(
    simd: S,
    pooling: P,
    rows: (&[T], &[T]),
    y: &mut Y,
    at: usize,
    ox: usize,
) {
    let load = |row: &[T]| {
        let row = &row[2 * ox..][..2 * Vector::<T, S>::len()];
        let (left, right) = row.split_at(Vector::<T, S>::len());
        Vector::load(simd, left).deinterleave(Vector::load(simd, right))
    };
    let ([a, b], [c, d]) = (load(rows.0), load(rows.1));
    let state = pooling.first(0, a);
    let state = pooling.next(state, 1, b);
    let state = pooling.next(state, 2, c);
    y.store(at + ox, pooling.next(state, 3, d));
}

/// The windows of a row of y.
struct Row<'a, T> {
    geometry: &'a Geometry,
    /// Rows of the windows that lie on the plane.
    cells: Range<usize>,
    /// The plane from the first of them.
    x: &'a [T],
}

impl<T: Element> Row<'_, T> {
    /// The windows `columns`, one at a time.
    #[inline(always)]
    fn scalars<P: Pooling<T>, Y: Output<T, P>>(
        &self,
        pooling: P,
        columns: Range<usize>,
        y: &mut Y,
        at: usize,
    ) {
        for ox in columns {
            let cells = self.geometry.columns_on_plane(ox);
            let load = |at: usize| Vector::splat(Scalar::new(), self.x[at]);
            y.store(at + ox, self.reduce(pooling, ox, cells, load));
        }
    }

    /// As many of the windows `columns`, which lie within the plane, as fill registers; returns the
    /// first that is left.
    #[inline(always)]
    fn registers<S: Simd, P: Pooling<T>, Y: Output<T, P>, const STRIDE: usize>(
        &self,
        simd: S,
        pooling: P,
        columns: Range<usize>,
        y: &mut Y,
        at: usize,
    ) -> usize {
        let lanes = Vector::<T, S>::len();
        let window_cells = 0..self.geometry.window.size[1];
        // The last elements that a register reads.
        let reach = (self.cells.len() - 1) * self.geometry.width + window_cells.len() - 1;
        let load = |at: usize| {
            let x = &self.x[at..][..STRIDE * lanes];
            let (left, right) = x.split_at(lanes);
            match STRIDE {
                1 => Vector::load(simd, left),
                _ => Vector::load(simd, left).deinterleave(Vector::load(simd, right))[0],
            }
        };
        let mut ox = columns.start;
        let in_reach = |ox: usize| {
            ox * STRIDE - self.geometry.window.pad[1] + reach + STRIDE * lanes <= self.x.len()
        };
        while ox + lanes <= columns.end && in_reach(ox) {
            y.store(at + ox, self.reduce(pooling, ox, window_cells.clone(), load));
            ox += lanes;
        }
        let last = columns.end.saturating_sub(lanes);
        if ox < columns.end && last >= columns.start && last < ox && in_reach(last) {
            // The last register again takes what the one before took.
            y.store(at + last, self.reduce(pooling, last, window_cells, load));
            ox = columns.end;
        }
        ox
    }

    /// A register of windows from column `ox` of y, over `columns` of their cells.
    #[inline(always)]
    fn reduce<S: Simd, P: Pooling<T>>(
        &self,
        pooling: P,
        ox: usize,
        columns: Range<usize>,
        load: impl Fn(usize) -> Vector<T, S>,
    ) -> P::State<S> {
        let &Geometry { width, window, .. } = self.geometry;
        let from = ox * window.stride[1] + columns.start - window.pad[1];
        let first_cell = |row: usize| (self.cells.start + row) * window.size[1] + columns.start;
        let mut state = pooling.first(first_cell(0), load(from));
        for column in 1..columns.len() {
            state = pooling.next(state, first_cell(0) + column, load(from + column));
        }
        for row in 1..self.cells.len() {
            for column in 0..columns.len() {
                let x = load(from + row * width + column);
                state = pooling.next(state, first_cell(row) + column, x);
            }
        }
        state
    }
}
