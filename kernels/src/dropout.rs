//! Dropout, its mask drawn from a counter: Philox4x32-10.
//!
//! Which element is kept depends on the key and the element's index only, so a mask need not be
//! stored, and is the same on any machine and any number of threads. An element takes a word of the generator; at a ratio of ½,
//! the book's, a bit of one. Sources: Srivastava et al., "Dropout" (2014); Salmon et al., "Parallel Random Numbers: As Easy as
//! 1, 2, 3" (2011).

use pulp::{Simd, WithSimd, bytemuck};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::{Parts, Pool};
use crate::simd::{MAX_LANES, Vector};

/// What a mask depends on. The same key gives the same mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DropoutKey {
    /// The seed of the whole run.
    pub seed: u64,
    /// The number of the training step.
    pub step: u64,
    /// The number of the layer in its network.
    pub layer: u32,
}

/// Elements that one key serves: 2³² blocks of four words.
const MAX_LEN: u64 = 1 << 34;

fn check<T>(op: &'static str, ratio: f64, first: usize, x: &[T]) -> Result<()> {
    if !(0.0..=1.0).contains(&ratio) {
        let value = ratio.to_string();
        return Err(Error::Argument { op, name: "ratio", value, expected: "a number from 0 to 1" });
    }
    let end = first.saturating_add(x.len());
    if end as u64 > MAX_LEN {
        let problem = format!("{end} elements are more than one key serves");
        return Err(Error::Shape { op, problem });
    }
    Ok(())
}

/// Elements below which waking a thread costs more than the work.
const PARALLEL_LEN: usize = 1 << 14;

/// Elements a task takes; a multiple of what a register of counters gives.
const PART_LEN: usize = 1 << 14;

/// mask = true where the element is kept; each is dropped with probability `ratio` (to 2⁻³³).
///
/// # Errors
/// [`Error::Argument`] where `ratio` is not within 0..=1.
pub fn dropout_mask(key: DropoutKey, ratio: f64, mask: &mut [bool]) -> Result<()> {
    check("dropout_mask", ratio, 0, mask)?;
    draw(key, ratio, 0, mask, Mask)
}

/// y = x·scale where [`dropout_mask`] keeps, else 0. The book trains with scale 1 and multiplies by
/// 1 − ratio when testing; "inverted" dropout trains with scale 1/(1 − ratio).
///
/// # Errors
/// As [`dropout_mask`], and [`Error::Length`] where the slices differ in length.
pub fn dropout<T: Element>(
    key: DropoutKey,
    ratio: f64,
    scale: T,
    x: &[T],
    y: &mut [T],
) -> Result<()> {
    check("dropout", ratio, 0, x)?;
    check_len("dropout", "y", y, x.len())?;
    draw(key, ratio, 0, (x, y), Scale(scale))
}

/// [`dropout`] in place: also its gradient, with the same key on dy.
///
/// # Errors
/// As [`dropout_mask`].
pub fn dropout_in_place<T: Element>(
    key: DropoutKey,
    ratio: f64,
    scale: T,
    x: &mut [T],
) -> Result<()> {
    dropout_part(key, ratio, scale, 0, x)
}

/// [`dropout_in_place`] of a part of an array: the elements from its `first` on.
///
/// # Errors
/// As [`dropout_mask`].
pub fn dropout_part<T: Element>(
    key: DropoutKey,
    ratio: f64,
    scale: T,
    first: usize,
    x: &mut [T],
) -> Result<()> {
    check("dropout_in_place", ratio, first, x)?;
    draw(key, ratio, first, x, Scale(scale))
}

/// What is done with words of random bits: an element is kept where its word is above `dropped`.
trait Apply<P>: Copy + Sync {
    /// Treats the elements of `data` from `at`, one a word.
    fn apply(self, data: &mut P, at: usize, words: &[u32], dropped: Option<u32>);
}

/// Whether an element is kept: a word above the last that drops.
#[inline(always)]
fn kept(word: u32, dropped: Option<u32>) -> bool {
    dropped.is_none_or(|dropped| word > dropped)
}

#[derive(Clone, Copy)]
struct Mask;

impl Apply<&mut [bool]> for Mask {
    #[inline(always)]
    fn apply(self, mask: &mut &mut [bool], at: usize, words: &[u32], dropped: Option<u32>) {
        for (mask, &word) in mask[at..].iter_mut().zip(words) {
            *mask = kept(word, dropped);
        }
    }
}

#[derive(Clone, Copy)]
struct Scale<T>(T);

impl<T: Element> Apply<(&[T], &mut [T])> for Scale<T> {
    #[inline(always)]
    fn apply(self, (x, y): &mut (&[T], &mut [T]), at: usize, words: &[u32], dropped: Option<u32>) {
        for ((y, &x), &word) in y[at..].iter_mut().zip(&x[at..]).zip(words) {
            *y = if kept(word, dropped) { x * self.0 } else { T::zero() };
        }
    }
}

impl<T: Element> Apply<&mut [T]> for Scale<T> {
    #[inline(always)]
    fn apply(self, x: &mut &mut [T], at: usize, words: &[u32], dropped: Option<u32>) {
        for (x, &word) in x[at..].iter_mut().zip(words) {
            *x = if kept(word, dropped) { *x * self.0 } else { T::zero() };
        }
    }
}

/// Draws for `data`, elements from `first` on of an array.
fn draw<P: Parts>(
    key: DropoutKey,
    ratio: f64,
    first: usize,
    data: P,
    apply: impl Apply<P>,
) -> Result<()> {
    // Words below this drop: none to all 2³² of them.
    let drop_below = (ratio * 2f64.powi(32)).round() as u64;
    let (dropped, per_word) = match drop_below {
        HALF => (Some(0), u32::BITS as usize),
        _ => (drop_below.checked_sub(1).map(|last| last as u32), 1),
    };
    let arch = Arch::current()?;
    let pool = Pool::for_work(data.len(), PARALLEL_LEN)?;
    pool.for_each_part(data, PART_LEN, |part, data| {
        let first = first + part * PART_LEN;
        arch.dispatch(Draw { key, first, per_word, dropped, data, apply });
    });
    Ok(())
}

/// Half of all words.
const HALF: u64 = 1 << 31;

/// Draws for the elements from `first` on.
struct Draw<P, A> {
    key: DropoutKey,
    first: usize,
    /// Elements that share a word, one of its bits each; or one element.
    per_word: usize,
    dropped: Option<u32>,
    data: P,
    apply: A,
}

/// Elements whose words are drawn before they are used: they stay in L1. With a bit each, they are what a register of AVX-512's
/// counters gives.
const WORDS: usize = 1 << 11;

impl<P: Parts, A: Apply<P>> WithSimd for Draw<P, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { key, first, per_word, dropped, mut data, apply } = self;
        let len = data.len();
        let mut words = [0; WORDS];
        // A part may begin within a block of words: what comes before it is drawn, and skipped.
        let mut skipped = first % (4 * per_word);
        let mut at = 0;
        while at < len {
            let end = WORDS.min(skipped + len - at);
            let drawn = end.div_ceil(per_word).next_multiple_of(4 * S::U32_LANES);
            let first_block = (first + at - skipped) / per_word / 4;
            for (register, words) in words[..drawn].chunks_exact_mut(4 * S::U32_LANES).enumerate() {
                let block = first_block + register * S::U32_LANES;
                draw_register(simd, key, block as u32, words);
            }
            if per_word > 1 {
                spread_bits(&mut words, per_word);
            }
            apply.apply(&mut data, at, &words[skipped..end], dropped);
            at += end - skipped;
            skipped = 0;
        }
    }
}

/// Each bit of the first words in a word of its own, 1 or 0.
#[inline(always)]
fn spread_bits(words: &mut [u32; WORDS], per_word: usize) {
    for word in (0..WORDS / per_word).rev() {
        let bits = words[word];
        for (bit, to) in words[word * per_word..][..per_word].iter_mut().enumerate() {
            *to = (bits >> bit) & 1;
        }
    }
}

/// Philox4x32-10 of a register of counters from `block` on: their four words each, in order.
#[inline(always)]
fn draw_register<S: Simd>(simd: S, key: DropoutKey, block: u32, words: &mut [u32]) {
    const LANES: [u32; MAX_LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let lanes = simd.partial_load_u32s(&LANES[..S::U32_LANES]);
    let mut counter = [
        simd.add_u32s(simd.splat_u32s(block), lanes),
        simd.splat_u32s(key.layer),
        simd.splat_u32s(key.step as u32),
        simd.splat_u32s((key.step >> 32) as u32),
    ];
    let mut round_key = [key.seed as u32, (key.seed >> 32) as u32];
    for _ in 0..10 {
        let [a_low, a_high] = widening_mul(simd, counter[0], 0xD251_1F53);
        let [b_low, b_high] = widening_mul(simd, counter[2], 0xCD9E_8D57);
        let [first, second] = round_key;
        counter = [
            simd.xor_u32s(simd.xor_u32s(b_high, counter[1]), simd.splat_u32s(first)),
            b_low,
            simd.xor_u32s(simd.xor_u32s(a_high, counter[3]), simd.splat_u32s(second)),
            a_low,
        ];
        round_key = [first.wrapping_add(0x9E37_79B9), second.wrapping_add(0xBB67_AE85)];
    }
    // Four registers to blocks of four words: shuffles do not look at the bits.
    let [w0, w1, w2, w3] =
        counter.map(|words| Vector::<f32, S>::from_lanes(simd, bytemuck::cast(words)));
    let (even, odd) = (w0.interleave(w2), w1.interleave(w3));
    let registers = [even[0].interleave(odd[0]), even[1].interleave(odd[1])];
    let words = words.chunks_exact_mut(S::U32_LANES);
    for (register, words) in registers.iter().flatten().zip(words) {
        register.store(bytemuck::cast_slice_mut(words));
    }
}

/// The low and the high words of a·b.
#[inline(always)]
fn widening_mul<S: Simd>(simd: S, a: S::u32s, b: u32) -> [S::u32s; 2] {
    let (low, high) = simd.widening_mul_u32s(a, simd.splat_u32s(b));
    [low, high]
}
