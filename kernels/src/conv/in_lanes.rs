//! The three passes with the samples in lanes, a lane group at a time: turned as they come, convolved by Winograd's filtering or
//! directly ([`crate::lanes`]), turned back as they go.

use std::sync::{Arc, Mutex, PoisonError};

use super::BATCH_PARTS;
use super::geometry::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::Result;
use crate::lanes::{self, Convolution, gather, scatter};
use crate::workspace::{with_scratch, with_scratch_in_parts};

/// Channels from which on samples in lanes are worth turning: where windows are a stride apart, which others have to gather, and
/// where they are not.
const MIN_CHANNELS: [usize; 2] = [2, 6];
/// Bytes of a lane group's planes of x and y at most, and the share of the lanes that has a sample at least: see docs/conv.md.
const GROUP: usize = 2 << 20;
const FILLED: f64 = 0.75;

/// Whether the direct kernels in lanes are faster than those of single images, turning included.
fn suits_direct<T>(geometry: &ConvGeometry, lanes: usize) -> bool {
    let ([_, channels, ..], Window { size, stride, .. }) = (geometry.input(), geometry.window());
    let one = geometry.of_one();
    let group = (one.input_len() + one.output_len()) * lanes * size_of::<T>();
    let is_strided = stride != [1; 2];
    // A filter of one cell is a matrix product of the image as it lies.
    let is_product = size == [1; 2] && !is_strided;
    let enough = MIN_CHANNELS[usize::from(!is_strided)];
    lanes > 1 && !is_product && channels >= enough && group <= GROUP
}

/// Direct plans that are kept: to make one takes as long as a small convolution.
const KEPT: usize = 32;

/// The direct plan for a geometry, made anew if it is not among those that are kept.
fn direct<T: Element>(geometry: &ConvGeometry, lanes: usize) -> Result<Arc<Convolution>> {
    type Kept = Vec<((ConvGeometry, usize), Arc<Convolution>)>;
    static PLANS: Mutex<Kept> = Mutex::new(Vec::new());
    let key = (geometry.of_one(), lanes);
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    match plans.iter().position(|(known, _)| *known == key) {
        // The last used comes first.
        Some(at) => plans[..=at].rotate_right(1),
        None => {
            let ([_, channels, height, width], [filters, ..]) =
                (geometry.input(), geometry.weight());
            let input = [channels, height, width];
            let plan = Arc::new(Convolution::direct::<T>(input, filters, geometry.window())?);
            plans.truncate(KEPT - 1);
            plans.insert(0, (key, plan));
        }
    }
    Ok(plans[0].1.clone())
}

/// A convolution of a batch that fills lanes.
pub(super) struct InLanes {
    plan: Arc<Convolution>,
    lanes: usize,
    /// Lane groups of the batch.
    groups: usize,
    /// Elements of a sample, of x and of y.
    features: [usize; 2],
    filters: usize,
    /// Multiply-adds of a pass.
    work: usize,
}

impl InLanes {
    /// The plan, where this way is the fastest: where Winograd's filtering is, and more than half of the lanes are filled; or where
    /// the direct kernels are, and nearly all of them.
    pub(super) fn new<T: Element>(geometry: &ConvGeometry) -> Result<Option<Self>> {
        let ([batch, channels, height, width], lanes) = (geometry.input(), lanes::count::<T>()?);
        let [_, filters, out_h, out_w] = geometry.output();
        if 2 * batch <= lanes {
            return Ok(None);
        }
        let (groups, input) = (batch.div_ceil(lanes), [channels, height, width]);
        // Winograd's filtering saves so much that it may waste lanes.
        let filled = batch as f64 >= FILLED * (groups * lanes) as f64;
        let plan = match Convolution::by_winograd::<T>(input, filters, geometry.window())? {
            Some(plan) => Arc::new(plan),
            None if filled && suits_direct::<T>(geometry, lanes) => direct::<T>(geometry, lanes)?,
            None => return Ok(None),
        };
        Ok(Some(Self {
            work: batch * filters * out_h * out_w * geometry.taps(),
            plan,
            lanes,
            groups,
            features: [channels * height * width, filters * out_h * out_w],
            filters,
        }))
    }

    /// Elements of a lane group of x and of y.
    fn lens(&self) -> [usize; 2] {
        self.features.map(|features| features * self.lanes)
    }

    /// Takes each lane group of `from` to the one of `to`, both of samples of so many features.
    fn each_group<T: Element>(
        &self,
        (from, from_features): (&[T], usize),
        (to, to_features): (&mut [T], usize),
        pass: impl Fn(&[T], &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let [from_len, to_len] = [from_features, to_features].map(|features| features * self.lanes);
        lanes::for_each_stretch(self.groups, self.work, [(to, to_len)], |group, [to]| {
            with_scratch_in_parts([from_len, to_len], |[from_lanes, to_lanes]| {
                gather(self.group(from, group, from_len), from_features, from_lanes)?;
                pass(from_lanes, to_lanes)?;
                scatter(to_lanes, to_features, to)
            })
        })
    }

    pub(super) fn forward<T: Element>(
        &self,
        x: &[T],
        w: &[T],
        bias: Option<&[T]>,
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        let [inputs, outputs] = self.features;
        with_scratch(self.plan.filters_len(), |filters| {
            self.plan.forward_filters(w, filters)?;
            self.each_group((x, inputs), (y, outputs), |x, y| {
                self.plan.forward(x, filters, bias, relu, y)
            })
        })
    }

    pub(super) fn backward_data<T: Element>(&self, dy: &[T], w: &[T], dx: &mut [T]) -> Result<()> {
        let [inputs, outputs] = self.features;
        with_scratch(self.plan.filters_len(), |filters| {
            self.plan.backward_filters(w, filters)?;
            self.each_group((dy, outputs), (dx, inputs), |dy, dx| {
                self.plan.backward_data(dy, filters, None, dx)
            })
        })
    }

    /// dw, db and dx, or which of them are asked for, w beside dx: of a lane group at a time, whose dy is turned once.
    pub(super) fn backward<T: Element>(
        &self,
        [x, dy]: [&[T]; 2],
        dw: &mut [T],
        db: Option<&mut [T]>,
        data: Option<(&[T], &mut [T])>,
    ) -> Result<()> {
        let Some((w, dx)) = data else { return self.weight_gradient([x, dy], dw, db, None) };
        with_scratch(self.plan.filters_len(), |filters| {
            self.plan.backward_filters(w, filters)?;
            self.weight_gradient([x, dy], dw, db, Some((filters, dx)))
        })
    }

    fn weight_gradient<T: Element>(
        &self,
        [x, dy]: [&[T]; 2],
        dw: &mut [T],
        db: Option<&mut [T]>,
        data: Option<(&[T], &mut [T])>,
    ) -> Result<()> {
        let ([inputs, outputs], [x_len, y_len]) = (self.features, self.lens());
        let part_groups = self.groups.div_ceil(BATCH_PARTS);
        let parts = self.groups.div_ceil(part_groups);
        let stride = dw.len() + self.filters;
        let (filters, dx) = data.unzip();
        with_scratch(parts * stride, |gradients| {
            let stretches =
                [(&mut *gradients, stride), (dx.unwrap_or_default(), part_groups * x_len)];
            lanes::for_each_stretch(parts, self.work, stretches, |part, [gradient, dx]| {
                gradient.fill(T::zero());
                let (gradient, db) = gradient.split_at_mut(stride - self.filters);
                let mut dx = dx.chunks_mut(x_len);
                with_scratch_in_parts([x_len, y_len], |[x_lanes, dy_lanes]| {
                    let first = part * part_groups;
                    for group in first..(first + part_groups).min(self.groups) {
                        gather(self.group(x, group, x_len), inputs, x_lanes)?;
                        gather(self.group(dy, group, y_len), outputs, dy_lanes)?;
                        self.plan.add_weight_gradient(x_lanes, dy_lanes, gradient, db)?;
                        if let Some((filters, dx)) = filters.zip(dx.next()) {
                            self.plan.backward_data(dy_lanes, filters, None, x_lanes)?;
                            scatter(x_lanes, inputs, dx)?;
                        }
                    }
                    Ok(())
                })
            })?;
            if let Some(db) = db {
                lanes::sum_stretches(gradients, stride, dw.len(), db)?;
            }
            lanes::sum_stretches(gradients, stride, 0, dw)
        })
    }

    /// The samples of a group; the last one may have fewer.
    fn group<'a, T>(&self, samples: &'a [T], group: usize, len: usize) -> &'a [T] {
        let first = group * len;
        &samples[first..(first + len).min(samples.len())]
    }
}
