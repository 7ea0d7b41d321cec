//! What happens to a tile of C when its sums are done.

use pulp::Simd;

use super::output::At;
use super::panels::{Columns, SideBySide};
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
}

impl<'a, T: Element> General<'a, T> {
    pub(crate) fn new(alpha: T, beta: T, epilogue: Epilogue<'a, T>) -> Self {
        Self { alpha, beta, epilogue }
    }

    /// Whether C is A·B and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        let Epilogue { bias, relu } = self.epilogue;
        [self.alpha, self.beta] == [T::one(), T::zero()] && matches!(bias, Bias::None) && !relu
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

    /// Stores a tile of C whose sums are `sums`. Each step is a pass over the tile, so that its branch is one a tile.
    ///
    /// # Safety
    /// - The tile must be valid for writing, and for reading where [`General::reads_c`], and no other thread may touch it.
    /// - Its rows must lie within C, its columns to the end of the last register within those a bias is long enough for.
    #[inline(always)]
    pub(super) unsafe fn store_tile<S: Simd, C: Columns, const R: usize, const V: usize>(
        &self,
        simd: S,
        mut sums: [[Vector<T, S>; V]; R],
        at: At<T, C>,
    ) {
        let lanes = Vector::<T, S>::len();
        macro_rules! each_register {
            (|$sum:ident, $i:ident, $j:ident| $body:expr) => {
                for ($i, sums) in sums.iter_mut().enumerate() {
                    for ($j, $sum) in sums.iter_mut().enumerate() {
                        $body;
                    }
                }
            };
        }
        if self.alpha != T::one() {
            let alpha = Vector::splat(simd, self.alpha);
            each_register!(|sum, _i, _j| *sum = *sum * alpha);
        }
        if self.reads_c() {
            let beta = Vector::splat(simd, self.beta);
            // SAFETY: the tile's registers, the caller's promise.
            each_register!(|sum, i, j| *sum =
                unsafe { Vector::load_ptr(simd, at.register(i, j, lanes)).mul_add(beta, *sum) });
        }
        // SAFETY: rows and columns that the bias is long enough for, the caller's promise.
        unsafe {
            match self.epilogue.bias {
                Bias::None => {}
                Bias::PerRow(bias) => {
                    let bias = bias.as_ptr().add(at.row);
                    each_register!(|sum, i, _j| *sum = *sum + Vector::splat(simd, *bias.add(i)));
                }
                Bias::PerColumn(bias) => {
                    let bias = bias.as_ptr().add(at.col);
                    each_register!(
                        |sum, _i, j| *sum = *sum + Vector::load_ptr(simd, bias.add(j * lanes))
                    );
                }
            }
        }
        if self.epilogue.relu {
            each_register!(|sum, _i, _j| *sum = sum.relu());
        }
        // SAFETY: the tile's registers, the caller's promise.
        each_register!(|sum, i, j| unsafe { sum.store_ptr(at.register(i, j, lanes)) });
    }

    /// Stores the register at element (row, col) of C, which is at `c`.
    ///
    /// # Safety
    /// As [`General::store_tile`] of a tile of one register.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(
        &self,
        simd: S,
        sums: Vector<T, S>,
        c: *mut T,
        row: usize,
        col: usize,
    ) {
        let columns = SideBySide::side_by_side(0, 0);
        let at = At { first_row: c, row_stride: 0, columns, row, col };
        // SAFETY: the caller's promise.
        unsafe { self.store_tile(simd, [[sums]], at) }
    }
}
