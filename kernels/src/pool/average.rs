//! Average-pooling. The padding counts as zeros: every sum is divided by the whole window's area.

use pulp::{Simd, WithSimd};

use super::walk::{Output, Pooling, walk};
use super::{Geometry, PARALLEL_LEN};
use crate::arch::Arch;
use crate::conv::Window;
use crate::element::Element;
use crate::error::{Result, check_len};
use crate::parallel::{Pool, Rows};
use crate::simd::Vector;
use crate::workspace::with_scratch;

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
    let geometry = check("average_pool_forward", input, window, ("x", x), ("y", y))?;
    walk(&geometry, Average { area: area(window) }, x, y)
}

fn area<T: Element>(window: &Window) -> T {
    T::of(window.area() as f64)
}

/// The state is the sum so far.
#[derive(Clone, Copy)]
struct Average<T> {
    area: T,
}

#[derive(Clone, Copy)]
struct Sum<T: Element, S: Simd> {
    sum: Vector<T, S>,
    area: T,
}

impl<T: Element> Pooling<T> for Average<T> {
    type State<S: Simd> = Sum<T, S>;

    fn padding(self) -> T {
        T::zero()
    }

    #[inline(always)]
    fn before<S: Simd>(self, cells: Vector<T, S>) -> Sum<T, S> {
        Sum { sum: cells.like(T::zero()), area: self.area }
    }

    #[inline(always)]
    fn first<S: Simd>(self, _: usize, x: Vector<T, S>) -> Sum<T, S> {
        // 0 + x, as the definition has it: −0 becomes 0.
        Sum { sum: x.like(T::zero()) + x, area: self.area }
    }

    #[inline(always)]
    fn next<S: Simd>(self, state: Sum<T, S>, _: usize, x: Vector<T, S>) -> Sum<T, S> {
        Sum { sum: state.sum + x, ..state }
    }
}

impl<T: Element> Output<T, Average<T>> for &mut [T] {
    #[inline(always)]
    fn store<S: Simd>(&mut self, at: usize, Sum { sum, area }: Sum<T, S>) {
        (sum / sum.like(area)).store(&mut self[at..]);
    }
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
    let geometry = check("average_pool_backward", input, window, ("dx", dx), ("dy", dy))?;
    let planes = geometry.planes;
    let arch = Arch::current()?;
    let pool = Pool::for_work(dx.len(), PARALLEL_LEN)?;
    let parts = (
        Rows::new(dx, planes, geometry.plane_len()),
        Rows::new(dy, planes, geometry.output_plane_len()),
    );
    let halving = geometry.is_halving();
    pool.for_each_part(parts, geometry.planes_a_part(), |_, (dx, dy)| {
        let (geometry, dy, dx) = (&geometry, dy.data, dx.data);
        if halving {
            arch.dispatch(Double { geometry, dy, dx });
        } else {
            with_scratch(geometry.out_w, |shares| {
                arch.dispatch(Spread { geometry, dy, dx, shares });
            });
        }
    });
    Ok(())
}

/// The way back of 2×2 windows side by side: each element of dx is written once.
struct Double<'a, T> {
    geometry: &'a Geometry,
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> WithSimd for Double<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, dy, dx } = self;
        let &Geometry { width, out_h, out_w, .. } = geometry;
        let lanes = Vector::<T, S>::len();
        let mut dy_rows = dy.chunks_exact(out_w);
        for dx in dx.chunks_exact_mut(geometry.plane_len()) {
            let (rows, below) = dx.split_at_mut(2 * out_h * width);
            below.fill(T::zero());
            for (rows, dy) in rows.chunks_exact_mut(2 * width).zip(&mut dy_rows) {
                let (upper, lower) = rows.split_at_mut(width);
                let (covered, beside) = upper.split_at_mut(2 * out_w);
                beside.fill(T::zero());
                let (mut pairs, mut registers) =
                    (covered.chunks_exact_mut(2 * lanes), dy.chunks_exact(lanes));
                for (dx, dy) in (&mut pairs).zip(&mut registers) {
                    let four = Vector::splat(simd, T::of(4.0));
                    // 0 + dy, as the definition has it: −0 becomes 0.
                    let share = Vector::zero(simd) + Vector::load(simd, dy) / four;
                    let (left, right) = dx.split_at_mut(lanes);
                    let [first, second] = share.interleave(share);
                    first.store(left);
                    second.store(right);
                }
                let rest = pairs.into_remainder().chunks_exact_mut(2).zip(registers.remainder());
                for (dx, &dy) in rest {
                    dx.fill(T::zero() + dy / T::of(4.0));
                }
                lower.copy_from_slice(upper);
            }
        }
    }
}

/// The way back of any windows. `shares` holds a row of dy over the area.
struct Spread<'a, T> {
    geometry: &'a Geometry,
    dy: &'a [T],
    dx: &'a mut [T],
    shares: &'a mut [T],
}

impl<T: Element> WithSimd for Spread<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, dy, dx, shares } = self;
        let &Geometry { width, out_h, out_w, window, .. } = geometry;
        let area = area::<T>(&window);
        let (stride, pad) = (window.stride[1], window.pad[1]);
        let mut dy_rows = dy.chunks_exact(out_w);
        for dx in dx.chunks_exact_mut(geometry.plane_len()) {
            dx.fill(T::zero());
            for (oy, dy) in (0..out_h).zip(&mut dy_rows) {
                shares.iter_mut().zip(dy).for_each(|(share, &dy)| *share = dy / area);
                for fy in geometry.rows_on_plane(oy) {
                    let row = &mut dx[(oy * window.stride[0] + fy - window.pad[0]) * width..];
                    // The last column first: so an element of dx adds its windows in their order.
                    for fx in (0..window.size[1]).rev() {
                        // The windows whose column fx is on the plane.
                        let first = pad.saturating_sub(fx).div_ceil(stride).min(out_w);
                        let to = first * stride + fx;
                        let Some(row) = row[..width].get_mut(to.wrapping_sub(pad)..) else {
                            continue;
                        };
                        if stride == 1 {
                            add(simd, row, &shares[first..]);
                        } else {
                            let to = row.iter_mut().step_by(stride);
                            to.zip(&shares[first..]).for_each(|(dx, &share)| *dx += share);
                        }
                    }
                }
            }
        }
    }
}

/// sum += x, as far as both reach.
#[inline(always)]
fn add<T: Element, S: Simd>(simd: S, sum: &mut [T], x: &[T]) {
    let lanes = Vector::<T, S>::len();
    let len = sum.len().min(x.len());
    let whole = len - len % lanes;
    for (sum, x) in sum[..whole].chunks_exact_mut(lanes).zip(x[..whole].chunks_exact(lanes)) {
        (Vector::load(simd, sum) + Vector::load(simd, x)).store(sum);
    }
    sum[whole..len].iter_mut().zip(&x[whole..len]).for_each(|(sum, &x)| *sum += x);
}
