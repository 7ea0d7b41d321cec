//! Matrices as the kernels see them: a pointer, two sizes and two strides, checked when made.

use std::marker::PhantomData;

use crate::element::Element;
use crate::error::{Error, Result};

/// A matrix to read: any strides, negative and zero ones too.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    start: *const T,
    shape: [usize; 2],
    strides: [isize; 2],
    lifetime: PhantomData<&'a [T]>,
}

/// A matrix to write: any strides that reach no element twice.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    start: *mut T,
    shape: [usize; 2],
    strides: [isize; 2],
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: a MatRef is a shared slice with a shape.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}
// SAFETY: a MatMut is an exclusive slice with a shape.
unsafe impl<T: Send> Send for MatMut<'_, T> {}

/// Checks that every element of the matrix lies within `0..len`.
fn check_bounds(len: usize, offset: usize, shape: [usize; 2], strides: [isize; 2]) -> Result<()> {
    if shape.contains(&0) {
        return Ok(());
    }
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (&size, &stride) in shape.iter().zip(&strides) {
        let reach = (size as i128 - 1) * stride as i128;
        low += reach.min(0);
        high += reach.max(0);
    }
    if low >= 0 && high < len as i128 {
        return Ok(());
    }
    Err(Error::View(format!(
        "shape {shape:?} with strides {strides:?} from element {offset} reaches {low}..={high}, \
         the slice holds 0..{len}"
    )))
}

/// Checks that no element is reached by two index pairs.
fn check_distinct(shape: [usize; 2], strides: [isize; 2]) -> Result<()> {
    let reach = |axis: usize| (shape[axis] as i128 - 1) * strides[axis].unsigned_abs() as i128;
    let steps_over = |axis: usize, other: usize| {
        shape[axis] <= 1 || strides[axis].unsigned_abs() as i128 > reach(other)
    };
    let distinct = |axis: usize| shape[axis] <= 1 || strides[axis] != 0;
    let fine = shape.contains(&0)
        || (distinct(0) && distinct(1) && (steps_over(0, 1) || steps_over(1, 0)));
    if fine {
        return Ok(());
    }
    Err(Error::View(format!("shape {shape:?} with strides {strides:?} may write an element twice")))
}

macro_rules! impl_view {
    ($view:ident, $pointer:ty) => {
        impl<'a, T> $view<'a, T> {
            /// `[rows, columns]`.
            pub fn shape(&self) -> [usize; 2] {
                self.shape
            }

            /// The number of rows.
            pub fn rows(&self) -> usize {
                self.shape[0]
            }

            /// The number of columns.
            pub fn cols(&self) -> usize {
                self.shape[1]
            }

            /// `[row stride, column stride]`, in elements.
            pub fn strides(&self) -> [isize; 2] {
                self.strides
            }

            /// The transpose: the same elements, rows and columns exchanged.
            pub fn t(self) -> Self {
                let ([rows, cols], [row_stride, col_stride]) = (self.shape, self.strides);
                Self { shape: [cols, rows], strides: [col_stride, row_stride], ..self }
            }

            /// A view of raw memory, for callers that hold a foreign array.
            ///
            /// # Safety
            /// - Every element `start + i·strides[0] + j·strides[1]` must be valid, initialised and aligned
            ///   for the lifetime `'a`, under the rules of a `&[T]` (for `MatRef`) or `&mut [T]` (for `MatMut`).
            /// - A `MatMut` must reach no element twice.
            pub unsafe fn from_raw_parts(
                start: $pointer,
                shape: [usize; 2],
                strides: [isize; 2],
            ) -> Self {
                Self { start, shape, strides, lifetime: PhantomData }
            }
        }
    };
}
impl_view!(MatRef, *const T);
impl_view!(MatMut, *mut T);

impl<'a, T: Element> MatRef<'a, T> {
    /// The rows × columns matrix in `data`, row by row.
    ///
    /// # Errors
    /// [`Error::View`] where `data` does not hold exactly that many elements.
    pub fn new(data: &'a [T], shape: [usize; 2]) -> Result<Self> {
        check_size(data.len(), shape)?;
        Self::strided(data, 0, shape, [shape[1] as isize, 1])
    }

    /// Its first `cols` columns, and the others.
    pub(crate) fn split_cols(self, cols: usize) -> (Self, Self) {
        let ([rows, all], [_, stride]) = (self.shape, self.strides);
        assert!(cols <= all);
        let start = self.start.wrapping_offset(cols as isize * stride);
        (Self { shape: [rows, cols], ..self }, Self { shape: [rows, all - cols], start, ..self })
    }

    /// The matrix whose element (i, j) is `data[offset + i·strides[0] + j·strides[1]]`.
    ///
    /// # Errors
    /// [`Error::View`] where an element lies outside `data`.
    pub fn strided(
        data: &'a [T],
        offset: usize,
        shape: [usize; 2],
        strides: [isize; 2],
    ) -> Result<Self> {
        check_bounds(data.len(), offset, shape, strides)?;
        let start = data.as_ptr().wrapping_add(offset);
        // SAFETY: the bounds were checked, `data` is borrowed for 'a.
        Ok(unsafe { Self::from_raw_parts(start, shape, strides) })
    }

    /// The address of element (i, j).
    #[inline(always)]
    pub(crate) fn at(&self, i: usize, j: usize) -> *const T {
        let [row_stride, col_stride] = self.strides;
        self.start.wrapping_offset(i as isize * row_stride + j as isize * col_stride)
    }

    /// Element (i, j); panics out of bounds.
    pub fn get(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows() && j < self.cols(), "({i}, {j}) is outside {:?}", self.shape);
        // SAFETY: in bounds, so valid by the promise made when the view was.
        unsafe { *self.at(i, j) }
    }
}

impl<'a, T: Element> MatMut<'a, T> {
    /// The rows × columns matrix in `data`, row by row.
    ///
    /// # Errors
    /// [`Error::View`] where `data` does not hold exactly that many elements.
    pub fn new(data: &'a mut [T], shape: [usize; 2]) -> Result<Self> {
        check_size(data.len(), shape)?;
        Self::strided(data, 0, shape, [shape[1] as isize, 1])
    }

    /// The matrix whose element (i, j) is `data[offset + i·strides[0] + j·strides[1]]`.
    ///
    /// # Errors
    /// [`Error::View`] where an element lies outside `data`, or may be reached twice.
    pub fn strided(
        data: &'a mut [T],
        offset: usize,
        shape: [usize; 2],
        strides: [isize; 2],
    ) -> Result<Self> {
        check_bounds(data.len(), offset, shape, strides)?;
        check_distinct(shape, strides)?;
        let start = data.as_mut_ptr().wrapping_add(offset);
        // SAFETY: bounds and distinctness were checked, `data` is borrowed exclusively for 'a.
        Ok(unsafe { Self::from_raw_parts(start, shape, strides) })
    }

    /// The address of the first element.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.start
    }

    /// Writes element (i, j); panics out of bounds.
    pub fn set(&mut self, i: usize, j: usize, value: T) {
        assert!(i < self.rows() && j < self.cols(), "({i}, {j}) is outside {:?}", self.shape);
        let [row_stride, col_stride] = self.strides;
        let at = self.start.wrapping_offset(i as isize * row_stride + j as isize * col_stride);
        // SAFETY: in bounds, so valid and exclusive by the promise made when the view was.
        unsafe { *at = value }
    }

    /// The same matrix, to read.
    pub fn view(&self) -> MatRef<'_, T> {
        // SAFETY: a mutable view may be read while it is borrowed.
        unsafe { MatRef::from_raw_parts(self.start, self.shape, self.strides) }
    }
}

fn check_size(len: usize, shape: [usize; 2]) -> Result<()> {
    if shape[0].checked_mul(shape[1]) == Some(len) {
        return Ok(());
    }
    Err(Error::View(format!("shape {shape:?} does not fit a slice of {len} elements")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_reach_what_they_say() {
        let data: Vec<f64> = (0..12).map(f64::from).collect();
        let a = MatRef::new(&data, [3, 4]).unwrap();
        assert_eq!(a.get(2, 1), 9.0);
        assert_eq!(a.t().get(1, 2), 9.0);
        let reversed = MatRef::strided(&data, 11, [3, 4], [-4, -1]).unwrap();
        assert_eq!(reversed.get(0, 0), 11.0);
        assert_eq!(reversed.get(2, 3), 0.0);
    }

    #[test]
    fn views_out_of_bounds_are_refused() {
        let mut data = [0f32; 12];
        assert!(MatRef::new(&data, [3, 5]).is_err());
        assert!(MatRef::strided(&data, 1, [3, 4], [4, 1]).is_err());
        assert!(MatRef::strided(&data, 0, [2, 2], [-1, 1]).is_err());
        assert!(MatRef::strided(&data, 0, [2, 2], [isize::MAX, 1]).is_err());
        assert!(MatRef::strided(&data, 99, [0, 4], [4, 1]).is_ok());
        assert!(MatRef::strided(&data, 0, [5, 12], [0, 1]).is_ok());
        assert!(MatMut::strided(&mut data, 0, [5, 12], [0, 1]).is_err());
        assert!(MatMut::strided(&mut data, 0, [3, 3], [2, 1]).is_err());
        assert!(MatMut::strided(&mut data, 0, [3, 3], [1, 4]).is_ok());
    }
}
