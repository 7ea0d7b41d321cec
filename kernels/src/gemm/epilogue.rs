//! What happens to a tile of C when its sums are done.

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
