//! Sums: of two branches, and of the gradients of several tasks.

use crate::element::Element;
use crate::error::{Result, check_len};
use crate::map::{Map, map};
use crate::simd::Vector;
use pulp::Simd;

struct Add;

impl<T: Element> Map<T, 1, 1> for Add {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        _: S,
        [to]: [Vector<T, S>; 1],
        [from]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        [to + from]
    }
}

/// x + y, then ReLU if this is true.
struct Sum<const RELU: bool>;

impl<T: Element, const RELU: bool> Map<T, 1, 2> for Sum<RELU> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        _: S,
        _: [Vector<T, S>; 1],
        [x, y]: [Vector<T, S>; 2],
    ) -> [Vector<T, S>; 1] {
        let sum = x + y;
        [if RELU { sum.relu() } else { sum }]
    }
}

/// `sum` = x + y, then ReLU if `relu`.
///
/// # Errors
/// [`crate::Error::Length`] where the slices differ in length.
pub fn add<T: Element>(x: &[T], y: &[T], relu: bool, sum: &mut [T]) -> Result<()> {
    const OP: &str = "lanes::add";
    let (outputs, inputs) = ([("sum", sum)], [("x", x), ("y", y)]);
    match relu {
        true => map(OP, &Sum::<true>, outputs, inputs),
        false => map(OP, &Sum::<false>, outputs, inputs),
    }
}

/// Adds x to `sum`.
///
/// # Errors
/// As [`add`].
pub fn add_to<T: Element>(x: &[T], sum: &mut [T]) -> Result<()> {
    map("lanes::add_to", &Add, [("sum", sum)], [("x", x)])
}

/// `sum` = the sum over the stretches of `stride` elements in `buffer` of what lies at `offset` in each, in their order.
///
/// # Errors
/// [`crate::Error::Length`] where a stretch does not hold as much.
pub fn sum_stretches<T: Element>(
    buffer: &[T],
    stride: usize,
    offset: usize,
    sum: &mut [T],
) -> Result<()> {
    const OP: &str = "lanes::sum_stretches";
    sum.fill(T::zero());
    for stretch in buffer.chunks(stride.max(1)) {
        let from = stretch.get(offset..).unwrap_or_default();
        let from = &from[..sum.len().min(from.len())];
        check_len(OP, "a stretch from its offset", from, sum.len())?;
        map(OP, &Add, [("sum", sum)], [("stretch", from)])?;
    }
    Ok(())
}
