//! One micro-tile of C: the loop that does all the arithmetic.

use pulp::Simd;

use super::caches::LINE;
use super::epilogue::{General, Kind};
use super::panels::Steps;
use crate::element::Element;
use crate::simd::{Mask, Vector, prefetch};

/// How many steps ahead lines are asked for. A deep panel of B streams from L2, or from L3 the first time, faster than the hardware
/// sees it coming: 2048³ gained 3 % with AVX2, 10 % with AVX-512. A's last row is asked for, too: where A's columns are contiguous
/// and read in place, the other rows share its lines, and each step is on another page.
const STEPS_AHEAD: usize = 16;

/// Depth from which that is worth it, and registers of a tile: those of C's edges are few.
const DEPTH_TO_PREFETCH: usize = 256;
const TILE_TO_PREFETCH: usize = 12;

/// Where a tile lies in C: rows `row_stride` apart, and a register's worth of columns for each of V.
#[derive(Clone, Copy)]
pub(super) struct At<T, const V: usize> {
    pub(super) first_row: *mut T,
    pub(super) row_stride: isize,
    /// Where each register begins, in elements from `first_row`.
    pub(super) registers: [usize; V],
    /// The tile's first row and column within C, for the bias.
    pub(super) row: usize,
    pub(super) col: usize,
}

/// C[R rows × V registers] = finish(A panel · B panel) for one tile. Where `CUT`, only the lanes of `mask` are read of the
/// last register of B, and the others are 0.
///
/// # Safety
/// - For every d below `depth`, each address of `a` must be valid for reading an element, and each of `b` for reading a
///   register (or its lanes of `mask`), `steps.offset(d)` further on.
/// - The tile must be valid for writing (and, where `finish` reads C, for reading), and no other thread may
///   touch it.
/// - `at.row` and `at.col` must satisfy [`General::finish`].
#[inline(always)]
pub(super) unsafe fn microkernel<
    T: Element,
    S: Simd,
    const R: usize,
    const V: usize,
    const CUT: bool,
>(
    simd: S,
    mask: Mask<T, S>,
    depth: usize,
    (a, a_steps): ([*const T; R], impl Steps),
    (b, b_steps): ([*const T; V], impl Steps),
    at: At<T, V>,
    finish: &General<'_, T>,
) {
    let lanes = Vector::<T, S>::len();
    // The registers of B that begin a line each, where the panel is packed.
    let line = (LINE / size_of::<T>() / lanes).max(1);
    let mut sums = [[Vector::zero(simd); V]; R];
    macro_rules! step {
        ($d:expr) => {
            // SAFETY: the panels are `depth` deep, the caller's promise.
            unsafe {
                let (a_step, b_step) = (a_steps.offset($d), b_steps.offset($d));
                let b: [_; V] = std::array::from_fn(|j| {
                    let from = b[j].offset(b_step);
                    if CUT && j == V - 1 {
                        Vector::load_masked(simd, mask, from)
                    } else {
                        Vector::load_ptr(simd, from)
                    }
                });
                for (a, sums) in a.iter().zip(&mut sums) {
                    let a = Vector::splat(simd, *a.offset(a_step));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = a.mul_add(b, *sum);
                    }
                }
            }
        };
    }
    // Two loops, since a prefetch costs a shallow product 2 % for nothing.
    let mut d = 0;
    if const { R * V >= TILE_TO_PREFETCH && !CUT } && depth >= DEPTH_TO_PREFETCH {
        while d < depth
            && let Some(ahead) = b_steps.ahead(d + STEPS_AHEAD)
        {
            for j in (0..V).step_by(line) {
                prefetch(b[j].wrapping_offset(ahead));
            }
            if let Some(ahead) = a_steps.ahead(d + STEPS_AHEAD) {
                prefetch(a[R - 1].wrapping_offset(ahead));
            }
            step!(d);
            d += 1;
        }
    }
    for d in d..depth {
        step!(d);
    }
    // One branch a tile, so that the plain kinds cost neither arithmetic nor kernels of their own.
    macro_rules! each_register {
        (|$sum:ident, $c:ident, $row:ident, $col:ident| $value:expr) => {
            for (i, sums) in sums.into_iter().enumerate() {
                let first = at.first_row.wrapping_offset(i as isize * at.row_stride);
                for (j, $sum) in sums.into_iter().enumerate() {
                    let ($row, $col) = (at.row + i, at.col + j * lanes);
                    // SAFETY: row i and register j of the tile, the caller's promise.
                    unsafe {
                        let $c = first.add(at.registers[j]);
                        $value.store_ptr($c);
                    }
                }
            }
        };
    }
    match finish.kind() {
        Kind::Store => each_register!(|sum, c, _row, _col| sum),
        Kind::Accumulate => each_register!(|sum, c, _row, _col| sum + Vector::load_ptr(simd, c)),
        Kind::Scale => each_register!(|sum, c, row, col| finish.finish(simd, sum, c, row, col)),
    }
}
