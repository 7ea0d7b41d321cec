//! One register or two that are computed in turns, behind one set of operations.
//!
//! A long chain of operations, each of which waits for the one before, leaves the machine idle: 4 cycles an operation, of which
//! it could begin 8 in that time. Of two chains in turns the one works while the other waits. (It would find a second chain by
//! itself, in the next round of a loop, if its scheduler held that many operations.)

use std::ops::{Add, Div, Mul, Sub};

use pulp::Simd;

use crate::element::Element;
use crate::simd::{Mask, Vector};

/// What [`Vector`] and [`Pair`] have in common; [`Vector`]'s methods say what these do.
pub(crate) trait Registers<T>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    type Mask: Copy;

    fn like(self, x: T) -> Self;
    fn mul_add(self, b: Self, c: Self) -> Self;
    fn abs(self) -> Self;
    fn relu(self) -> Self;
    fn larger(self, b: Self) -> Self;
    fn smaller(self, b: Self) -> Self;
    fn and_bits(self, mask: T) -> Self;
    fn or_bits(self, b: Self) -> Self;
    fn shl_words(self, bits: u32) -> Self;
    fn shr_words(self, bits: u32) -> Self;
    fn eq(self, b: Self) -> Self::Mask;
    fn lt(self, b: Self) -> Self::Mask;
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self;
    /// Whether a lane reaches `bound`, or `-bound`. NaN does not.
    fn reaches(self, bound: T) -> bool;
}

/// Two registers.
#[derive(Clone, Copy)]
pub(crate) struct Pair<T: Element, S: Simd>(pub(crate) [Vector<T, S>; 2]);

impl<T: Element, S: Simd> From<[Vector<T, S>; 2]> for Pair<T, S> {
    #[inline(always)]
    fn from(registers: [Vector<T, S>; 2]) -> Self {
        Self(registers)
    }
}

macro_rules! impl_registers {
    ($($method:ident($($register:ident),*; $($scalar:ident: $type:ty),*) -> $output:ty;)*) => {
        impl<T: Element, S: Simd> Registers<T> for Vector<T, S> {
            type Mask = Mask<T, S>;

            $(#[inline(always)]
            fn $method(self $(, $register: Self)* $(, $scalar: $type)*) -> $output {
                Vector::$method(self $(, $register)* $(, $scalar)*)
            })*

            #[inline(always)]
            fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self {
                mask.select(if_true, if_false)
            }

            #[inline(always)]
            fn reaches(self, bound: T) -> bool {
                Vector::like(self, bound).le(Vector::abs(self)).any()
            }
        }

        impl<T: Element, S: Simd> Registers<T> for Pair<T, S> {
            type Mask = [Mask<T, S>; 2];

            $(#[inline(always)]
            fn $method(self $(, $register: Self)* $(, $scalar: $type)*) -> $output {
                [
                    Vector::$method(self.0[0] $(, $register.0[0])* $(, $scalar)*),
                    Vector::$method(self.0[1] $(, $register.0[1])* $(, $scalar)*),
                ]
                .into()
            })*

            #[inline(always)]
            fn select([first, second]: Self::Mask, if_true: Self, if_false: Self) -> Self {
                Self([
                    first.select(if_true.0[0], if_false.0[0]),
                    second.select(if_true.0[1], if_false.0[1]),
                ])
            }

            #[inline(always)]
            fn reaches(self, bound: T) -> bool {
                let [first, second] = self.0;
                first.reaches(bound) || second.reaches(bound)
            }
        }
    };
}

impl_registers! {
    like(; x: T) -> Self;
    mul_add(b, c;) -> Self;
    abs(;) -> Self;
    relu(;) -> Self;
    larger(b;) -> Self;
    smaller(b;) -> Self;
    and_bits(; mask: T) -> Self;
    or_bits(b;) -> Self;
    shl_words(; bits: u32) -> Self;
    shr_words(; bits: u32) -> Self;
    eq(b;) -> Self::Mask;
    lt(b;) -> Self::Mask;
}

macro_rules! impl_operator {
    ($($trait:ident, $method:ident);*) => {
        $(impl<T: Element, S: Simd> $trait for Pair<T, S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                Self([self.0[0].$method(b.0[0]), self.0[1].$method(b.0[1])])
            }
        })*
    };
}
impl_operator!(Add, add; Sub, sub; Mul, mul; Div, div);
