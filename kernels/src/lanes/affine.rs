//! The affine layer in lanes: samples are columns of registers, weights are broadcast.

use super::correlate::{Correlate, Finish, Output, Table};
use super::{arch_of, count};
use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::parallel::Pool;

/// Multiply-adds (of registers) below which a call stays on its thread.
const PARALLEL_WORK: usize = 1 << 17;
/// Outputs that stay on one thread.
const PART: usize = 24;

/// y = x·W + b for W of inputs × outputs, planned for a number of lane groups.
///
/// Three groups share each load of a weight, so calls with few groups read W often.
#[derive(Debug, Clone)]
pub struct Affine {
    size: [usize; 2],
    lanes: usize,
    groups: usize,
    forward: Table,
    backward: Table,
}

impl Affine {
    /// The plan for up to `groups` lane groups of [`count`] lanes.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where the sizes are too large for memory.
    pub fn new<T: Element>(inputs: usize, outputs: usize, groups: usize) -> Result<Self> {
        const OP: &str = "lanes::Affine";
        let lanes = count::<T>()?;
        for features in [inputs, outputs] {
            checked_size(OP, &[features, groups, lanes])?;
        }
        checked_size(OP, &[inputs, outputs])?;
        let table = |from: usize, to: usize, w_stride: usize| {
            let pixels = (0..groups).map(|group| [group * from * lanes, group * to * lanes]);
            Table::of_channels::<T>((from, w_stride, lanes), pixels)
        };
        let (forward, backward) = (table(inputs, outputs, outputs), table(outputs, inputs, 1));
        Ok(Self { size: [inputs, outputs], lanes, groups, forward, backward })
    }

    /// Floating-point operations of one pass for one sample.
    pub fn flops(&self) -> f64 {
        2.0 * (self.size[0] * self.size[1]) as f64
    }

    /// y = x·W + b, then ReLU if `relu`, of `groups` lane groups.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for, or there are more groups.
    pub fn forward<T: Element>(
        &self,
        groups: usize,
        x: &[T],
        w: &[T],
        bias: &[T],
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Affine::forward";
        let [inputs, outputs] = self.size;
        check_len(OP, "bias", bias, outputs)?;
        let finish = Finish { bias: Some(bias), relu, mask: None };
        self.run(OP, groups, &self.forward, ("x", x, inputs), ("y", y, outputs), (w, 1), finish)
    }

    /// dx = dy·Wᵀ; 0 where `mask` (if any, in the layout of x) is 0 or less: the gradient of the ReLU that gave x.
    ///
    /// # Errors
    /// As [`Affine::forward`].
    pub fn backward_data<T: Element>(
        &self,
        groups: usize,
        dy: &[T],
        w: &[T],
        mask: Option<&[T]>,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Affine::backward_data";
        let [inputs, outputs] = self.size;
        if let Some(mask) = mask {
            check_len(OP, "mask", mask, groups * inputs * self.lanes)?;
        }
        let finish = Finish { bias: None, relu: false, mask };
        self.run(
            OP,
            groups,
            &self.backward,
            ("dy", dy, outputs),
            ("dx", dx, inputs),
            (w, outputs),
            finish,
        )
    }

    fn run<T: Element>(
        &self,
        op: &'static str,
        groups: usize,
        table: &Table,
        (x_name, x, inputs): (&'static str, &[T], usize),
        (y_name, y, outputs): (&'static str, &mut [T], usize),
        (w, w_stride): (&[T], usize),
        finish: Finish<'_, T>,
    ) -> Result<()> {
        if groups > self.groups {
            let problem = format!("planned for {} lane groups, called with {groups}", self.groups);
            return Err(crate::Error::Shape { op, problem });
        }
        check_len(op, x_name, x, groups * inputs * self.lanes)?;
        check_len(op, y_name, y, groups * outputs * self.lanes)?;
        check_len(op, "w", w, inputs * outputs)?;
        let arch = arch_of::<T>(op, self.lanes)?;
        let pool = Pool::for_work(groups * inputs * outputs, PARALLEL_WORK)?;
        let y = Output(y.as_mut_ptr());
        let correlate = Correlate { table, pixels: groups, x, w, w_stride, finish, y };
        pool.for_each(outputs.div_ceil(PART), |part| {
            let channels = part * PART..((part + 1) * PART).min(outputs);
            // SAFETY: the lanes were compared; the slices hold `groups` groups of all inputs and outputs, and all
            // weights; parts are disjoint.
            unsafe { correlate.run(arch, channels) };
        });
        Ok(())
    }
}
