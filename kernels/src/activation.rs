//! Activations and their gradients, element by element, and exp and log.
//!
//! A gradient is taken in place: `dx` holds the gradient by the output on entry and the gradient by
//! the input on return. Every function gives [`crate::Error::Length`] where its slices differ in
//! length, and writes nothing then. Accuracies are in units in the last place (ULP).

use pulp::Simd;

use crate::element::Element;
use crate::error::Result;
use crate::exp::Functions;
use crate::map::{Map, map};
use crate::registers::{Pair, Registers};
use crate::simd::Vector;

/// Declares `$name`, the map y = `$body` of registers `$x`, to other memory or in place.
macro_rules! function {
    ($name:ident, |$x:ident| $body:expr) => {
        struct $name;

        impl $name {
            #[inline(always)]
            fn of<T: Element, R: Registers<T>>($x: R) -> R {
                $body
            }
        }

        // In place there is no input but the output.
        impl<T: Element, const IN: usize> Map<T, 1, IN> for $name {
            #[inline(always)]
            fn map<S: Simd>(
                &self,
                _: S,
                [y]: [Vector<T, S>; 1],
                x: [Vector<T, S>; IN],
            ) -> [Vector<T, S>; 1] {
                [Self::of(*x.first().unwrap_or(&y))]
            }

            #[inline(always)]
            fn map_pair<S: Simd>(
                &self,
                _: S,
                [[y], [next_y]]: [[Vector<T, S>; 1]; 2],
                [x, next_x]: [[Vector<T, S>; IN]; 2],
            ) -> [[Vector<T, S>; 1]; 2] {
                let x = [*x.first().unwrap_or(&y), *next_x.first().unwrap_or(&next_y)];
                let Pair([y, next_y]) = Self::of(Pair(x));
                [[y], [next_y]]
            }
        }
    };
}

/// Declares `$name`, the map dx ← `$body` of registers `$dx` and `$by`.
macro_rules! gradient {
    ($name:ident, |$dx:ident, $by:ident| $body:expr) => {
        struct $name;

        impl<T: Element> Map<T, 1, 1> for $name {
            #[inline(always)]
            fn map<S: Simd>(
                &self,
                _: S,
                [$dx]: [Vector<T, S>; 1],
                [$by]: [Vector<T, S>; 1],
            ) -> [Vector<T, S>; 1] {
                [$body]
            }
        }
    };
}

function!(Relu, |x| x.relu());
gradient!(ReluBackward, |dx, y| y.le(y.like(T::zero())).select(y.like(T::zero()), dx));

/// y = max(x, 0): 0 where x ≤ 0, and NaN passes, as in the book's `Relu` (chapter 5).
pub fn relu<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("relu", &Relu, [("y", y)], [("x", x)])
}

/// [`relu`] in place.
pub fn relu_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("relu_in_place", &Relu, [("x", x)], [])
}

/// dx ← 0 where y ≤ 0; `y` is the input of [`relu`] or its output.
pub fn relu_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("relu_backward", &ReluBackward, [("dx", dx)], [("y", y)])
}

function!(Sigmoid, |x| x.sigmoid());
gradient!(SigmoidBackward, |dx, y| dx * (y.like(T::one()) - y) * y);

/// y = 1/(1 + e⁻ˣ) within 3 ULP, without overflow at either end; NaN passes (chapter 3).
pub fn sigmoid<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("sigmoid", &Sigmoid, [("y", y)], [("x", x)])
}

/// [`sigmoid`] in place.
pub fn sigmoid_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("sigmoid_in_place", &Sigmoid, [("x", x)], [])
}

/// dx ← dx·(1 − y)·y; `y` is the output of [`sigmoid`].
pub fn sigmoid_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("sigmoid_backward", &SigmoidBackward, [("dx", dx)], [("y", y)])
}

function!(Tanh, |x| x.tanh());
gradient!(TanhBackward, |dx, y| dx * (y.like(T::one()) - y * y));

/// y = tanh x within 3 ULP, near 0 too; NaN passes.
pub fn tanh<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("tanh", &Tanh, [("y", y)], [("x", x)])
}

/// [`tanh`] in place.
pub fn tanh_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("tanh_in_place", &Tanh, [("x", x)], [])
}

/// dx ← dx·(1 − y²); `y` is the output of [`tanh`].
pub fn tanh_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("tanh_backward", &TanhBackward, [("dx", dx)], [("y", y)])
}

function!(Step, |x| R::select(x.like(T::zero()).lt(x), x.like(T::one()), x.like(T::zero())));

/// y = 1 where x > 0, else 0 (chapter 3); NaN gives 0. Its gradient is 0 wherever it exists.
pub fn step<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("step", &Step, [("y", y)], [("x", x)])
}

function!(Exp, |x| x.exp());
gradient!(ExpBackward, |dx, y| dx * y);

/// y = eˣ within 1 ULP; overflow gives ∞, underflow denormals and then 0, and NaN passes.
pub fn exp<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("exp", &Exp, [("y", y)], [("x", x)])
}

/// [`exp`] in place.
pub fn exp_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("exp_in_place", &Exp, [("x", x)], [])
}

/// dx ← dx·y; `y` is the output of [`exp`].
pub fn exp_backward<T: Element>(y: &[T], dx: &mut [T]) -> Result<()> {
    map("exp_backward", &ExpBackward, [("dx", dx)], [("y", y)])
}

function!(Log, |x| x.log());
gradient!(LogBackward, |dx, x| dx / x);

/// y = ln x within 1 ULP; −∞ of 0, NaN of what is negative, and NaN passes.
pub fn log<T: Element>(x: &[T], y: &mut [T]) -> Result<()> {
    map("log", &Log, [("y", y)], [("x", x)])
}

/// [`log`] in place.
pub fn log_in_place<T: Element>(x: &mut [T]) -> Result<()> {
    map("log_in_place", &Log, [("x", x)], [])
}

/// dx ← dx/x; `x` is the input of [`log`].
pub fn log_backward<T: Element>(x: &[T], dx: &mut [T]) -> Result<()> {
    map("log_backward", &LogBackward, [("dx", dx)], [("x", x)])
}
