//! What happens to a tile of C when its sums are done.

use pulp::Simd;

use crate::element::Element;
use crate::simd::Vector;

/// A vector added to every column or every row of C.
#[derive(Debug, Clone, Copy, Default)]
pub enum Bias<'a, T> {
    /// Nothing is added.
    #[default]
    None,
    /// One value for each row of C.
    PerRow(&'a [T]),
    /// One value for each column of C.
    PerColumn(&'a [T]),
}

/// What is fused into the last pass over C: C = relu(α·A·B + β·C + bias).
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// The bias to add.
    pub bias: Bias<'a, T>,
    /// Whether values of 0 or less become 0 (NaN passes).
    pub relu: bool,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self { bias: Bias::None, relu: false }
    }
}

impl<'a, T> Epilogue<'a, T> {
    /// The same for Cᵀ.
    pub(super) fn t(self) -> Self {
        let bias = match self.bias {
            Bias::None => Bias::None,
            Bias::PerRow(bias) => Bias::PerColumn(bias),
            Bias::PerColumn(bias) => Bias::PerRow(bias),
        };
        Self { bias, ..self }
    }
}

/// C = relu(α·A·B + β·C + bias).
#[derive(Clone, Copy)]
pub struct General<'a, T> {
    alpha: T,
    beta: T,
    epilogue: Epilogue<'a, T>,
    kind: Kind,
}

/// Which of its steps a [`General`] finish takes: the two plain ones are most products, and need no arithmetic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// C = A·B.
    Store,
    /// C += A·B.
    Accumulate,
    /// Anything else.
    Scale,
}

impl<'a, T: Element> General<'a, T> {
    pub(crate) fn new(alpha: T, beta: T, epilogue: Epilogue<'a, T>) -> Self {
        let unscaled = alpha == T::one() && matches!(epilogue.bias, Bias::None) && !epilogue.relu;
        let kind = match () {
            _ if unscaled && beta == T::zero() => Kind::Store,
            _ if unscaled && beta == T::one() => Kind::Accumulate,
            _ => Kind::Scale,
        };
        Self { alpha, beta, epilogue, kind }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn bias(&self) -> Bias<'a, T> {
        self.epilogue.bias
    }

    /// The same with another bias.
    pub(super) fn with_bias(self, bias: Bias<'a, T>) -> Self {
        Self::new(self.alpha, self.beta, Epilogue { bias, ..self.epilogue })
    }

    /// The same for Cᵀ.
    pub(super) fn t(self) -> Self {
        Self { epilogue: self.epilogue.t(), ..self }
    }

    /// The same for C from column `first` on.
    pub(super) fn starting_at_col(self, first: usize) -> Self {
        match self.epilogue.bias {
            Bias::PerColumn(bias) => self.with_bias(Bias::PerColumn(&bias[first..])),
            _ => self,
        }
    }

    /// The finish of one block of the depth: the first one scales C, the last one adds the epilogue.
    pub(super) fn of_block(&self, is_first: bool, is_last: bool) -> Self {
        let beta = if is_first { self.beta } else { T::one() };
        let epilogue = if is_last { self.epilogue } else { Epilogue::default() };
        Self::new(self.alpha, beta, epilogue)
    }

    /// Whether the old C is read.
    pub(super) fn reads_c(&self) -> bool {
        self.beta != T::zero()
    }

    /// The register to store at element (row, col) of C, whose sums are `sums`, whatever the kind.
    ///
    /// # Safety
    /// - Where [`General::reads_c`], `c` must be valid for reading a register.
    /// - `row` must lie within C; `col` and the register after it within the columns a bias is long enough for.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        sums: Vector<T, S>,
        c: *const T,
        row: usize,
        col: usize,
    ) -> Vector<T, S> {
        let mut value = sums * Vector::splat(simd, self.alpha);
        if self.reads_c() {
            // SAFETY: the caller's promise.
            let c = unsafe { Vector::load_ptr(simd, c) };
            value = c.mul_add(Vector::splat(simd, self.beta), value);
        }
        // SAFETY: row and col are within C and its padded columns, and the bias has been checked
        // (and padded) to be as long.
        unsafe {
            match self.epilogue.bias {
                Bias::None => {}
                Bias::PerRow(bias) => value = value + Vector::splat(simd, *bias.as_ptr().add(row)),
                Bias::PerColumn(bias) => {
                    value = value + Vector::load_ptr(simd, bias.as_ptr().add(col));
                }
            }
        }
        if self.epilogue.relu { value.relu() } else { value }
    }
}
