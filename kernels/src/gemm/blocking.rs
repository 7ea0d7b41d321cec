//! The tuning constants of GEMM, and why they are what they are.
//!
//! Names as in BLIS: a micro-tile of C is MR×NR and lives in registers, a block of A is MC×KC and lives in L2, a
//! panel of B is KC×NR and lives in L1, a block of B is KC×NC and lives in L3. docs/gemm.md has the picture.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::caches::Caches;
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
    /// Rows of the tiles at C's right edge, of 1, 2 and 3 registers: where one is left, more rows keep 8 chains going.
    pub(crate) edge_rows: [usize; 3],
}

impl Tile {
    /// The largest MR·NR of any instruction set: 12 × 2 registers of 16 f32.
    pub(crate) const MAX_LEN: usize = 12 * 32;

    /// The most rows of any tile.
    pub(crate) const MAX_ROWS: usize = 12;

    /// 16 registers, one element each: 4×3 accumulators, 3 of B, 1 of A.
    pub(crate) const SCALAR: Self = Self { rows: 4, vectors: 3, edge_rows: [4, 4, 4] };
    /// 16 registers: 6×2 accumulators, 2 of B, 1 of A, 1 for the mask of the last columns.
    pub(crate) const REGISTERS_16: Self = Self { rows: 6, vectors: 2, edge_rows: [8, 6, 0] };
    /// 32 registers of 128 bits: 8×3 accumulators, 3 of B, the others for A.
    pub(crate) const NARROW_REGISTERS_32: Self = Self { rows: 8, vectors: 3, edge_rows: [8, 8, 8] };
    /// 32 registers of 512 bits: 12×2 accumulators, 2 of B, the others for A.
    pub(crate) const WIDE_REGISTERS_32: Self =
        Self { rows: 12, vectors: 2, edge_rows: [12, 12, 0] };

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

/// The blocks of one product. Only KC decides in which order sums are added, and it depends on nothing but the depth.
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

/// Depth of a block before it is evened out. Long, so that what a tile costs besides its sums (some 60 cycles: C is loaded and
/// stored, the loop's end is mispredicted) is lost in it: 1024³ gained 5 % over 256, which keeps B's panel in half of L1.
/// Longer panels stream from L2 beside A's, which prefetching hides: a step takes 6 cycles and 88 bytes (f64: 112, and 3 % lost at
/// 640). The same on every machine, so that results are.
pub(super) const fn kc<T>() -> usize {
    if size_of::<T>() > 4 { 448 } else { 640 }
}
/// A's block: a share of L2 that leaves room for what it is packed from, and for B's panels to stream through.
const A_SHARE_OF_L2: usize = 8;
/// B's block: a share of L3 that other cores leave alone, and no more than memory can be prefetched for.
const B_SHARE_OF_L3: usize = 8;

impl Blocking {
    /// Bytes of all `n` columns of B over a block's depth.
    pub(super) fn bytes_of_b<T>(&self, n: usize) -> usize {
        self.kc.saturating_mul(n).saturating_mul(size_of::<T>())
    }

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
                // Blocks of equal depth, as near to it as can be: 961 becomes 481 + 480, not 640 + 321.
                let most = const { kc::<T>() };
                let blocks = ((self.depth + most / 2) / most).max(1);
                let kc = self.depth.div_ceil(blocks).max(1);
                let fitting = |bytes: usize, width: usize| {
                    (bytes / (kc * size_of::<T>())).next_multiple_of(width).max(width)
                };
                let caches = Caches::of_machine();
                Blocking {
                    mr,
                    nr,
                    lanes,
                    mc: fitting(caches.l2 / A_SHARE_OF_L2, mr),
                    nc: fitting(caches.l3 / B_SHARE_OF_L3, nr),
                    kc,
                }
            }
        }
        arch.dispatch(Of::<T> { depth, element: PhantomData })
    }
}
