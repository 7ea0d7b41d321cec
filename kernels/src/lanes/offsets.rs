//! Two offsets in one word.

/// Where two operands lie, in elements from their first: of a table that a kernel reads as it goes. In one word, since loads are
/// what the kernels have least to spare of (two words: 3 to 6 % slower).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offsets(u64);

impl Offsets {
    /// Both below 2³²: planes of more elements are refused before.
    pub(super) fn new(first: usize, second: usize) -> Self {
        let half = |offset: usize| u64::from(u32::try_from(offset).expect("offsets below 2³²"));
        Self(half(first) | half(second) << 32)
    }

    #[inline(always)]
    pub(super) fn get(self) -> [usize; 2] {
        [self.0 as u32 as usize, (self.0 >> 32) as usize]
    }
}
