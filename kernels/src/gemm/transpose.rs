//! Squares of elements transposed in registers: how packing turns lines that are contiguous along the depth, and how a tile is stored
//! to a C whose rows run the other way.
#![allow(clippy::needless_range_loop)] // iterators over arrays and closures are not always inlined, and then not vectorised

#[cfg(target_arch = "x86_64")]
use std::any::Any;

use pulp::Simd;

/// An element whose squares can be transposed in registers.
pub trait Transpose: Sized {
    /// Rows and columns of a square: the elements of 256 bits.
    const SIDE: usize;

    /// Writes the `SIDE` × `SIDE` square whose row i begins at `from + i·row`, transposed: its column d to
    /// `to + d·step`, in this order of d. Rows from `rows` on are taken to be 0. Does nothing and
    /// returns false where the instruction set has no shuffles for it.
    ///
    /// # Safety
    /// - `from` must be valid for reading `SIDE` elements of each of the `rows` rows.
    /// - `to` must be valid for writing `SIDE` elements at each step.
    unsafe fn transpose<S: Simd>(
        simd: S,
        from: *const Self,
        row: isize,
        rows: usize,
        to: *mut Self,
        step: usize,
    ) -> bool;
}

/// The instructions of x86-64-v3, where `S` includes them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn v3<S: Simd>(simd: S) -> Option<pulp::x86::V3> {
    // Decided by the type, so at compile time.
    let simd: &dyn Any = &simd;
    let v3 = simd.downcast_ref::<pulp::x86::V3>().copied();
    v3.or_else(|| simd.downcast_ref::<pulp::x86::V4>().map(|v4| **v4))
}

macro_rules! impl_transpose {
    ($t:ident, $side:literal, $lanes:ident, $turn:ident) => {
        impl Transpose for $t {
            const SIDE: usize = $side;

            #[inline(always)]
            unsafe fn transpose<S: Simd>(
                simd: S,
                from: *const Self,
                row: isize,
                rows: usize,
                to: *mut Self,
                step: usize,
            ) -> bool {
                #[cfg(target_arch = "x86_64")]
                if let Some(v3) = v3(simd) {
                    // SAFETY: the rows and the steps are the caller's promise; any bits are a valid register.
                    unsafe {
                        let mut square: [pulp::$lanes; $side] = std::mem::zeroed();
                        for i in 0..$side {
                            if i < rows {
                                let from = from.offset(i as isize * row);
                                square[i] = from.cast::<pulp::$lanes>().read_unaligned();
                            }
                        }
                        let columns = x86::$turn(v3, square);
                        for d in 0..$side {
                            to.add(d * step).cast::<pulp::$lanes>().write_unaligned(columns[d]);
                        }
                    }
                    return true;
                }
                let _ = (simd, from, row, rows, to, step);
                false
            }
        }
    };
}
impl_transpose!(f32, 8, f32x8, turn_f32);
impl_transpose!(f64, 4, f64x4, turn_f64);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use pulp::x86::V3;
    use pulp::{f32x8, f64x4};
    use std::mem::transmute;

    /// Pairs, then fours, then the halves of the registers change places.
    #[inline(always)]
    pub(super) fn turn_f32(simd: V3, rows: [f32x8; 8]) -> [f32x8; 8] {
        let avx = simd.avx;
        // SAFETY: f32x8 and __m256 are the same 8 floats, here and below.
        let r: [std::arch::x86_64::__m256; 8] = unsafe { transmute(rows) };
        macro_rules! pair {
            ($i:expr) => {
                (avx._mm256_unpacklo_ps(r[$i], r[$i + 1]), avx._mm256_unpackhi_ps(r[$i], r[$i + 1]))
            };
        }
        macro_rules! four {
            ($i:expr) => {{
                let ((a, b), (c, d)) = (pair!($i), pair!($i + 2));
                [
                    avx._mm256_shuffle_ps::<0x44>(a, c),
                    avx._mm256_shuffle_ps::<0xee>(a, c),
                    avx._mm256_shuffle_ps::<0x44>(b, d),
                    avx._mm256_shuffle_ps::<0xee>(b, d),
                ]
            }};
        }
        let (upper, lower) = (four!(0), four!(4));
        let mut columns = [avx._mm256_setzero_ps(); 8];
        for i in 0..4 {
            columns[i] = avx._mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
            columns[i + 4] = avx._mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
        }
        // SAFETY: as above.
        unsafe { transmute(columns) }
    }

    #[inline(always)]
    pub(super) fn turn_f64(simd: V3, rows: [f64x4; 4]) -> [f64x4; 4] {
        let avx = simd.avx;
        // SAFETY: f64x4 and __m256d are the same 4 floats, here and below.
        let [a, b, c, d]: [std::arch::x86_64::__m256d; 4] = unsafe { transmute(rows) };
        let (ab_low, ab_high) = (avx._mm256_unpacklo_pd(a, b), avx._mm256_unpackhi_pd(a, b));
        let (cd_low, cd_high) = (avx._mm256_unpacklo_pd(c, d), avx._mm256_unpackhi_pd(c, d));
        let columns = [
            avx._mm256_permute2f128_pd::<0x20>(ab_low, cd_low),
            avx._mm256_permute2f128_pd::<0x20>(ab_high, cd_high),
            avx._mm256_permute2f128_pd::<0x31>(ab_low, cd_low),
            avx._mm256_permute2f128_pd::<0x31>(ab_high, cd_high),
        ];
        // SAFETY: as above.
        unsafe { transmute(columns) }
    }
}
