//! Activations and their gradients, element by element, and exp and log.
//!
//! A gradient is taken in place: `dx` holds the gradient by the output on entry and the gradient by
//! the input on return. Every function gives [`crate::Error::Length`] where its slices differ in
//! length, and writes nothing then.

use pulp::Simd;

use crate::element::Element;
use crate::error::{Result, check_len};
use crate::map::{Map, map};
use crate::reference;
use crate::simd::Vector;

/// A function of one element.
trait Function<T: Element>: Sync {
    fn of<S: Simd>(&self, simd: S, x: Vector<T, S>) -> Vector<T, S>;
}

/// y = f(x).
struct Forward<F>(F);

impl<T: Element, F: Function<T>> Map<T, 1, 1> for Forward<F> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        _: [Vector<T, S>; 1],
        [x]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [self.0.of(simd, x)]
    }
}

impl<T: Element, F: Function<T>> Map<T, 1, 0> for Forward<F> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [x]: [Vector<T, S>; 1],
        _: [Vector<T, S>; 0],
    ) -> [Vector<T, S>; 1] {
        [self.0.of(simd, x)]
    }
}

struct Relu;

impl<T: Element> Function<T> for Relu {
    #[inline(always)]
    fn of<S: Simd>(&self, _: S, x: Vector<T, S>) -> Vector<T, S> {
        x.relu()
    }
}

/// y = max(x, 0): 0 where x ≤ 0, and NaN passes, as in the book's `Relu` (chapter 5).
pub fn relu<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("relu", &Forward(Relu), [("y", y)], [("x", x)])
}

/// [`relu`] in place.
pub fn relu_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("relu_in_place", &Forward(Relu), [("x", x)], [])
}

struct ReluBackward;

impl<T: Element> Map<T, 1, 1> for ReluBackward {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [dx]: [Vector<T, S>; 1],
        [y]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        let zero = Vector::zero(simd);
        [y.le(zero).select(zero, dx)]
    }
}

/// dx ← 0 where y ≤ 0; `y` is the input of [`relu`] or its output.
pub fn relu_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("relu_backward", &ReluBackward, [("dx", dx)], [("y", y)])
}

struct Step;

impl<T: Element> Function<T> for Step {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, x: Vector<T, S>) -> Vector<T, S> {
        let zero = Vector::zero(simd);
        zero.lt(x).select(Vector::splat(simd, T::one()), zero)
    }
}

/// y = 1 where x > 0, else 0 (chapter 3); NaN gives 0. Its gradient is 0 wherever it exists.
pub fn step<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("step", &Forward(Step), [("y", y)], [("x", x)])
}

/// y = 1/(1 + e⁻ˣ), without overflow at either end; NaN passes (chapter 3).
pub fn sigmoid<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    check_len("sigmoid", "x", x, y.len())?;
    reference::activation::sigmoid(x, y);
    Ok(())
}

/// [`sigmoid`] in place.
pub fn sigmoid_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    let input = x.to_vec();
    reference::activation::sigmoid(&input, x);
    Ok(())
}

struct SigmoidBackward;

impl<T: Element> Map<T, 1, 1> for SigmoidBackward {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [dx]: [Vector<T, S>; 1],
        [y]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [dx * (Vector::splat(simd, T::one()) - y) * y]
    }
}

/// dx ← dx·(1 − y)·y; `y` is the output of [`sigmoid`].
pub fn sigmoid_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("sigmoid_backward", &SigmoidBackward, [("dx", dx)], [("y", y)])
}

/// y = tanh x; NaN passes.
pub fn tanh<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    check_len("tanh", "x", x, y.len())?;
    reference::activation::tanh(x, y);
    Ok(())
}

/// [`tanh`] in place.
pub fn tanh_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    let input = x.to_vec();
    reference::activation::tanh(&input, x);
    Ok(())
}

struct TanhBackward;

impl<T: Element> Map<T, 1, 1> for TanhBackward {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [dx]: [Vector<T, S>; 1],
        [y]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        let one = Vector::splat(simd, T::one());
        [dx * (one - y * y)]
    }
}

/// dx ← dx·(1 − y²); `y` is the output of [`tanh`].
pub fn tanh_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("tanh_backward", &TanhBackward, [("dx", dx)], [("y", y)])
}

/// y = eˣ; overflow gives ∞, underflow 0, and NaN passes.
pub fn exp<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    check_len("exp", "x", x, y.len())?;
    reference::activation::exp(x, y);
    Ok(())
}

/// [`exp`] in place.
pub fn exp_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    let input = x.to_vec();
    reference::activation::exp(&input, x);
    Ok(())
}

struct ExpBackward;

impl<T: Element> Map<T, 1, 1> for ExpBackward {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        _: S,
        [dx]: [Vector<T, S>; 1],
        [y]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [dx * y]
    }
}

/// dx ← dx·y; `y` is the output of [`exp`].
pub fn exp_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("exp_backward", &ExpBackward, [("dx", dx)], [("y", y)])
}

/// y = ln x; −∞ of 0, NaN of what is negative, and NaN passes.
pub fn log<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    check_len("log", "x", x, y.len())?;
    reference::activation::log(x, y);
    Ok(())
}

/// [`log`] in place.
pub fn log_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    let input = x.to_vec();
    reference::activation::log(&input, x);
    Ok(())
}

struct LogBackward;

impl<T: Element> Map<T, 1, 1> for LogBackward {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        _: S,
        [dx]: [Vector<T, S>; 1],
        [x]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [dx / x]
    }
}

/// dx ← dx/x; `x` is the input of [`log`].
pub fn log_backward<T: Element>(x: &[T], dx: &mut [T]) -> Result<()> {
    map("log_backward", &LogBackward, [("dx", dx)], [("x", x)])
}
