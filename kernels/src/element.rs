//! What a kernel asks of `f32` and `f64`, so that both share one source.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use num_traits::{Float, NumAssign};
use pulp::{MemMask, Simd, bytemuck};

use crate::exp::Elementary;
use crate::gemm::BlockKernels;
use crate::gemm::transpose::Transpose;

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`.
pub trait Element:
    private::Sealed
    + SimdElement
    + Elementary
    + BlockKernels
    + Transpose
    + Float
    + NumAssign
    + Sum
    + Default
    + Debug
    + Display
    + Send
    + Sync
    + 'static
{
    /// `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The nearest value to `x`.
    fn of(x: f64) -> Self;

    /// The value as an `f64`, exactly.
    fn as_f64(self) -> f64;

    /// The number whose lowest bits are `bits` and whose others are 0: a counter that travels through
    /// registers by `Mask::select`, and is no number to calculate with.
    fn of_bits(bits: u32) -> Self;

    /// The lowest 32 bits.
    fn low_bits(self) -> u32;
}

/// The vector operations behind [`crate::simd::Vector`]: a register of `Self`, named by the
/// instruction set `S`. Public only because [`Element`] builds on it; it cannot be reached.
pub trait SimdElement: Copy {
    /// One register of elements.
    type Lanes<S: Simd>: Copy + Send + Sync + Debug + 'static;
    /// One truth value for each element of a register.
    type Mask<S: Simd>: Copy + Send + Sync;

    /// Elements in a register.
    fn lanes<S: Simd>() -> usize;
    fn simd_splat<S: Simd>(simd: S, x: Self) -> Self::Lanes<S>;
    fn simd_partial_load<S: Simd>(simd: S, from: &[Self]) -> Self::Lanes<S>;
    fn simd_add<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_sub<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_mul<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_div<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// `a·b + c`, fused where the machine fuses it cheaply.
    fn simd_mul_add<S: Simd>(
        simd: S,
        a: Self::Lanes<S>,
        b: Self::Lanes<S>,
        c: Self::Lanes<S>,
    ) -> Self::Lanes<S>;
    fn simd_neg<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_abs<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_sqrt<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self::Lanes<S>;
    /// `a` where it is larger than `b`, else `b`: where either is NaN, and where both are zeros.
    fn simd_max<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// `a` where it is smaller than `b`, else `b`.
    fn simd_min<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_eq<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Mask<S>;
    fn simd_lt<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Mask<S>;
    fn simd_le<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Mask<S>;
    fn simd_select<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        if_true: Self::Lanes<S>,
        if_false: Self::Lanes<S>,
    ) -> Self::Lanes<S>;
    /// The mask of `a` without that of `b`.
    fn simd_and_not<S: Simd>(simd: S, a: Self::Mask<S>, b: Self::Mask<S>) -> Self::Mask<S>;
    /// Whether any lane is true.
    fn simd_any<S: Simd>(simd: S, mask: Self::Mask<S>) -> bool;
    fn simd_reduce_sum<S: Simd>(simd: S, a: Self::Lanes<S>) -> Self;
    /// a₀ b₀ a₁ b₁ and so on, in two registers.
    fn simd_interleave<S: Simd>(a: Self::Lanes<S>, b: Self::Lanes<S>) -> [Self::Lanes<S>; 2];
    /// The even elements of `a` followed by `b`, and the odd ones.
    fn simd_deinterleave<S: Simd>(a: Self::Lanes<S>, b: Self::Lanes<S>) -> [Self::Lanes<S>; 2];
    /// True in the first `count` lanes.
    fn simd_first_lanes<S: Simd>(simd: S, count: usize) -> Self::Mask<S>;
    /// # Safety
    /// - `from` must be valid for reading each element whose lane is in `mask`.
    unsafe fn simd_load_masked<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        from: *const Self,
    ) -> Self::Lanes<S>;
    /// # Safety
    /// - `to` must be valid for writing each element whose lane is in `mask`.
    unsafe fn simd_store_masked<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        to: *mut Self,
        a: Self::Lanes<S>,
    );
    /// Bit by bit, as is `simd_or`.
    fn simd_and<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    fn simd_or<S: Simd>(simd: S, a: Self::Lanes<S>, b: Self::Lanes<S>) -> Self::Lanes<S>;
    /// Every 32-bit word of the register shifted on its own, both words of an `f64` too: the shift
    /// that every instruction set has.
    fn simd_shl_words<S: Simd>(simd: S, a: Self::Lanes<S>, bits: u32) -> Self::Lanes<S>;
    fn simd_shr_words<S: Simd>(simd: S, a: Self::Lanes<S>, bits: u32) -> Self::Lanes<S>;
}

/// Shuffles across a register of 256 bits, which compilers do not find by themselves from the
/// definition where the operands come from memory.
#[cfg(target_arch = "x86_64")]
mod avx_f32 {
    use std::arch::x86_64::__m256;

    use pulp::cast;
    use pulp::x86::V3;

    #[inline(always)]
    pub(super) fn interleave(v3: V3, a: __m256, b: __m256) -> [__m256; 2] {
        let low = v3.avx._mm256_unpacklo_ps(a, b); // a₀ b₀ a₁ b₁ a₄ b₄ a₅ b₅
        let high = v3.avx._mm256_unpackhi_ps(a, b); // a₂ b₂ a₃ b₃ a₆ b₆ a₇ b₇
        [
            v3.avx._mm256_permute2f128_ps::<0x20>(low, high),
            v3.avx._mm256_permute2f128_ps::<0x31>(low, high),
        ]
    }

    #[inline(always)]
    pub(super) fn deinterleave(v3: V3, a: __m256, b: __m256) -> [__m256; 2] {
        let even = v3.avx._mm256_shuffle_ps::<0x88>(a, b); // a₀ a₂ b₀ b₂ a₄ a₆ b₄ b₆
        let odd = v3.avx._mm256_shuffle_ps::<0xdd>(a, b);
        [even, odd].map(|half| cast(v3.avx2._mm256_permute4x64_pd::<0xd8>(cast(half))))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx_f64 {
    use std::arch::x86_64::__m256d;

    use pulp::x86::V3;

    #[inline(always)]
    pub(super) fn interleave(v3: V3, a: __m256d, b: __m256d) -> [__m256d; 2] {
        let low = v3.avx._mm256_unpacklo_pd(a, b); // a₀ b₀ a₂ b₂
        let high = v3.avx._mm256_unpackhi_pd(a, b); // a₁ b₁ a₃ b₃
        [
            v3.avx._mm256_permute2f128_pd::<0x20>(low, high),
            v3.avx._mm256_permute2f128_pd::<0x31>(low, high),
        ]
    }

    #[inline(always)]
    pub(super) fn deinterleave(v3: V3, a: __m256d, b: __m256d) -> [__m256d; 2] {
        let even = v3.avx._mm256_unpacklo_pd(a, b); // a₀ b₀ a₂ b₂
        let odd = v3.avx._mm256_unpackhi_pd(a, b);
        [even, odd].map(|half| v3.avx2._mm256_permute4x64_pd::<0xd8>(half))
    }
}

macro_rules! impl_element {
    ($t:ident, $name:literal, $lanes:ident, $count:ident, $mask:ident, { $($method:ident => $binary:ident),* }, { $($cmp:ident => $cmp_impl:ident),* },
     $splat:ident, $partial_load:ident, $mul_add:ident, $neg:ident, $abs:ident, $sqrt:ident, $select:ident, $reduce_sum:ident,
     $mask_and:ident, $mask_not:ident, $avx:ident, $mask_between:ident, $mask_load:ident, $mask_store:ident,
     $less_than:ident, $max:ident, $min:ident, $first_true:ident) => {
        impl Element for $t {
            const NAME: &'static str = $name;

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }

            #[inline(always)]
            fn as_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn of_bits(bits: u32) -> Self {
                $t::from_bits(bits.into())
            }

            #[inline(always)]
            fn low_bits(self) -> u32 {
                self.to_bits() as u32
            }
        }

        impl SimdElement for $t {
            type Lanes<S: Simd> = S::$lanes;
            type Mask<S: Simd> = S::$mask;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$count
            }

            #[inline(always)]
            fn simd_splat<S: Simd>(simd: S, x: Self) -> S::$lanes {
                simd.$splat(x)
            }

            #[inline(always)]
            fn simd_partial_load<S: Simd>(simd: S, from: &[Self]) -> S::$lanes {
                simd.$partial_load(from)
            }

            $(#[inline(always)]
            fn $method<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                simd.$binary(a, b)
            })*

            $(#[inline(always)]
            fn $cmp<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$mask {
                simd.$cmp_impl(a, b)
            })*

            #[inline(always)]
            fn simd_mul_add<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes, c: S::$lanes) -> S::$lanes {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn simd_neg<S: Simd>(simd: S, a: S::$lanes) -> S::$lanes {
                simd.$neg(a)
            }

            #[inline(always)]
            fn simd_abs<S: Simd>(simd: S, a: S::$lanes) -> S::$lanes {
                simd.$abs(a)
            }

            #[inline(always)]
            fn simd_sqrt<S: Simd>(simd: S, a: S::$lanes) -> S::$lanes {
                simd.$sqrt(a)
            }

            // x86's instructions are so defined; those of others differ on NaN.
            #[inline(always)]
            fn simd_max<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                if cfg!(target_arch = "x86_64") && !S::IS_SCALAR {
                    return simd.$max(a, b);
                }
                simd.$select(simd.$less_than(b, a), a, b)
            }

            #[inline(always)]
            fn simd_min<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes) -> S::$lanes {
                if cfg!(target_arch = "x86_64") && !S::IS_SCALAR {
                    return simd.$min(a, b);
                }
                simd.$select(simd.$less_than(a, b), a, b)
            }

            #[inline(always)]
            fn simd_select<S: Simd>(
                simd: S,
                mask: S::$mask,
                if_true: S::$lanes,
                if_false: S::$lanes,
            ) -> S::$lanes {
                simd.$select(mask, if_true, if_false)
            }

            #[inline(always)]
            fn simd_and_not<S: Simd>(simd: S, a: S::$mask, b: S::$mask) -> S::$mask {
                simd.$mask_and(a, simd.$mask_not(b))
            }

            #[inline(always)]
            fn simd_any<S: Simd>(simd: S, mask: S::$mask) -> bool {
                simd.$first_true(mask) < S::$count
            }

            #[inline(always)]
            fn simd_reduce_sum<S: Simd>(simd: S, a: S::$lanes) -> Self {
                simd.$reduce_sum(a)
            }

            #[inline(always)]
            fn simd_interleave<S: Simd>(a: S::$lanes, b: S::$lanes) -> [S::$lanes; 2] {
                #[cfg(target_arch = "x86_64")]
                if size_of::<S::$lanes>() == 32 {
                    // SAFETY: of the instruction sets of [`crate::arch`], this is V3.
                    let v3 = unsafe { pulp::x86::V3::new_unchecked() };
                    let [first, second] = $avx::interleave(v3, bytemuck::cast(a), bytemuck::cast(b));
                    return [bytemuck::cast(first), bytemuck::cast(second)];
                }
                let (mut from, mut to) = ([a, b], [a, b]);
                let from: &mut [$t] = bytemuck::cast_slice_mut(&mut from);
                let by_turns: &mut [$t] = bytemuck::cast_slice_mut(&mut to);
                for lane in 0..S::$count {
                    by_turns[2 * lane] = from[lane];
                    by_turns[2 * lane + 1] = from[S::$count + lane];
                }
                to
            }

            #[inline(always)]
            fn simd_deinterleave<S: Simd>(a: S::$lanes, b: S::$lanes) -> [S::$lanes; 2] {
                #[cfg(target_arch = "x86_64")]
                if size_of::<S::$lanes>() == 32 {
                    // SAFETY: of the instruction sets of [`crate::arch`], this is V3.
                    let v3 = unsafe { pulp::x86::V3::new_unchecked() };
                    let [even, odd] = $avx::deinterleave(v3, bytemuck::cast(a), bytemuck::cast(b));
                    return [bytemuck::cast(even), bytemuck::cast(odd)];
                }
                let (mut from, mut to) = ([a, b], [a, b]);
                let by_turns: &mut [$t] = bytemuck::cast_slice_mut(&mut from);
                let halves: &mut [$t] = bytemuck::cast_slice_mut(&mut to);
                for lane in 0..S::$count {
                    halves[lane] = by_turns[2 * lane];
                    halves[S::$count + lane] = by_turns[2 * lane + 1];
                }
                to
            }

            #[inline(always)]
            fn simd_first_lanes<S: Simd>(simd: S, count: usize) -> S::$mask {
                simd.$mask_between(0, count as _).mask()
            }

            #[inline(always)]
            unsafe fn simd_load_masked<S: Simd>(
                simd: S,
                mask: S::$mask,
                from: *const Self,
            ) -> S::$lanes {
                // SAFETY: the caller's promise.
                unsafe { simd.$mask_load(MemMask::new(mask), from) }
            }

            #[inline(always)]
            unsafe fn simd_store_masked<S: Simd>(
                simd: S,
                mask: S::$mask,
                to: *mut Self,
                a: S::$lanes,
            ) {
                // SAFETY: the caller's promise.
                unsafe { simd.$mask_store(MemMask::new(mask), to, a) }
            }

            #[inline(always)]
            fn simd_shl_words<S: Simd>(simd: S, a: S::$lanes, bits: u32) -> S::$lanes {
                if S::IS_SCALAR {
                    // One element, which may have more words than a scalar `u32s`.
                    let words: [u32; size_of::<$t>() / 4] = bytemuck::cast(a);
                    bytemuck::cast(words.map(|word| word << bits))
                } else {
                    let words: S::u32s = bytemuck::cast(a);
                    bytemuck::cast(simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(bits)))
                }
            }

            #[inline(always)]
            fn simd_shr_words<S: Simd>(simd: S, a: S::$lanes, bits: u32) -> S::$lanes {
                if S::IS_SCALAR {
                    let words: [u32; size_of::<$t>() / 4] = bytemuck::cast(a);
                    bytemuck::cast(words.map(|word| word >> bits))
                } else {
                    let words: S::u32s = bytemuck::cast(a);
                    bytemuck::cast(simd.wrapping_dyn_shr_u32s(words, simd.splat_u32s(bits)))
                }
            }
        }
    };
}

impl_element!(f32, "f32", f32s, F32_LANES, m32s,
    { simd_add => add_f32s, simd_sub => sub_f32s, simd_mul => mul_f32s, simd_div => div_f32s,
      simd_and => and_f32s, simd_or => or_f32s },
    { simd_eq => equal_f32s, simd_lt => less_than_f32s, simd_le => less_than_or_equal_f32s },
    splat_f32s, partial_load_f32s, mul_add_e_f32s, neg_f32s, abs_f32s, sqrt_f32s, select_f32s,
    reduce_sum_f32s, and_m32s, not_m32s, avx_f32, mask_between_m32s, mask_load_ptr_f32s, mask_store_ptr_f32s,
    less_than_f32s, max_f32s, min_f32s, first_true_m32s);
impl_element!(f64, "f64", f64s, F64_LANES, m64s,
    { simd_add => add_f64s, simd_sub => sub_f64s, simd_mul => mul_f64s, simd_div => div_f64s,
      simd_and => and_f64s, simd_or => or_f64s },
    { simd_eq => equal_f64s, simd_lt => less_than_f64s, simd_le => less_than_or_equal_f64s },
    splat_f64s, partial_load_f64s, mul_add_e_f64s, neg_f64s, abs_f64s, sqrt_f64s, select_f64s,
    reduce_sum_f64s, and_m64s, not_m64s, avx_f64, mask_between_m64s, mask_load_ptr_f64s, mask_store_ptr_f64s,
    less_than_f64s, max_f64s, min_f64s, first_true_m64s);
