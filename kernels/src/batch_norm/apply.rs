//! Elementwise passes with constants for each channel: the normalisation and its gradient by x.

use pulp::{Scalar, Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::parallel::{Pool, Rows};
use crate::simd::{MAX_LANES, Vector};
use crate::workspace::with_scratch;

/// An element of the output from one of each input and the channel's constants.
pub(crate) trait Channelwise<T: Element, const IN: usize>: Copy + Sync {
    fn of<S: Simd>(self, constants: [Vector<T, S>; 4], x: [Vector<T, S>; IN]) -> Vector<T, S>;
}

/// gamma·((x − mean)·inv_std) + beta.
#[derive(Clone, Copy)]
pub(crate) struct Normalize;

impl<T: Element> Channelwise<T, 1> for Normalize {
    #[inline(always)]
    fn of<S: Simd>(
        self,
        [gamma, mean, inv_std, beta]: [Vector<T, S>; 4],
        [x]: [Vector<T, S>; 1],
    ) -> Vector<T, S> {
        gamma.mul_add((x - mean) * inv_std, beta)
    }
}

/// [`Normalize`], then ReLU.
#[derive(Clone, Copy)]
pub(crate) struct NormalizeRelu;

impl<T: Element> Channelwise<T, 1> for NormalizeRelu {
    #[inline(always)]
    fn of<S: Simd>(self, constants: [Vector<T, S>; 4], x: [Vector<T, S>; 1]) -> Vector<T, S> {
        Normalize.of(constants, x).relu()
    }
}

/// scale·(dy − dbeta/M − (x − mean)·slope), where scale is gamma·inv_std and slope inv_std·dgamma/M.
#[derive(Clone, Copy)]
pub(crate) struct Gradient;

impl<T: Element> Channelwise<T, 2> for Gradient {
    #[inline(always)]
    fn of<S: Simd>(
        self,
        [scale, mean, slope, dbeta]: [Vector<T, S>; 4],
        [x, dy]: [Vector<T, S>; 2],
    ) -> Vector<T, S> {
        scale * ((dy - dbeta) - (x - mean) * slope)
    }
}

/// Below this many elements (over all arrays) waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 14;

/// Elements a task takes.
const PART_LEN: usize = 1 << 14;

/// Up to this many inner elements, fewer than a register may have lanes, each column gets constants of its own and rows are taken
/// whole.
const MAX_COLUMNS: usize = MAX_LANES - 1;

/// y = `op` of the inputs and of `constants(channel)`.
pub(crate) fn apply<T: Element, K: Channelwise<T, IN>, const IN: usize>(
    [batch, channels, inner]: [usize; 3],
    op: K,
    inputs: [&[T]; IN],
    constants: impl Fn(usize) -> [T; 4],
    y: &mut [T],
) -> Result<()> {
    let image_len = channels * inner;
    if y.is_empty() {
        return Ok(());
    }
    let arch = Arch::current()?;
    let pool = Pool::for_work((IN + 1) * y.len(), PARALLEL_LEN)?;
    let repeated = if inner <= MAX_COLUMNS { inner } else { 1 };
    let width = channels * repeated;
    with_scratch(4 * width, |scratch| {
        for channel in 0..channels {
            for (array, constant) in scratch.chunks_exact_mut(width).zip(constants(channel)) {
                array[channel * repeated..][..repeated].fill(constant);
            }
        }
        let constants = &*scratch;
        let parts =
            (Rows::new(y, batch, image_len), inputs.map(|x| Rows::new(x, batch, image_len)));
        pool.for_each_part(parts, PART_LEN / image_len, |_, (y, inputs)| {
            let (y, inputs) = (y.data, inputs.map(|x| x.data));
            if inner <= MAX_COLUMNS {
                arch.dispatch(ApplyRows { op, constants, inputs, y });
            } else {
                arch.dispatch(ApplyPlanes { op, constants, inner, inputs, y });
            }
        });
    });
    Ok(())
}

/// Constants for each element of a row, four rows of them.
struct ApplyRows<'a, T, K, const IN: usize> {
    op: K,
    constants: &'a [T],
    inputs: [&'a [T]; IN],
    y: &'a mut [T],
}

impl<T: Element, K: Channelwise<T, IN>, const IN: usize> WithSimd for ApplyRows<'_, T, K, IN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { op, constants, inputs, y } = self;
        let width = constants.len() / 4;
        let rows = y.len() / width;
        let whole = rows - rows % ROWS;
        for row in (0..whole).step_by(ROWS) {
            apply_rows::<_, _, _, IN, ROWS>(simd, op, constants, inputs, row, &mut *y);
        }
        for row in whole..rows {
            apply_rows::<_, _, _, IN, 1>(simd, op, constants, inputs, row, &mut *y);
        }
    }
}

/// Rows side by side, for which each register of constants is loaded once.
const ROWS: usize = 4;

/// `R` rows from `row` on.
#[inline(always)]
fn apply_rows<T: Element, S: Simd, K: Channelwise<T, IN>, const IN: usize, const R: usize>(
    simd: S,
    op: K,
    constants: &[T],
    inputs: [&[T]; IN],
    row: usize,
    y: &mut [T],
) {
    let width = constants.len() / 4;
    let lanes = Vector::<T, S>::len();
    let y = &mut y[row * width..][..R * width];
    let mut x = inputs;
    for x in &mut x {
        *x = &x[row * width..][..R * width];
    }
    macro_rules! register {
        ($simd:expr, $at:expr) => {
            // SAFETY: a register (or an element) from `$at` on lies within each of the `R` rows and the constants.
            unsafe {
                let mut vectors = [Vector::zero($simd); 4];
                for constant in 0..4 {
                    vectors[constant] =
                        Vector::load_ptr($simd, constants.as_ptr().add(constant * width + $at));
                }
                for row in 0..R {
                    let mut registers = [Vector::zero($simd); IN];
                    for input in 0..IN {
                        registers[input] =
                            Vector::load_ptr($simd, x[input].as_ptr().add(row * width + $at));
                    }
                    op.of(vectors, registers).store_ptr(y.as_mut_ptr().add(row * width + $at));
                }
            }
        };
    }
    if width < lanes {
        for at in 0..width {
            register!(Scalar::new(), at);
        }
        return;
    }
    for at in (0..width).step_by(lanes) {
        // The last register overlaps the one before it, and computes the same again.
        register!(simd, at.min(width - lanes));
    }
}

/// Constants for each plane.
struct ApplyPlanes<'a, T, K, const IN: usize> {
    op: K,
    constants: &'a [T],
    inner: usize,
    inputs: [&'a [T]; IN],
    y: &'a mut [T],
}

impl<T: Element, K: Channelwise<T, IN>, const IN: usize> WithSimd for ApplyPlanes<'_, T, K, IN> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { op, constants, inner, inputs, y } = self;
        let channels = constants.len() / 4;
        let lanes = Vector::<T, S>::len();
        for (plane, y) in y.chunks_exact_mut(inner).enumerate() {
            let mut x = inputs;
            for x in &mut x {
                *x = &x[plane * inner..][..inner];
            }
            let mut vectors = [Vector::zero(simd); 4];
            for constant in 0..4 {
                vectors[constant] =
                    Vector::splat(simd, constants[constant * channels + plane % channels]);
            }
            // As above; planes are longer than a register.
            for at in (0..inner).step_by(lanes) {
                let at = at.min(inner - lanes);
                let mut registers = [Vector::zero(simd); IN];
                for input in 0..IN {
                    registers[input] = Vector::load(simd, &x[input][at..]);
                }
                op.of(vectors, registers).store(&mut y[at..]);
            }
        }
    }
}
