use ndarray::{Array2, ArrayView, Axis, Dimension};

use super::{Batch, Sequential};
use crate::functions::softmax;
use crate::kernels::reduce;
use crate::{Element, Error, Result};

/// Samples that are predicted at once.
const BATCH: usize = 500;

/// Networks that answer together: the mean of their probabilities (chapter 8). They make different mistakes, and the others outvote
/// the one that is wrong.
#[derive(Debug)]
pub struct Ensemble<T: Element> {
    members: Vec<Sequential<T>>,
}

impl<T: Element> Ensemble<T> {
    /// The members, trained by now or later.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are none.
    pub fn new(members: Vec<Sequential<T>>) -> Result<Self> {
        if members.is_empty() {
            let (value, expected) = ("0".into(), "at least one".into());
            return Err(Error::Argument { name: "the number of members", value, expected });
        }
        Ok(Self { members })
    }

    /// The members.
    pub fn members(&self) -> &[Sequential<T>] {
        &self.members
    }

    /// The members, to train.
    pub fn members_mut(&mut self) -> &mut [Sequential<T>] {
        &mut self.members
    }

    /// The mean of the members' probabilities (batch, classes), added in their order.
    ///
    /// # Errors
    /// As [`Sequential::predict`], and [`Error::Shape`] where members have other classes than the first.
    pub fn predict<'a>(&mut self, x: impl Into<Batch<'a, T>>) -> Result<Array2<T>> {
        let x = x.into();
        let count = T::of(self.members.len() as f64);
        let mut mean: Option<Array2<T>> = None;
        for member in &mut self.members {
            let y = softmax(member.predict(x.clone())?.view())?;
            match &mut mean {
                None => mean = Some(y),
                Some(mean) if mean.dim() == y.dim() => *mean += &y,
                Some(mean) => {
                    let expected = format!("the first member's, {:?}", mean.shape());
                    return Err(Error::shape("Ensemble: a member's output", y.shape(), expected));
                }
            }
        }
        Ok(mean.unwrap_or_default().mapv_into(|sum| sum / count))
    }

    /// The share of samples whose highest probability is their label's.
    ///
    /// # Errors
    /// As [`Ensemble::predict`], and [`Error::Shape`] where there are not as many samples as labels, or none.
    pub fn accuracy<D: Dimension>(
        &mut self,
        x: ArrayView<'_, T, D>,
        labels: &[usize],
    ) -> Result<f64> {
        let x = x.into_dyn();
        if x.ndim() == 0 || x.shape()[0] != labels.len() || labels.is_empty() {
            let expected = format!("{} samples, and at least one", labels.len());
            return Err(Error::shape("accuracy", x.shape(), expected));
        }
        let mut correct = 0.0;
        for (x, labels) in x.axis_chunks_iter(Axis(0), BATCH).zip(labels.chunks(BATCH)) {
            let y = self.predict(x)?;
            let classes = y.ncols();
            let y = y.as_standard_layout();
            let scores = y.as_slice().unwrap_or_default();
            let share = reduce::accuracy(scores, classes, labels)?;
            correct += share * labels.len() as f64;
        }
        Ok(correct.round() / labels.len() as f64)
    }
}
