//! Tasks that take the same rows of several matrices.
//!
//! What a fully connected network does with a sample does not depend on the others: a task takes the rows of a few samples
//! through all its layers, and needs those rows alone of every matrix of activations and gradients.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::lanes::for_each_stretch;
use crate::parallel::Start;

/// A matrix within a slice: row after row, all matrices of a slice with as many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Where it begins.
    pub start: usize,
    /// Its columns.
    pub width: usize,
}

/// A task's rows of the matrices of a slice.
pub struct RowBlock<'a, T> {
    start: Start<T>,
    matrices: &'a [Matrix],
    /// Which rows these are.
    pub rows: Range<usize>,
}

impl<T> RowBlock<'_, T> {
    /// The rows of some of the matrices, each row after row.
    ///
    /// # Panics
    /// Where one is asked for twice, or does not exist.
    pub fn get<const N: usize>(&mut self, indices: [usize; N]) -> [&mut [T]; N] {
        for (i, index) in indices.iter().enumerate() {
            assert!(!indices[..i].contains(index), "matrix {index} is asked for twice");
        }
        let Start(start) = self.start;
        indices.map(|index| {
            let Matrix { start: first, width } = self.matrices[index];
            // SAFETY: `for_each_row_block` found the matrices apart and within a slice that is borrowed for as long as this block
            // lives, and each of its rows is in one block; of this block's, none is asked for twice while it is borrowed.
            unsafe {
                let rows = start.add(first + self.rows.start * width);
                std::slice::from_raw_parts_mut(rows, self.rows.len() * width)
            }
        })
    }
}

/// Cuts `rows` rows into blocks of `block` and runs `body(rows of the matrices, part of `other`)` for each, on the threads of the
/// kernels (the calling one where `work`, in multiply-adds, is little). `other` is a slice of its own, with so many elements a
/// block.
///
/// # Errors
/// [`Error::Shape`] where the matrices overlap or do not fit into `memory`, [`Error::Length`] where `other` is longer than its
/// parts, and the error of the first block that fails.
pub fn for_each_row_block<T: Send>(
    memory: &mut [T],
    matrices: &[Matrix],
    [rows, block]: [usize; 2],
    work: usize,
    other: (&mut [T], usize),
    body: impl Fn(RowBlock<'_, T>, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let mut end = 0;
    for matrix in matrices {
        if matrix.start < end {
            let problem = format!("{matrix:?} begins before the one before it ends, at {end}");
            return Err(Error::Shape { op: "for_each_row_block", problem });
        }
        end = matrix.start.saturating_add(rows.saturating_mul(matrix.width));
    }
    if end > memory.len() {
        let problem = format!("matrices of {end} elements in a slice of {}", memory.len());
        return Err(Error::Shape { op: "for_each_row_block", problem });
    }
    let (start, block) = (Start(memory.as_mut_ptr()), block.max(1));
    for_each_stretch(rows.div_ceil(block), work, [other], |task, [other]| {
        let first = task * block;
        body(RowBlock { start, matrices, rows: first..rows.min(first + block) }, other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRICES: [Matrix; 3] = [
        Matrix { start: 0, width: 2 },
        Matrix { start: 16, width: 0 },
        Matrix { start: 16, width: 3 },
    ];

    #[test]
    fn every_row_is_in_one_block() {
        for block in [1, 2, 3, 7, 100] {
            let mut memory = vec![0usize; 16 + 7 * 3];
            let mut others = [0usize; 7];
            let body = |mut rows: RowBlock<'_, usize>, other: &mut [usize]| {
                let first = rows.rows.start;
                assert_eq!(other.len(), rows.rows.len());
                let [a, b, none] = rows.get([0, 2, 1]);
                a.iter_mut().enumerate().for_each(|(i, x)| *x += 1 + first + i / 2);
                b.iter_mut().enumerate().for_each(|(i, x)| *x += 1 + first + i / 3);
                other.iter_mut().enumerate().for_each(|(i, x)| *x += 1 + first + i);
                assert!(none.is_empty());
                Ok(())
            };
            let other = (&mut others[..], block);
            for_each_row_block(&mut memory, &MATRICES, [7, block], 1 << 30, other, body).unwrap();
            assert!(memory[..14].iter().enumerate().all(|(i, &x)| x == 1 + i / 2));
            assert!(memory[16..].iter().enumerate().all(|(i, &x)| x == 1 + i / 3));
            assert!(others.iter().enumerate().all(|(i, &x)| x == 1 + i));
        }
    }

    #[test]
    fn matrices_must_be_apart_and_fit() {
        let run = |len: usize, rows: usize| {
            let mut memory = vec![0u8; len];
            for_each_row_block(&mut memory, &MATRICES, [rows, 2], 0, (&mut [], 0), |_, _| Ok(()))
        };
        assert!(run(37, 7).is_ok());
        assert!(run(36, 7).unwrap_err().to_string().contains("37"));
        assert!(run(100, 9).unwrap_err().to_string().contains("before"));
    }

    #[test]
    #[should_panic(expected = "asked for twice")]
    fn no_matrix_is_given_twice() {
        let mut memory = [0u8; 37];
        let _ =
            for_each_row_block(&mut memory, &MATRICES, [7, 7], 0, (&mut [], 0), |mut rows, _| {
                rows.get([2, 2]);
                Ok(())
            });
    }
}
