//! The tuning constants of GEMM, and why they are what they are.
//!
//! Names as in BLIS: a micro-tile of C is MR×NR and lives in registers, a block of A is MC×KC and lives in L2, a
//! panel of B is KC×NR and lives in L1, a block of B is KC×NC and lives in L3. docs/gemm.md has the picture.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use crate::arch::Arch;
use crate::element::Element;

/// The micro-tile: `rows` (MR) broadcast elements of A against `vectors` registers (NR elements) of B.
///
/// At least 10 accumulators hide the FMA's latency (4 cycles on 2 ports); A's broadcast and B's vectors need
/// registers too.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) rows: usize,
    pub(crate) vectors: usize,
}

impl Tile {
    /// The largest MR·NR of any instruction set: 12 × 2 registers of 16 f32.
    pub(crate) const MAX_LEN: usize = 12 * 32;

    /// 16 registers, one element each: 4×3 accumulators, 3 of B, 1 of A.
    pub(crate) const SCALAR: Self = Self { rows: 4, vectors: 3 };
    /// 16 registers: 6×2 accumulators, 2 of B, 1 or 2 of A.
    pub(crate) const REGISTERS_16: Self = Self { rows: 6, vectors: 2 };
    /// 32 registers of 128 bits: 8×3 accumulators, 3 of B, the others for A.
    pub(crate) const NARROW_REGISTERS_32: Self = Self { rows: 8, vectors: 3 };
    /// 32 registers of 512 bits: 12×2 accumulators, 2 of B, the others for A.
    pub(crate) const WIDE_REGISTERS_32: Self = Self { rows: 12, vectors: 2 };

    /// The tile of an instruction set.
    const fn of<S: Simd>() -> Self {
        if S::IS_SCALAR {
            Self::SCALAR
        } else if S::REGISTER_COUNT < 32 {
            Self::REGISTERS_16
        } else if S::F32_LANES < 16 {
            Self::NARROW_REGISTERS_32
        } else {
            Self::WIDE_REGISTERS_32
        }
    }
}

/// The blocks of one product, all fixed by the types and the sizes.
#[derive(Clone, Copy)]
pub(crate) struct Blocking {
    /// Rows of a micro-tile.
    pub(crate) mr: usize,
    /// Columns of a micro-tile.
    pub(crate) nr: usize,
    /// Elements of a register.
    pub(crate) lanes: usize,
    /// Rows of a block of A, a multiple of MR.
    pub(crate) mc: usize,
    /// Columns of a block of B, a multiple of NR.
    pub(crate) nc: usize,
    /// Depth of a block.
    pub(crate) kc: usize,
}

/// Depth of a block before it is evened out: long enough that loading and storing C is lost in it, short enough
/// that KC×NR elements of B take half of a 32 KiB L1.
const KC: usize = 256;
/// Bytes of A's block: a third of a 512 KiB L2, leaving room for B's panels to stream through.
const A_BLOCK_BYTES: usize = 180 * 1024;
/// Bytes of B's block: a share of L3 that other cores leave alone.
const B_BLOCK_BYTES: usize = 4 * 1024 * 1024;

impl Blocking {
    /// The blocks of a product of this depth.
    pub(crate) fn of<T: Element>(arch: Arch, depth: usize) -> Self {
        struct Of<T> {
            depth: usize,
            element: PhantomData<T>,
        }
        impl<T: Element> WithSimd for Of<T> {
            type Output = Blocking;

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Blocking {
                let tile = Tile::of::<S>();
                let lanes = T::lanes::<S>();
                let (mr, nr) = (tile.rows, tile.vectors * lanes);
                // Blocks of equal depth: 257 becomes 129 + 128, not 256 + 1.
                let kc = self.depth.div_ceil(self.depth.div_ceil(KC).max(1)).max(1);
                let fitting = |bytes: usize, width: usize| {
                    (bytes / (kc * size_of::<T>())).next_multiple_of(width).max(width)
                };
                Blocking {
                    mr,
                    nr,
                    lanes,
                    mc: fitting(A_BLOCK_BYTES, mr),
                    nc: fitting(B_BLOCK_BYTES, nr),
                    kc,
                }
            }
        }
        arch.dispatch(Of::<T> { depth, element: PhantomData })
    }
}
