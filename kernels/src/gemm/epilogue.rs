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

/// What the microkernel does with a register of sums before it stores it: a type, so that each kind is compiled
/// into the kernel.
pub(super) trait Finish<T: Element>: Copy + Sync {
    /// Whether the old C is read.
    fn reads_c(&self) -> bool;

    /// The register to store at element (row, col) of C.
    ///
    /// # Safety
    /// - Where [`Finish::reads_c`], `c` must be valid for reading a register.
    /// - `row` must lie within C; `col` and the register after it within the columns a bias is long enough for.
    unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        sums: Vector<T, S>,
        c: *const T,
        row: usize,
        col: usize,
    ) -> Vector<T, S>;
}

/// C = A·B.
#[derive(Clone, Copy)]
pub(super) struct Store;

impl<T: Element> Finish<T> for Store {
    fn reads_c(&self) -> bool {
        false
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        _: S,
        sums: Vector<T, S>,
        _: *const T,
        _: usize,
        _: usize,
    ) -> Vector<T, S> {
        sums
    }
}

/// C += A·B.
#[derive(Clone, Copy)]
pub(super) struct Accumulate;

impl<T: Element> Finish<T> for Accumulate {
    fn reads_c(&self) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        sums: Vector<T, S>,
        c: *const T,
        _: usize,
        _: usize,
    ) -> Vector<T, S> {
        // SAFETY: the caller's promise, as this one reads C.
        sums + unsafe { Vector::load_ptr(simd, c) }
    }
}

/// C = relu(α·A·B + β·C + bias).
#[derive(Clone, Copy)]
pub struct General<'a, T> {
    pub(crate) alpha: T,
    pub(crate) beta: T,
    pub(crate) epilogue: Epilogue<'a, T>,
}

/// The finishes that need no numbers.
pub(super) enum Plain {
    Store,
    Accumulate,
}

impl<T: Element> General<'_, T> {
    /// Which plain finish this is, if it is one.
    pub(super) fn plain(&self) -> Option<Plain> {
        let Self { alpha, beta, epilogue } = self;
        let unscaled = *alpha == T::one() && matches!(epilogue.bias, Bias::None) && !epilogue.relu;
        match () {
            _ if unscaled && *beta == T::zero() => Some(Plain::Store),
            _ if unscaled && *beta == T::one() => Some(Plain::Accumulate),
            _ => None,
        }
    }
}

impl<T: Element> Finish<T> for General<'_, T> {
    fn reads_c(&self) -> bool {
        self.beta != T::zero()
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        sums: Vector<T, S>,
        c: *const T,
        row: usize,
        col: usize,
    ) -> Vector<T, S> {
        let mut value = sums * Vector::splat(simd, self.alpha);
        if self.beta != T::zero() {
            // SAFETY: the caller's promise, as β says that C is read.
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
