//! Max-pooling, with the place of each maximum for the way back.

use pulp::{Simd, WithSimd};

use super::walk::{Output, Pooling, walk};
use super::{Geometry, PARALLEL_LEN};
use crate::arch::Arch;
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::{Pool, Rows};
use crate::simd::{MAX_LANES, Vector};

mod private {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
}

/// The number of a cell within its window: `u8` for windows of up to 256 cells, `u16` or `u32`.
pub trait WindowIndex: private::Sealed + Copy + Default + Ord + Send + Sync + 'static {
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
    let geometry = check("max_pool_forward", input, window, ("x", x), ("y", y), index)?;
    walk(&geometry, Max, x, (y, index))
}

#[derive(Clone, Copy)]
struct Max;

/// The largest so far, and its cell as [`Element::of_bits`].
#[derive(Clone, Copy)]
struct Best<T: Element, S: Simd> {
    x: Vector<T, S>,
    cell: Vector<T, S>,
}

impl<T: Element> Pooling<T> for Max {
    type State<S: Simd> = Best<T, S>;

    fn padding(self) -> T {
        T::neg_infinity()
    }

    /// No cell beats minus infinity that is not on the plane, and where none does, the first that is has won.
    #[inline(always)]
    fn before<S: Simd>(self, cells: Vector<T, S>) -> Best<T, S> {
        Best { x: cells.like(T::neg_infinity()), cell: cells }
    }

    #[inline(always)]
    fn first<S: Simd>(self, cell: usize, x: Vector<T, S>) -> Best<T, S> {
        Best { x, cell: x.like(T::of_bits(cell as u32)) }
    }

    #[inline(always)]
    fn next<S: Simd>(self, best: Best<T, S>, cell: usize, x: Vector<T, S>) -> Best<T, S> {
        let wins = x.beats(best.x);
        let cell = x.like(T::of_bits(cell as u32));
        Best { x: wins.select(x, best.x), cell: wins.select(cell, best.cell) }
    }
}

impl<T: Element, I: WindowIndex> Output<T, Max> for (&mut [T], &mut [I]) {
    #[inline(always)]
    fn store<S: Simd>(&mut self, at: usize, best: Best<T, S>) {
        best.x.store(&mut self.0[at..]);
        let cells = best.cell.to_array();
        let index = &mut self.1[at..][..Vector::<T, S>::len()];
        for (to, cell) in index.iter_mut().zip(cells) {
            *to = I::from_usize(cell.low_bits() as usize);
        }
    }
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
    let (planes, y_len) = (geometry.planes, geometry.output_plane_len());
    let arch = Arch::current()?;
    let pool = Pool::for_work(dx.len(), PARALLEL_LEN)?;
    let parts = (
        Rows::new(dx, planes, geometry.plane_len()),
        Rows::new(dy, planes, y_len),
        Rows::new(index, planes, y_len),
    );
    let halving = geometry.halves_in(arch.lanes::<T>());
    pool.for_each_part(parts, geometry.planes_a_part(), |_, (dx, dy, index)| {
        let (geometry, dy, index, dx) = (&geometry, dy.data, index.data, dx.data);
        if halving {
            arch.dispatch(Double { geometry, dy, index, dx });
        } else {
            scatter(geometry, dy, index, dx);
        }
    });
    Ok(())
}

/// Checks that every index names a cell of its window that lies on the plane.
fn check_index<I: WindowIndex>(op: &'static str, geometry: &Geometry, index: &[I]) -> Result<()> {
    // Vectors of maxima, not a search: the pass costs little beside the gradient's.
    let largest = index.iter().copied().fold(I::default(), I::max).to_usize();
    let Window { size, pad, .. } = geometry.window;
    let fits = index.is_empty() || largest < geometry.window.area();
    if fits && pad == [0, 0] {
        return Ok(());
    }
    let Geometry { out_h, out_w, .. } = *geometry;
    let interior = geometry.interior_columns();
    let wrong = index.chunks_exact(out_w).enumerate().find_map(|(row, index)| {
        let rows = geometry.rows_on_plane(row % out_h);
        let inside = fits && rows.len() == size[0];
        // Only windows over the border are looked at, where the others cannot be wrong.
        let skipped = if inside { interior.clone() } else { 0..0 };
        (0..skipped.start).chain(skipped.end..out_w).find_map(|ox| {
            let cell = index[ox].to_usize();
            let on_plane = rows.contains(&(cell / size[1]))
                && geometry.columns_on_plane(ox).contains(&(cell % size[1]));
            (!on_plane).then_some(cell)
        })
    });
    match wrong {
        Some(cell) => Err(Error::Argument {
            op,
            name: "index",
            value: cell.to_string(),
            expected: "a cell of the window that is on the plane",
        }),
        None => Ok(()),
    }
}

/// The way back of 2×2 windows side by side: every element of dy to its place, 0 to the three others,
/// and so each element of dx is written once.
struct Double<'a, T, I> {
    geometry: &'a Geometry,
    dy: &'a [T],
    index: &'a [I],
    dx: &'a mut [T],
}

impl<T: Element, I: WindowIndex> WithSimd for Double<'_, T, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, dy, index, dx } = self;
        let &Geometry { width, out_h, out_w, .. } = geometry;
        let lanes = Vector::<T, S>::len();
        for (plane, dx) in dx.chunks_exact_mut(geometry.plane_len()).enumerate() {
            let (rows, below) = dx.split_at_mut(2 * out_h * width);
            below.fill(T::zero());
            if width > 2 * out_w {
                rows.chunks_exact_mut(width).for_each(|row| row[2 * out_w..].fill(T::zero()));
            }
            let first = plane * geometry.output_plane_len();
            geometry.halve(
                lanes,
                #[inline(always)]
                |at, to| double(simd, &dy[first + at..], &index[first + at..], dx, to, width),
            );
        }
    }
}

/// A register of windows, the first of `dy` and `index`: their upper rows are the registers at `to`, their lower ones those `width`
/// elements on.
#[inline(always)]
fn double<T: Element, I: WindowIndex, S: Simd>(
    simd: S,
    dy: &[T],
    index: &[I],
    dx: &mut [T],
    to: [usize; 2],
    width: usize,
) {
    let lanes = Vector::<T, S>::len();
    let mut cells = [T::zero(); MAX_LANES];
    for (to, cell) in cells.iter_mut().zip(&index[..lanes]) {
        // As a number: were denormals flushed, bits would compare equal.
        *to = T::of(cell.to_usize() as f64);
    }
    let (cells, zero) = (Vector::load(simd, &cells), Vector::zero(simd));
    // 0 + dy, as the definition has it: −0 becomes 0.
    let dy = zero + Vector::load(simd, dy);
    for row in 0..2 {
        let first = 2.0 * row as f64;
        let even = cells.eq(cells.like(T::of(first))).select(dy, zero);
        let odd = cells.eq(cells.like(T::of(first + 1.0))).select(dy, zero);
        let [left, right] = even.interleave(odd);
        left.store(&mut dx[to[0] + row * width..]);
        right.store(&mut dx[to[1] + row * width..]);
    }
}

/// The way back of any windows, one by one: every element of dy is added to its place.
fn scatter<T: Element, I: WindowIndex>(geometry: &Geometry, dy: &[T], index: &[I], dx: &mut [T]) {
    let &Geometry { width, out_h, out_w, window, .. } = geometry;
    let Window { size, stride, pad } = window;
    // How far a cell's place is from its window's; divided out once for windows of a usual size.
    let offset = |cell: usize| cell / size[1] * width + cell % size[1];
    let mut offsets = [0; 64];
    let in_table = window.area() <= offsets.len();
    if in_table {
        (0..window.area()).for_each(|cell| offsets[cell] = offset(cell));
    }
    let mut windows = dy.chunks_exact(out_w).zip(index.chunks_exact(out_w));
    for dx in dx.chunks_exact_mut(geometry.plane_len()) {
        dx.fill(T::zero());
        for (oy, (dy, index)) in (0..out_h).zip(&mut windows) {
            let mut at = oy * stride[0] * width;
            for (&dy, cell) in dy.iter().zip(index) {
                let cell = cell.to_usize();
                let offset = if in_table { offsets[cell % 64] } else { offset(cell) };
                // On the plane, as was checked, once the padding is subtracted.
                dx[at + offset - pad[0] * width - pad[1]] += dy;
                at += stride[1];
            }
        }
    }
}
