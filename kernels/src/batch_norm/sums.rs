//! Sums over a channel: the statistics forward, the gradients by gamma and beta backward.
//!
//! Channels of many inner elements are summed along them; of few (one, in the book), as columns of
//! the matrix (batch, channels·inner), lanes along the row, and then the columns of a channel.

use pulp::{Scalar, Simd, WithSimd};

use crate::element::Element;
use crate::simd::Vector;

/// What is added up, from one element of each input and the channel's constants.
pub(crate) trait Term<T: Element, const IN: usize, const OUT: usize>: Copy + Sync {
    fn of<S: Simd>(
        self,
        constants: [Vector<T, S>; 2],
        x: [Vector<T, S>; IN],
    ) -> [Vector<T, S>; OUT];
}

/// x.
#[derive(Clone, Copy)]
pub(crate) struct Value;

impl<T: Element> Term<T, 1, 1> for Value {
    #[inline(always)]
    fn of<S: Simd>(self, _: [Vector<T, S>; 2], x: [Vector<T, S>; 1]) -> [Vector<T, S>; 1] {
        x
    }
}

/// (x − mean)².
#[derive(Clone, Copy)]
pub(crate) struct SquaredDistance;

impl<T: Element> Term<T, 1, 1> for SquaredDistance {
    #[inline(always)]
    fn of<S: Simd>(
        self,
        [mean, _]: [Vector<T, S>; 2],
        [x]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [(x - mean) * (x - mean)]
    }
}

/// dy, and dy·x̂.
#[derive(Clone, Copy)]
pub(crate) struct Gradients;

impl<T: Element> Term<T, 2, 2> for Gradients {
    #[inline(always)]
    fn of<S: Simd>(
        self,
        [mean, inv_std]: [Vector<T, S>; 2],
        [x, dy]: [Vector<T, S>; 2],
    ) -> [Vector<T, S>; 2] {
        [dy, dy * ((x - mean) * inv_std)]
    }
}

/// Up to this many inner elements, channels are summed as columns: below two registers or so a plane
/// would be summed element by element.
const MAX_COLUMNS: usize = 15;

/// Columns that are summed at once: they are a few cache lines of each row.
const COLUMNS: usize = 64;

/// Sums `term` over the channels from `first` on, one for each element of the sums.
pub(crate) struct SumChannels<'a, T, K, const IN: usize, const OUT: usize> {
    pub(crate) shape: [usize; 3],
    pub(crate) term: K,
    /// Each of the whole shape.
    pub(crate) inputs: [&'a [T]; IN],
    pub(crate) first: usize,
    /// Of the same channels as the sums.
    pub(crate) constants: [&'a [T]; 2],
    pub(crate) sums: [&'a mut [T]; OUT],
}

impl<T: Element, K: Term<T, IN, OUT>, const IN: usize, const OUT: usize> WithSimd
    for SumChannels<'_, T, K, IN, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shape: [batch, channels, inner], term, inputs, first, constants, sums } = self;
        if inner > MAX_COLUMNS {
            for channel in 0..sums[0].len() {
                let mut constant = [T::zero(); 2];
                for (to, from) in constant.iter_mut().zip(constants) {
                    *to = from[channel];
                }
                let mut planes = [Vector::zero(simd); OUT];
                let mut rests = [Vector::zero(Scalar::new()); OUT];
                for n in 0..batch {
                    let at = (n * channels + first + channel) * inner;
                    let planes = &mut planes;
                    sum_plane(simd, term, constant, inputs, at, inner, planes, &mut rests);
                }
                for out in 0..OUT {
                    sums[out][channel] = planes[out].sum() + rests[out].sum();
                }
            }
            return;
        }
        let row_len = channels * inner;
        if inner == 1 {
            return sum_columns(simd, term, constants, inputs, [first, row_len], sums);
        }
        let step = COLUMNS / inner;
        for channel in (0..sums[0].len()).step_by(step) {
            let count = step.min(sums[0].len() - channel);
            // Each channel's constants for each of its columns.
            let mut spread = [[T::zero(); COLUMNS]; 2];
            for (to, from) in spread.iter_mut().zip(constants) {
                let channels = to.chunks_exact_mut(inner).zip(&from[channel..][..count]);
                channels.for_each(|(to, &constant)| to.fill(constant));
            }
            let mut totals = [[T::zero(); COLUMNS]; OUT];
            let at = (first + channel) * inner;
            let constants = spread.each_ref().map(|constants| &constants[..]);
            let columns = totals.each_mut().map(|totals| &mut totals[..count * inner]);
            sum_columns(simd, term, constants, inputs, [at, row_len], columns);
            for out in 0..OUT {
                let channels = totals[out].chunks_exact(inner);
                for (sum, columns) in sums[out][channel..][..count].iter_mut().zip(channels) {
                    *sum = columns.iter().copied().sum();
                }
            }
        }
    }
}

/// Adds the `len` elements from `at` to `sums`, those that fill no register to `rests`.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // the operands of an inner loop
pub(crate) fn sum_plane<
    T: Element,
    S: Simd,
    K: Term<T, IN, OUT>,
    const IN: usize,
    const OUT: usize,
>(
    simd: S,
    term: K,
    constants: [T; 2],
    inputs: [&[T]; IN],
    at: usize,
    len: usize,
    sums: &mut [Vector<T, S>; OUT],
    rests: &mut [Vector<T, Scalar>; OUT],
) {
    /// Registers in flight, so that additions do not wait for one another.
    const CHAINS: usize = 4;
    let lanes = Vector::<T, S>::len();
    let mut x = inputs;
    for x in &mut x {
        *x = &x[at..][..len];
    }
    let vectors = [Vector::splat(simd, constants[0]), Vector::splat(simd, constants[1])];
    let mut chains = [[Vector::zero(simd); OUT]; CHAINS];
    let mut from = 0;
    while from + CHAINS * lanes <= len {
        for (chain, sums) in chains.iter_mut().enumerate() {
            add_term(simd, term, vectors, x, from + chain * lanes, sums);
        }
        from += CHAINS * lanes;
    }
    while from + lanes <= len {
        add_term(simd, term, vectors, x, from, &mut chains[0]);
        from += lanes;
    }
    let scalar = Scalar::new();
    let vectors = [Vector::splat(scalar, constants[0]), Vector::splat(scalar, constants[1])];
    for from in from..len {
        add_term(scalar, term, vectors, x, from, rests);
    }
    let [a, b, c, d] = chains;
    for out in 0..OUT {
        sums[out] = sums[out] + ((a[out] + b[out]) + (c[out] + d[out]));
    }
}

/// Adds the terms of the register from `at`.
#[inline(always)]
fn add_term<T: Element, S: Simd, K: Term<T, IN, OUT>, const IN: usize, const OUT: usize>(
    simd: S,
    term: K,
    constants: [Vector<T, S>; 2],
    x: [&[T]; IN],
    at: usize,
    sums: &mut [Vector<T, S>; OUT],
) {
    let mut registers = [Vector::zero(simd); IN];
    for input in 0..IN {
        registers[input] = Vector::load(simd, &x[input][at..]);
    }
    let terms = term.of(constants, registers);
    for out in 0..OUT {
        sums[out] = sums[out] + terms[out];
    }
}

/// Bytes of a row from which on rows are added up one after another, as memory likes it, and the sums are in L1. Columns of shorter ones
/// are followed down the rows, a few registers at a time, and the sums are registers. Either way in the order of the rows.
const WIDE: usize = 2048;
/// Rows at a time, for which sums and constants are loaded once.
const ROWS: usize = 4;

/// Sums columns from `at` on of rows of `row_len`, as many as there are totals.
#[inline(always)]
fn sum_columns<T: Element, S: Simd, K: Term<T, IN, OUT>, const IN: usize, const OUT: usize>(
    simd: S,
    term: K,
    constants: [&[T]; 2],
    inputs: [&[T]; IN],
    [at, row_len]: [usize; 2],
    mut totals: [&mut [T]; OUT],
) {
    /// Registers side by side: a few cache lines.
    const WIDTH: usize = 4;
    let lanes = Vector::<T, S>::len();
    let count = totals[0].len();
    let mut column = 0;
    macro_rules! registers {
        ($width:expr) => {{
            let mut sums = [[Vector::zero(simd); OUT]; $width];
            let mut vectors = [[Vector::zero(simd); 2]; $width];
            for (register, vectors) in vectors.iter_mut().enumerate() {
                for constant in 0..2 {
                    let from = &constants[constant][column + register * lanes..];
                    vectors[constant] = Vector::load(simd, from);
                }
            }
            let mut from = at + column;
            while from < inputs[0].len() {
                let mut x = inputs;
                for x in &mut x {
                    *x = &x[from..][..$width * lanes];
                }
                for register in 0..$width {
                    let sums = &mut sums[register];
                    add_term(simd, term, vectors[register], x, register * lanes, sums);
                }
                from += row_len;
            }
            for (register, sums) in sums.iter().enumerate() {
                for out in 0..OUT {
                    sums[out].store(&mut totals[out][column + register * lanes..]);
                }
            }
        }};
    }
    if row_len * size_of::<T>() >= WIDE {
        column = count - count % lanes;
        for totals in &mut totals {
            totals[..column].fill(T::zero());
        }
        let rows = inputs[0].len() / row_len;
        let whole = rows - rows % ROWS;
        let mut add = AddRows { term, constants, inputs, row_len, totals: &mut totals };
        for row in (0..whole).step_by(ROWS) {
            add.rows::<S, ROWS>(simd, at + row * row_len);
        }
        for row in whole..rows {
            add.rows::<S, 1>(simd, at + row * row_len);
        }
    }
    while column + WIDTH * lanes <= count {
        registers!(WIDTH);
        column += WIDTH * lanes;
    }
    while column < count && count >= lanes {
        // The last register overlaps the one before it, and adds up the same again.
        column = column.min(count - lanes);
        registers!(1);
        column += lanes;
    }
    if column < count {
        let mut sums = [Vector::zero(simd); OUT];
        let mut vectors = [Vector::zero(simd); 2];
        for constant in 0..2 {
            vectors[constant] = Vector::load_partial(simd, &constants[constant][..count]);
        }
        let mut from = at;
        while from < inputs[0].len() {
            let mut registers = [Vector::zero(simd); IN];
            for input in 0..IN {
                let row = &inputs[input][from..from + count];
                registers[input] = Vector::load_partial(simd, row);
            }
            let terms = term.of(vectors, registers);
            for out in 0..OUT {
                sums[out] = sums[out] + terms[out];
            }
            from += row_len;
        }
        for out in 0..OUT {
            sums[out].store_partial(&mut *totals[out]);
        }
    }
}

/// Adds rows to the totals, as many columns as fill registers.
struct AddRows<'a, 'b, T, K, const IN: usize, const OUT: usize> {
    term: K,
    constants: [&'a [T]; 2],
    inputs: [&'a [T]; IN],
    row_len: usize,
    totals: &'a mut [&'b mut [T]; OUT],
}

impl<T: Element, K: Term<T, IN, OUT>, const IN: usize, const OUT: usize>
    AddRows<'_, '_, T, K, IN, OUT>
{
    /// `R` rows, the first of which begins at `at`.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, at: usize) {
        let Self { term, constants, inputs, row_len, ref mut totals } = *self;
        let (lanes, count) = (Vector::<T, S>::len(), totals[0].len());
        let holds = |slice: &[T], len: usize| slice.len() >= len;
        assert!(inputs.iter().all(|x| holds(x, at + (R - 1) * row_len + count)));
        assert!(constants.iter().all(|x| holds(x, count)));
        assert!(totals.iter().all(|x| holds(x, count)));
        for column in (0..count - count % lanes).step_by(lanes) {
            // SAFETY: a register from here on lies within each row, the constants and the totals, as asserted.
            unsafe {
                let mut vectors = [Vector::zero(simd); 2];
                for constant in 0..2 {
                    vectors[constant] =
                        Vector::load_ptr(simd, constants[constant].as_ptr().add(column));
                }
                let mut sums = [Vector::zero(simd); OUT];
                for out in 0..OUT {
                    sums[out] = Vector::load_ptr(simd, totals[out].as_ptr().add(column));
                }
                for row in 0..R {
                    let mut registers = [Vector::zero(simd); IN];
                    for input in 0..IN {
                        let x = inputs[input].as_ptr().add(at + row * row_len + column);
                        registers[input] = Vector::load_ptr(simd, x);
                    }
                    let terms = term.of(vectors, registers);
                    for out in 0..OUT {
                        sums[out] = sums[out] + terms[out];
                    }
                }
                for out in 0..OUT {
                    sums[out].store_ptr(totals[out].as_mut_ptr().add(column));
                }
            }
        }
    }
}
