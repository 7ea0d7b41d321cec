use crate::arch::InstructionSet;

/// What a kernel refuses, said once at its border. Nothing is written when a call fails.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice does not hold the number of elements its shape asks for.
    #[error("{op}: {operand} has {found} elements, expected {expected}")]
    Length {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        operand: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// Two operands do not fit together, or a shape is impossible.
    #[error("{op}: {problem}")]
    Shape {
        /// The operation that was called.
        op: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// A view reaches outside its slice, or a mutable one reaches an element twice.
    #[error("matrix view: {0}")]
    View(String),
    /// A class label is not below the number of classes.
    #[error("{op}: label {label} of row {row} is out of range for {classes} classes")]
    Label {
        /// The operation that was called.
        op: &'static str,
        /// The row of the label.
        row: usize,
        /// The label found.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A scalar argument is outside its domain.
    #[error("{op}: {name} is {value}, expected {expected}")]
    Argument {
        /// The operation that was called.
        op: &'static str,
        /// The argument that is wrong.
        name: &'static str,
        /// The value found, as text.
        value: String,
        /// The domain.
        expected: &'static str,
    },
    /// The instruction set asked for (`KASOKU_SIMD`, [`crate::arch::select`]) is not there.
    #[error(
        "instruction set {requested:?} is not available on this machine, which has: {}",
        InstructionSet::list(available)
    )]
    InstructionSet {
        /// What was asked for.
        requested: String,
        /// What there is.
        available: Vec<InstructionSet>,
    },
    /// A thread count that is not a positive number, or a pool that could not be built.
    #[error("threads: {0}")]
    Threads(String),
}

/// The result of a kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Checks that `slice` holds `expected` elements.
pub(crate) fn check_len<T>(
    op: &'static str,
    operand: &'static str,
    slice: &[T],
    expected: usize,
) -> Result<()> {
    if slice.len() == expected {
        return Ok(());
    }
    Err(Error::Length { op, operand, expected, found: slice.len() })
}

/// The product of `dims`, or an error where it does not fit in memory's address range.
pub(crate) fn checked_size(op: &'static str, dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1usize, |size, &dim| size.checked_mul(dim))
        .filter(|&size| size <= isize::MAX as usize / 8)
        .ok_or_else(|| Error::Shape { op, problem: format!("shape {dims:?} is too large") })
}
