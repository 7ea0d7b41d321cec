//! Gradients of several tasks, added up.

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
