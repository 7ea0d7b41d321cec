//! Which operands are packed, decided by their shapes and strides alone.

use super::blocking::Blocking;
use super::caches::{Caches, LINE, lines_of_l1};
use crate::element::Element;
use crate::view::MatRef;

/// Whether A and B are rearranged into panels first, or read where they are.
///
/// Packing reads and writes an operand once more, and pays off only over many uses: A's elements are used once for each
/// panel of B, B's once for each tile of rows.
pub(super) struct Plan {
    pub(super) pack_a: bool,
    pub(super) pack_b: bool,
    /// Rows of a block of A.
    pub(super) mc: usize,
}

/// Rows of C below which B is not worth packing, whatever its size.
const ROWS_TO_PACK_B: usize = 48;
/// Rows of C from which B is packed unless its rows begin with lines of the cache.
const ROWS_TO_ALIGN_B: usize = 256;
/// So many are enough where a panel in place, each step of which straddles one line more than it has to, takes three quarters of L1 and
/// there are two or more: 100×50×784 takes 0.8 of its time on a Zen 3, 100×100×4320 in f64 0.9; and so many where B and its copy are
/// in L2: 32×50×784 takes 0.85.
const ROWS_TO_ALIGN_DEEP_B: usize = 64;
const ROWS_TO_ALIGN_B_IN_L2: usize = 32;
/// Cores with so much of L1 read L2 twice as fast, and below [`ROWS_TO_ALIGN_B`] pack only what finds [`FEW_LINES`] of L1: 100×100×784
/// takes 0.9 of its time in place, 50×784×784 and 100×4320×100 0.85 to 0.95 (Zen 5).
const ROOMY_L1: usize = 48 << 10;
/// Columns of C, and depth, from which A is worth packing where its elements lie badly.
const COLUMNS_TO_PACK_A: usize = 48;
const DEPTH_TO_PACK_A: usize = 32;
/// Registers of columns of C below which their unused lanes weigh: 10 columns are 8 + 2.
const FEW_REGISTERS: usize = 2;
/// Depth from which turning tiles of few columns costs less than their unused lanes.
const DEPTH_TO_TURN_FEW: usize = 16;
/// Depth from which turning tiles costs less than packing an A whose columns drive each other out of L1.
const DEPTH_TO_TURN: usize = 96;
/// So few lines of L1 for a block's depth that they drive each other out: two sets of 12, at strides of half pages.
const FEW_LINES: usize = 24;
/// So few lines for rows of A, 6 or 12 at a time, beside which B and C pass through: packed, 1024³ takes 0.9 of its time where L1 has 8
/// ways, 1.03 where it has 12.
const FEW_LINES_OF_ROWS: usize = 12;
/// Columns of C from which A is worth packing wherever its columns are contiguous, and where its rows drive each other out of L1.
const COLUMNS_TO_PACK_LINES_OF_A: usize = 256;
/// So many panels of B are as well, where A's columns are contiguous: 144 columns of 16 f32, 72 of 8 f64.
const PANELS_TO_PACK_LINES_OF_A: usize = 9;

impl Plan {
    pub(super) fn of<T: Element>(a: MatRef<'_, T>, b: MatRef<'_, T>, blocking: &Blocking) -> Self {
        let pack_a = Self::of_left(a, b.cols(), blocking);
        let pack_b = Self::of_right(a.rows(), b, blocking);
        // Where all of B's block fits L1, A's block need not be large: A and C pass through once.
        let small = Caches::of_machine().l1 / 2;
        let mc = if !pack_a && blocking.bytes_of_b::<T>(b.cols()) <= small {
            (small / (blocking.kc * size_of::<T>())).next_multiple_of(4 * blocking.mr)
        } else {
            blocking.mc
        };
        Self { pack_a, pack_b, mc }
    }

    /// Whether A is packed for a product of `n` columns. Contiguous rows are a line each at a time, and stay in L2 from panel to panel:
    /// they are packed where they drive each other out of L1 and columns of C are many. Contiguous columns are as many lines as the
    /// block is deep, and asked for ahead as B's are: they are packed likewise, and where columns of C are very many. Where neither is,
    /// a line holds one element.
    pub(super) fn of_left<T: Element>(a: MatRef<'_, T>, n: usize, blocking: &Blocking) -> bool {
        let worth_it = n >= COLUMNS_TO_PACK_A && a.cols() >= DEPTH_TO_PACK_A;
        worth_it
            && match a.strides() {
                [row, 1] => {
                    n >= COLUMNS_TO_PACK_LINES_OF_A
                        && lines_of_l1::<T>(row) < FEW_LINES_OF_ROWS.min(2 * a.rows())
                }
                [1, _] => {
                    n >= COLUMNS_TO_PACK_LINES_OF_A.min(PANELS_TO_PACK_LINES_OF_A * blocking.nr)
                        || is_crowded(&a)
                }
                _ => true,
            }
    }

    /// Whether B is packed for a product of `m` rows. Its rows can be loaded in registers where they are, if they are contiguous:
    /// a few of them stay in L1 or L2 as the tiles pass; many lie too far apart, or drive each other out of L1, and where they do not
    /// begin with a line of the cache many registers straddle two of them, which is worth a copy if many rows pass.
    pub(super) fn of_right<T: Element>(m: usize, b: MatRef<'_, T>, blocking: &Blocking) -> bool {
        let [step, along] = b.strides();
        if along != 1 && b.cols() > 1 {
            return true;
        }
        let caches = Caches::of_machine();
        let depth = blocking.kc.min(b.rows());
        // Rows that fill L1 evenly may as well exceed it: they are asked for ahead.
        let lines = lines_of_l1::<T>(step);
        let crowded = depth > lines && lines < caches.l1 / LINE;
        if m < ROWS_TO_ALIGN_B && caches.l1 >= ROOMY_L1 {
            return m >= ROWS_TO_PACK_B && crowded && lines <= FEW_LINES;
        }
        let large = blocking.bytes_of_b::<T>(b.cols()) > caches.l2;
        let lines_of_a_step = blocking.nr * size_of::<T>() / LINE + 1;
        let fills_l1 = lines_of_a_step * LINE * depth > caches.l1 / 4 * 3;
        let fits_l2_twice = b.rows().saturating_mul(b.cols()) <= caches.l2 / (2 * size_of::<T>());
        let rows_to_align = match fills_l1 && b.cols() >= 2 * blocking.nr {
            true if fits_l2_twice => ROWS_TO_ALIGN_B_IN_L2,
            true => ROWS_TO_ALIGN_DEEP_B,
            false => ROWS_TO_ALIGN_B,
        };
        let straddling =
            m >= rows_to_align && !(step.unsigned_abs() * size_of::<T>()).is_multiple_of(LINE);
        m >= ROWS_TO_PACK_B && (large || crowded) || straddling
    }
}

/// Whether Cᵀ = Bᵀ·Aᵀ is faster than C = A·B, whose rows are `row_stride` elements apart. Tiles of Cᵀ are turned when they are stored;
/// the sums are the same, bit for bit.
pub(super) fn is_better_turned<T: Element>(
    a: &MatRef<'_, T>,
    b: &MatRef<'_, T>,
    row_stride: isize,
    lanes: usize,
) -> bool {
    let [m, n, k] = [a.rows(), b.cols(), a.cols()];
    let filled = |len: usize| len.next_multiple_of(lanes);
    match (a.strides(), b.strides()) {
        // Lanes can as well run along A's columns.
        ([1, _], [_, 1]) if m > n => {
            let saves_lanes = k >= DEPTH_TO_TURN_FEW
                && n < FEW_REGISTERS * lanes
                && n * filled(m) * 5 <= m * filled(n) * 4;
            let saves_packing = k >= DEPTH_TO_TURN
                && (COLUMNS_TO_PACK_A..COLUMNS_TO_PACK_LINES_OF_A).contains(&n)
                && is_crowded(a);
            saves_lanes || saves_packing
        }
        // Either B is packed, n·k elements, or A, m·k, and m·n sums are turned. That is less where A is half of B and rows are few beside
        // the depth, if they fill 7/8 of their registers; tiles of Cᵀ write to all rows of C, whose lines L1 has to hold.
        ([_, 1], [1, _]) => {
            n >= 2 * m
                && k >= DEPTH_TO_TURN_FEW
                && 2 * k >= 3 * m
                && filled(m) * 7 <= m * 8
                && m <= lines_of_l1::<T>(row_stride)
        }
        _ => false,
    }
}

/// Whether the columns of `a` drive each other out of L1.
fn is_crowded<T: Element>(a: &MatRef<'_, T>) -> bool {
    lines_of_l1::<T>(a.strides()[1]) <= FEW_LINES
}
