//! The gradient by an affine layer's weights, over the whole batch at once.
//!
//! dW = xᵀ·dy sums over samples, which the other operations have in their lanes. Here lanes run along the outputs instead: x
//! stays in its lane groups and is broadcast, dy comes as rows of samples. A tile is 6 inputs × 2 registers of outputs, 12
//! sums that stay in registers over all samples, so W's gradient is written once and never read.
#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{arch_of, count};

use crate::element::Element;
use crate::error::{Result, check_len};
use crate::parallel::{Pool, Rows};
use crate::simd::Vector;

/// Multiply-adds below which a call stays on its thread.
const PARALLEL_WORK: usize = 1 << 20;
/// Inputs that stay on one thread: whole tiles.
const PART: usize = 48;

/// How many lane groups a block holds.
pub type Groups<'a> = dyn Fn(usize) -> usize + Sync + 'a;

/// A batch of lane groups in a longer buffer: blocks of several groups, each at the same place of its stretch of the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a, T> {
    /// The whole buffer.
    pub buffer: &'a [T],
    /// Elements from one stretch to the next.
    pub stride: usize,
    /// Where in its stretch a block begins.
    pub offset: usize,
}

impl<T> Blocks<'_, T> {
    /// Checks that block `block` holds `len` elements.
    fn check(
        &self,
        op: &'static str,
        operand: &'static str,
        block: usize,
        len: usize,
    ) -> Result<()> {
        let start = block * self.stride + self.offset;
        let found = self.buffer.len().saturating_sub(start).min(len);
        if found == len {
            return Ok(());
        }
        Err(crate::Error::Length { op, operand, expected: len, found })
    }

    fn at(&self, block: usize) -> *const T {
        self.buffer.as_ptr().wrapping_add(block * self.stride + self.offset)
    }
}

/// Elements of a row of [`AffineGradient`]'s dy: the outputs, rounded up to whole registers.
///
/// # Errors
/// As [`count`].
pub fn padded<T: Element>(outputs: usize) -> Result<usize> {
    Ok(outputs.next_multiple_of(count::<T>()?))
}

/// Transposes lane groups of `features` into rows of samples, [`padded`] with zeros.
///
/// # Errors
/// [`crate::Error::Length`] where the slices are not as many groups.
pub fn scatter_padded<T: Element>(from: &[T], features: usize, rows: &mut [T]) -> Result<()> {
    const OP: &str = "lanes::scatter_padded";
    let (lanes, width) = (count::<T>()?, padded::<T>(features)?);
    let groups = from.len() / (features * lanes).max(1);
    check_len(OP, "from", from, groups * features * lanes)?;
    check_len(OP, "rows", rows, groups * width * lanes)?;
    if features == 0 {
        return Ok(());
    }
    for (from, rows) in
        from.chunks_exact(features * lanes).zip(rows.chunks_exact_mut(width * lanes))
    {
        for (lane, row) in rows.chunks_exact_mut(width).enumerate() {
            let (values, padding) = row.split_at_mut(features);
            for (to, &from) in values.iter_mut().zip(from[lane..].iter().step_by(lanes)) {
                *to = from;
            }
            padding.fill(T::zero());
        }
    }
    Ok(())
}

/// dW = xᵀ·dy and db = the column sums of dy, for W of inputs × outputs; x is lane groups (inputs, lanes), dy rows as
/// [`scatter_padded`] makes them, both in blocks of `groups(block)` groups.
///
/// # Errors
/// [`crate::Error::Length`] where a slice has another size.
pub fn affine_gradient<T: Element>(
    [inputs, outputs]: [usize; 2],
    blocks: usize,
    groups: &Groups<'_>,
    x: Blocks<'_, T>,
    dy: Blocks<'_, T>,
    dw: &mut [T],
    db: &mut [T],
) -> Result<()> {
    const OP: &str = "lanes::affine_gradient";
    let (lanes, width) = (count::<T>()?, padded::<T>(outputs)?);
    check_len(OP, "dw", dw, inputs * outputs)?;
    check_len(OP, "db", db, outputs)?;
    let mut samples = 0;
    for block in 0..blocks {
        x.check(OP, "x", block, groups(block) * inputs * lanes)?;
        dy.check(OP, "dy", block, groups(block) * width * lanes)?;
        samples += groups(block) * lanes;
    }
    let arch = arch_of::<T>(OP, lanes)?;
    let product = Product { inputs, outputs, width, blocks, groups, x, dy };
    arch.dispatch(Bias { product, db });
    let pool = Pool::for_work(samples * inputs * outputs, PARALLEL_WORK)?;
    pool.for_each_part(Rows::new(dw, inputs, outputs), PART, |part, dw| {
        let first = part * PART;
        arch.dispatch(Weights { product, inputs: first..first + dw.rows, dw: dw.data });
    });
    Ok(())
}

/// What is multiplied, checked.
#[derive(Clone, Copy)]
struct Product<'a, T> {
    inputs: usize,
    outputs: usize,
    /// Elements of a row of dy.
    width: usize,
    blocks: usize,
    groups: &'a Groups<'a>,
    x: Blocks<'a, T>,
    dy: Blocks<'a, T>,
}

struct Bias<'a, T> {
    product: Product<'a, T>,
    db: &'a mut [T],
}

impl<T: Element> WithSimd for Bias<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { width, blocks, groups, dy, .. } = self.product;
        let lanes = Vector::<T, S>::len();
        for (register, db) in self.db.chunks_mut(lanes).enumerate() {
            let mut sum = Vector::<T, S>::zero(simd);
            for block in 0..blocks {
                let start = block * dy.stride + dy.offset + register * lanes;
                for row in 0..groups(block) * lanes {
                    sum = sum + Vector::load(simd, &dy.buffer[start + row * width..]);
                }
            }
            sum.store_partial(db);
        }
    }
}

struct Weights<'a, T> {
    product: Product<'a, T>,
    inputs: Range<usize>,
    /// Of `inputs` only.
    dw: &'a mut [T],
}

impl<T: Element> WithSimd for Weights<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Product { width, .. } = self.product;
        let lanes = Vector::<T, S>::len();
        macro_rules! inputs {
            ($output:expr, $registers:literal: $($inputs:literal)*) => {
                let mut input = 0;
                $(while input + $inputs <= self.inputs.len() {
                    // SAFETY: the blocks were checked to hold all inputs and rows of `width`.
                    unsafe { self.tile::<S, $inputs, $registers>(simd, input, $output) };
                    input += $inputs;
                })*
            };
        }
        let pairs = width / (2 * lanes);
        for pair in 0..pairs {
            inputs!(2 * pair * lanes, 2: 6 2 1);
        }
        if 2 * pairs * lanes < width {
            inputs!(2 * pairs * lanes, 1: 8 2 1);
        }
    }
}

impl<T: Element> Weights<'_, T> {
    /// # Safety
    /// The blocks must hold `R` inputs from number `input` of `inputs` and `V` registers from `output`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        input: usize,
        output: usize,
    ) {
        let Product { inputs, outputs, width, blocks, groups, x, dy } = self.product;
        let lanes = Vector::<T, S>::len();
        let mut sums = [[Vector::<T, S>::zero(simd); V]; R];
        for block in 0..blocks {
            let mut x = x.at(block).wrapping_add((self.inputs.start + input) * lanes);
            let mut dy = dy.at(block).wrapping_add(output);
            for _ in 0..groups(block) {
                for lane in 0..lanes {
                    // SAFETY: a lane of an input of the group, and a row of dy.
                    unsafe {
                        let mut gradients = [Vector::<T, S>::zero(simd); V];
                        for v in 0..V {
                            gradients[v] = Vector::load_ptr(simd, dy.add(v * lanes));
                        }
                        for r in 0..R {
                            let x = Vector::splat(simd, *x.add(r * lanes + lane));
                            for v in 0..V {
                                sums[r][v] = x.mul_add(gradients[v], sums[r][v]);
                            }
                        }
                    }
                    dy = dy.wrapping_add(width);
                }
                x = x.wrapping_add(inputs * lanes);
            }
        }
        for r in 0..R {
            let row = &mut self.dw[(input + r) * outputs..(input + r + 1) * outputs];
            for v in 0..V {
                let to = &mut row[(output + v * lanes).min(outputs)..];
                if to.len() >= lanes {
                    sums[r][v].store(to);
                } else {
                    sums[r][v].store_partial(to);
                }
            }
        }
    }
}
