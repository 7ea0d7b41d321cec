//! One micro-tile of C: the loop that does all the arithmetic.

use std::sync::atomic::{Ordering, compiler_fence};

use pulp::Simd;

use super::caches::LINE;
use super::epilogue::General;
use super::output::At;
use super::panels::{Columns, TileRows, Walk};
use crate::element::Element;
use crate::simd::{Mask, Vector, opaque, prefetch, prefetch_to_l2};

/// How many steps ahead lines are asked for. A deep panel of B streams from L2, or from L3 the first time, faster than the hardware
/// sees it coming: 2048³ gained 3 % with AVX2, 10 % with AVX-512. A's last row is asked for, too: where A's columns are contiguous
/// and read in place, the other rows share its lines, and each step is on another page.
const STEPS_AHEAD: usize = 16;

/// Steps of the loop's body.
pub(super) const UNROLLED: usize = 4;

/// Depth from which that is worth it, and registers of a tile: those of C's edges are few.
const DEPTH_TO_PREFETCH: usize = 256;
const TILE_TO_PREFETCH: usize = 12;

/// What is read of B after a panel: where that `is_packed`, the panel behind it, of which each of the first [`UNROLLED`] tiles asks
/// for a part.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) is_packed: bool,
    /// Tiles of the panel before this one.
    pub(super) nth: usize,
}

/// How the last register of B is read where C's last column cuts it off.
#[derive(Clone, Copy)]
pub(super) struct Cut<T: Element, S: Simd> {
    /// Its lanes that are columns of C.
    pub(super) mask: Mask<T, S>,
    /// Depths from the first on at which all its lanes may be read: a masked load takes some 20 cycles on AMD's first Zen, and a port
    /// of the multiply-adds' on Intels.
    pub(super) whole: usize,
}

/// C[R rows × V registers] = finish(A panel · B panel) for one tile. Where `CUT`, lanes of the last register that lie beyond C hold
/// anything.
///
/// # Safety
/// - For every depth below `depth`, each address of `a` must be valid for reading an element, and each of `b` for reading a
///   register (or what `cut` says of it).
/// - The tile at `at` must be as [`General::store_tile`] asks.
#[inline(always)]
pub(super) unsafe fn microkernel<
    T: Element,
    S: Simd,
    C: Columns,
    const R: usize,
    const V: usize,
    const CUT: bool,
>(
    simd: S,
    cut: Cut<T, S>,
    depth: usize,
    a: TileRows<T, impl Walk<T, R>>,
    (b, next): (impl Walk<T, V>, Next),
    at: At<T, C>,
    finish: &General<'_, T>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums: [[_; V]; R] = match a {
            TileRows::Neighbours(a) => {
                add_up::<_, _, _, _, R, V, CUT>(simd, cut, depth, a, b, next)
            }
            TileRows::Rows(a) => add_up::<_, _, _, _, R, V, CUT>(simd, cut, depth, a, b, next),
            TileRows::Other(a) => add_up::<_, _, _, _, R, V, CUT>(simd, cut, depth, a, b, next),
        };
        finish.store_tile(simd, sums, at);
    }
}

/// The sums of a tile.
///
/// # Safety
/// As [`microkernel`].
#[inline(always)]
unsafe fn add_up<
    T: Element,
    S: Simd,
    A: Walk<T, R>,
    B: Walk<T, V>,
    const R: usize,
    const V: usize,
    const CUT: bool,
>(
    simd: S,
    cut: Cut<T, S>,
    depth: usize,
    mut a: A,
    mut b: B,
    next: Next,
) -> [[Vector<T, S>; V]; R] {
    let lanes = Vector::<T, S>::len();
    // The registers of B that begin a line each, where the panel is packed.
    let line = (LINE / size_of::<T>() / lanes).max(1);
    let mut sums = [[Vector::zero(simd); V]; R];
    macro_rules! step {
        ($further:expr, $is_masked:expr) => {
            // SAFETY: the panels are `depth` deep, the caller's promise.
            unsafe {
                let b: [_; V] = std::array::from_fn(|j| {
                    let from = b.at(j, $further);
                    if $is_masked && j == V - 1 {
                        Vector::load_masked(simd, cut.mask, from)
                    } else {
                        Vector::load_ptr(simd, from)
                    }
                });
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = Vector::splat(simd, *a.at(i, $further));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = a.mul_add(b, *sum);
                    }
                }
                // Or the compiler mixes steps, and sums leave their registers.
                compiler_fence(Ordering::SeqCst);
            }
        };
    }
    // Rows of A that pass once are too short for the hardware to see the next ones coming: 78400×16×144 takes 0.6 of the time.
    let (mut next_rows, reach) = a.next_lines(depth);
    macro_rules! ask_for_next_rows {
        () => {
            if const { A::CONTIGUOUS } {
                for line in 0..(R * UNROLLED * size_of::<T>()).div_ceil(LINE) {
                    prefetch(next_rows.wrapping_add(line * LINE / size_of::<T>()));
                }
                next_rows = opaque(next_rows.wrapping_add(UNROLLED * reach));
            }
        };
    }
    // By hand: the compiler finds some tiles too large.
    macro_rules! unrolled {
        (|$further:ident| $body:expr) => {
            unrolled!(@each $further, $body, 0 1 2 3)
        };
        (@each $further:ident, $body:expr, $($at:literal)*) => {
            $({
                let $further = $at;
                $body;
            })*
            const { assert!(UNROLLED == 4) };
        };
    }
    let mut left = depth;
    let masked = if CUT { depth.saturating_sub(cut.whole) } else { 0 };
    // Two loops, since a prefetch costs a shallow product 2 % for nothing.
    if const { R * V >= TILE_TO_PREFETCH && !CUT && B::EVEN } && depth >= DEPTH_TO_PREFETCH {
        let (mut a_far, mut b_far) = (a, b);
        a_far.advance(STEPS_AHEAD);
        b_far.advance(STEPS_AHEAD);
        // SAFETY: the steps are even.
        let panel = unsafe { b.at(0, 0) };
        let (mut address, stride) = if next.is_packed && next.nth < UNROLLED {
            let part = next.nth * (depth / UNROLLED);
            (panel.wrapping_add((depth + part) * V * lanes), V * lanes)
        } else {
            (panel, 0)
        };
        while left >= UNROLLED {
            ask_for_next_rows!();
            for j in (0..V).step_by(line) {
                prefetch_to_l2(address.wrapping_add(j * lanes));
            }
            address = opaque(address.wrapping_add(stride));
            unrolled!(|further| {
                // SAFETY: the steps are even.
                unsafe {
                    for j in (0..V).step_by(line) {
                        prefetch(b_far.at(j, further));
                    }
                    if A::EVEN {
                        prefetch(a_far.at(R - 1, further));
                    }
                }
                step!(further, false);
            });
            a_far.advance(UNROLLED);
            b_far.advance(UNROLLED);
            a.advance(UNROLLED);
            b.advance(UNROLLED);
            left -= UNROLLED;
        }
    }
    while left >= UNROLLED + masked {
        ask_for_next_rows!();
        unrolled!(|further| step!(further, false));
        a.advance(UNROLLED);
        b.advance(UNROLLED);
        left -= UNROLLED;
    }
    for _ in 0..left {
        step!(0, CUT);
        a.advance(1);
        b.advance(1);
    }
    sums
}
