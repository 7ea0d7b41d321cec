//! One register of elements with operators: how the kernels write their arithmetic.

use std::ops::{Add, Div, Mul, Neg, Sub};

use pulp::Simd;

use crate::element::Element;

/// A register of `T` under the instruction set `S`.
///
/// The usual minimum and maximum are absent on purpose: they differ by instruction set on NaN.
/// [`Vector::larger`] and [`Vector::smaller`] do not.
#[derive(Clone, Copy)]
pub(crate) struct Vector<T: Element, S: Simd> {
    simd: S,
    lanes: T::Lanes<S>,
}

/// One truth value for each lane of a [`Vector`].
#[derive(Clone, Copy)]
pub(crate) struct Mask<T: Element, S: Simd> {
    simd: S,
    lanes: T::Mask<S>,
}

impl<T: Element, S: Simd> Vector<T, S> {
    /// Elements in a register.
    #[inline(always)]
    pub(crate) fn len() -> usize {
        T::lanes::<S>()
    }

    #[inline(always)]
    pub(crate) fn splat(simd: S, x: T) -> Self {
        Self { simd, lanes: T::simd_splat(simd, x) }
    }

    #[inline(always)]
    pub(crate) fn zero(simd: S) -> Self {
        Self::splat(simd, T::zero())
    }

    /// The first [`Vector::len`] elements of `from`; panics where there are fewer.
    #[inline(always)]
    pub(crate) fn load(simd: S, from: &[T]) -> Self {
        assert!(from.len() >= Self::len());
        // SAFETY: the assertion above.
        unsafe { Self::load_ptr(simd, from.as_ptr()) }
    }

    /// The elements of `from`, up to a whole register of them; the lanes beyond are 0.
    #[inline(always)]
    pub(crate) fn load_partial(simd: S, from: &[T]) -> Self {
        Self { simd, lanes: T::simd_partial_load(simd, from) }
    }

    /// The elements of `from`, up to a whole register of them; the lanes beyond are `fill`.
    #[inline(always)]
    pub(crate) fn load_padded(simd: S, from: &[T], fill: T) -> Self {
        if from.len() >= Self::len() {
            return Self::load(simd, from);
        }
        let mut padded = [fill; MAX_LANES];
        for (to, &x) in padded.iter_mut().zip(from) {
            *to = x;
        }
        Self::load(simd, &padded)
    }

    /// # Safety
    /// - `from` must be valid for reading [`Vector::len`] elements; it need not be aligned to the register.
    #[inline(always)]
    pub(crate) unsafe fn load_ptr(simd: S, from: *const T) -> Self {
        // SAFETY: the caller's promise; `Lanes` is `len()` elements without padding, any bits valid.
        Self { simd, lanes: unsafe { from.cast::<T::Lanes<S>>().read_unaligned() } }
    }

    /// The lanes of `mask` from `from` on, 0 in the others.
    ///
    /// # Safety
    /// - `from` must be valid for reading each element whose lane is in `mask`; the others are not touched.
    #[inline(always)]
    pub(crate) unsafe fn load_masked(simd: S, mask: Mask<T, S>, from: *const T) -> Self {
        // SAFETY: the caller's promise.
        Self { simd, lanes: unsafe { T::simd_load_masked(simd, mask.lanes, from) } }
    }

    /// Writes the first [`Vector::len`] elements of `to`; panics where there are fewer.
    #[inline(always)]
    pub(crate) fn store(self, to: &mut [T]) {
        assert!(to.len() >= Self::len());
        // SAFETY: the assertion above.
        unsafe { self.store_ptr(to.as_mut_ptr()) }
    }

    /// Writes as many lanes as `to` has elements, up to a whole register.
    ///
    /// A copy through the stack: masked stores take about 20 cycles on AMD before Zen 4.
    #[inline(always)]
    pub(crate) fn store_partial(self, to: &mut [T]) {
        let lanes = self.to_array();
        let count = to.len().min(Self::len());
        for (to, &lane) in to[..count].iter_mut().zip(&lanes) {
            *to = lane;
        }
    }

    /// # Safety
    /// - `to` must be valid for writing [`Vector::len`] elements; it need not be aligned to the register.
    #[inline(always)]
    pub(crate) unsafe fn store_ptr(self, to: *mut T) {
        // SAFETY: the caller's promise; `Lanes` is `len()` elements without padding.
        unsafe { to.cast::<T::Lanes<S>>().write_unaligned(self.lanes) }
    }

    /// Whether [`Vector::store_masked`] is one fast instruction.
    pub(crate) const HAS_MASKED_STORES: bool = S::F32_LANES == MAX_LANES;

    /// Writes the lanes of `mask` from `to` on.
    ///
    /// # Safety
    /// - `to` must be valid for writing each element whose lane is in `mask`; the others are not touched.
    #[inline(always)]
    pub(crate) unsafe fn store_masked(self, mask: Mask<T, S>, to: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { T::simd_store_masked(self.simd, mask.lanes, to, self.lanes) }
    }

    /// The lanes, followed by zeros.
    #[inline(always)]
    pub(crate) fn to_array(self) -> [T; MAX_LANES] {
        let mut array = [T::zero(); MAX_LANES];
        self.store(&mut array);
        array
    }

    /// `self·b + c`, fused where the machine fuses it cheaply.
    #[inline(always)]
    pub(crate) fn mul_add(self, b: Self, c: Self) -> Self {
        Self { lanes: T::simd_mul_add(self.simd, self.lanes, b.lanes, c.lanes), ..self }
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self { lanes: T::simd_sqrt(self.simd, self.lanes), ..self }
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        Self { lanes: T::simd_abs(self.simd, self.lanes), ..self }
    }

    #[inline(always)]
    pub(crate) fn eq(self, b: Self) -> Mask<T, S> {
        Mask { simd: self.simd, lanes: T::simd_eq(self.simd, self.lanes, b.lanes) }
    }

    #[inline(always)]
    pub(crate) fn lt(self, b: Self) -> Mask<T, S> {
        Mask { simd: self.simd, lanes: T::simd_lt(self.simd, self.lanes, b.lanes) }
    }

    #[inline(always)]
    pub(crate) fn le(self, b: Self) -> Mask<T, S> {
        Mask { simd: self.simd, lanes: T::simd_le(self.simd, self.lanes, b.lanes) }
    }

    /// 0 where the lane is 0 or less, else the lane: NaN passes, as in the book's mask `x <= 0`.
    #[inline(always)]
    pub(crate) fn relu(self) -> Self {
        let zero = Self::zero(self.simd);
        self.le(zero).select(zero, self)
    }

    /// Where `self` is larger than `b`, or NaN and `b` is a number: who comes later wins a maximum only so.
    #[inline(always)]
    pub(crate) fn beats(self, b: Self) -> Mask<T, S> {
        b.eq(b).and_not(self.le(b))
    }

    /// The larger of the two lanes; `self` where either is NaN.
    #[inline(always)]
    pub(crate) fn larger(self, b: Self) -> Self {
        Self { lanes: T::simd_max(self.simd, b.lanes, self.lanes), ..self }
    }

    /// The smaller of the two lanes; `self` where either is NaN.
    #[inline(always)]
    pub(crate) fn smaller(self, b: Self) -> Self {
        Self { lanes: T::simd_min(self.simd, b.lanes, self.lanes), ..self }
    }

    /// `self` with its bits masked by those of `mask`.
    #[inline(always)]
    pub(crate) fn and_bits(self, mask: T) -> Self {
        let mask = T::simd_splat(self.simd, mask);
        Self { lanes: T::simd_and(self.simd, self.lanes, mask), ..self }
    }

    /// The bits of either.
    #[inline(always)]
    pub(crate) fn or_bits(self, b: Self) -> Self {
        Self { lanes: T::simd_or(self.simd, self.lanes, b.lanes), ..self }
    }

    /// Every 32-bit word shifted to the left on its own: for `f64`, both words.
    #[inline(always)]
    pub(crate) fn shl_words(self, bits: u32) -> Self {
        Self { lanes: T::simd_shl_words(self.simd, self.lanes, bits), ..self }
    }

    /// Every 32-bit word shifted to the right on its own: for `f64`, both words.
    #[inline(always)]
    pub(crate) fn shr_words(self, bits: u32) -> Self {
        Self { lanes: T::simd_shr_words(self.simd, self.lanes, bits), ..self }
    }

    /// `x` in every lane, under the instruction set of `self`.
    #[inline(always)]
    pub(crate) fn like(self, x: T) -> Self {
        Self::splat(self.simd, x)
    }

    /// The sum of the lanes, in an order fixed by the instruction set.
    #[inline(always)]
    pub(crate) fn sum(self) -> T {
        T::simd_reduce_sum(self.simd, self.lanes)
    }

    /// The elements of `self` and `b` by turns: s₀ b₀ s₁ b₁ and so on, in two registers.
    #[inline(always)]
    pub(crate) fn interleave(self, b: Self) -> [Self; 2] {
        let [first, second] = T::simd_interleave::<S>(self.lanes, b.lanes);
        [Self { lanes: first, ..self }, Self { lanes: second, ..self }]
    }

    /// The even elements of `self` followed by `b`, and the odd ones: the inverse of
    /// [`Vector::interleave`].
    #[inline(always)]
    pub(crate) fn deinterleave(self, b: Self) -> [Self; 2] {
        let [even, odd] = T::simd_deinterleave::<S>(self.lanes, b.lanes);
        [Self { lanes: even, ..self }, Self { lanes: odd, ..self }]
    }

    /// The register that `lanes` is, in the instruction set's own type.
    #[inline(always)]
    pub(crate) fn from_lanes(simd: S, lanes: T::Lanes<S>) -> Self {
        Self { simd, lanes }
    }
}

/// Asks for the cache line of `address`, which need not be valid, before it is needed.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    prefetch_with::<3, T>(address); // _MM_HINT_T0, which is there on x86 alone
}

/// Asks for the cache line of `address`, which need not be valid, to be in L2.
#[inline(always)]
pub(crate) fn prefetch_to_l2<T>(address: *const T) {
    prefetch_with::<2, T>(address); // _MM_HINT_T1
}

#[inline(always)]
fn prefetch_with<const HINT: i32, T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which touches no memory; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<HINT>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same address, of which the compiler does not know how it came about: where a loop reads at many distances from a pointer that
/// moves, it would keep each sum in a register, and has too few.
#[inline(always)]
pub(crate) fn opaque<T>(address: *const T) -> *const T {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut address = address;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) address, options(pure, readonly, nostack, preserves_flags));
        }
        address
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    address
}

/// The most lanes any instruction set has: 512 bits of `f32`.
pub(crate) const MAX_LANES: usize = 16;

impl<T: Element, S: Simd> Mask<T, S> {
    /// Holds in the first `count` lanes.
    #[inline(always)]
    pub(crate) fn first(simd: S, count: usize) -> Self {
        Self { simd, lanes: T::simd_first_lanes(simd, count) }
    }

    /// Lane by lane, `if_true` where the mask holds and `if_false` elsewhere.
    #[inline(always)]
    pub(crate) fn select(self, if_true: Vector<T, S>, if_false: Vector<T, S>) -> Vector<T, S> {
        Vector {
            simd: self.simd,
            lanes: T::simd_select(self.simd, self.lanes, if_true.lanes, if_false.lanes),
        }
    }

    /// Whether it holds in any lane.
    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        T::simd_any(self.simd, self.lanes)
    }

    /// Where `self` holds and `b` does not.
    #[inline(always)]
    pub(crate) fn and_not(self, b: Self) -> Self {
        Self { lanes: T::simd_and_not(self.simd, self.lanes, b.lanes), ..self }
    }
}

macro_rules! impl_operator {
    ($($trait:ident, $method:ident, $simd:ident);*) => {
        $(impl<T: Element, S: Simd> $trait for Vector<T, S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                Self { lanes: T::$simd(self.simd, self.lanes, b.lanes), ..self }
            }
        })*
    };
}
impl_operator!(Add, add, simd_add; Sub, sub, simd_sub; Mul, mul, simd_mul; Div, div, simd_div);

impl<T: Element, S: Simd> Neg for Vector<T, S> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self { lanes: T::simd_neg(self.simd, self.lanes), ..self }
    }
}
