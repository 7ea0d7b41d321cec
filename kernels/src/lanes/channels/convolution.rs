//! Convolution with channels in lanes.

use super::direct::Direct;
use super::layout::{Input, gather};
use super::{Sample, share};
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Result, check_len, checked_size};
use crate::lanes::convolution::products;
use crate::lanes::winograd::Winograd;
use crate::lanes::{arch_of, count};
use crate::parallel::{Parts, Pool};
use crate::workspace::with_scratch;

/// Multiply-adds (of registers) below which a call stays on its thread: 5 µs, where handing a part to another takes about 1.
const PARALLEL_WORK: usize = 1 << 15;
/// Parts that the pixels of a call are cut into, where there is as much work; at 4 tiles each, which the smallest of the book's
/// layers has, its products are as fast as at 16.
const PARTS: usize = 4;

/// A convolution of single samples with channels in lanes, planned for the lanes of an instruction set: by Winograd's filtering
/// or directly, as [`super::super::Convolution::new`] decides.
#[derive(Debug, Clone)]
pub struct Convolution {
    geometry: ConvGeometry,
    input: Input,
    lanes: usize,
    /// Whether the maxima of windows of 2 × 2 are what it gives.
    halved: bool,
    kernel: Kernel,
}

#[derive(Debug, Clone)]
enum Kernel {
    Direct(Direct),
    Winograd(Winograd),
}

impl Convolution {
    /// The plan for `filters` filters over samples of (channels, height, width), which lie as `input` says, for [`count`] lanes.
    ///
    /// # Errors
    /// As [`super::super::Convolution::new`].
    pub fn new<T: Element>(
        [channels, height, width]: [usize; 3],
        input: Input,
        filters: usize,
        window: Window,
    ) -> Result<Self> {
        const OP: &str = "lanes::channels::Convolution";
        let lanes = count::<T>()?;
        let geometry = ConvGeometry::new([1, channels, height, width], filters, window)?;
        let kernel = match Winograd::new(&geometry, lanes)? {
            Some([forward, _]) => Kernel::Winograd(forward),
            None => Kernel::Direct(Direct::new(&geometry, input, false, lanes)?),
        };
        let plan = Self { geometry, input, lanes, halved: false, kernel };
        let [_, _, out_h, out_w] = geometry.output();
        checked_size(OP, &[channels.div_ceil(lanes), lanes, height, width])?;
        checked_size(OP, &[plan.registers(), lanes, out_h, out_w])?;
        checked_size(OP, &[plan.registers(), lanes, plan.depth() + 1])?;
        Ok(plan)
    }

    /// The plan that gives the maxima under `window` of what this one gives, as max-pooling does; `None` where that is not 2 × 2
    /// in steps of 2 over even planes.
    ///
    /// # Errors
    /// As [`Convolution::new`].
    pub fn max_pooled(&self, window: Window) -> Result<Option<Self>> {
        let [_, _, height, width] = self.geometry.output();
        if !window.halves([height, width]) || self.halved {
            return Ok(None);
        }
        let kernel = match &self.kernel {
            Kernel::Direct(_) => {
                Kernel::Direct(Direct::new(&self.geometry, self.input, true, self.lanes)?)
            }
            Kernel::Winograd(winograd) => Kernel::Winograd(*winograd),
        };
        Ok(Some(Self { halved: true, kernel, ..*self }))
    }

    /// The shape of a sample's output: (filters, height, width).
    pub fn output(&self) -> [usize; 3] {
        let [_, filters, height, width] = self.geometry.output();
        if self.halved { [filters, height / 2, width / 2] } else { [filters, height, width] }
    }

    /// Elements of a sample's input and of its output, in whole registers.
    pub fn lens(&self) -> [usize; 2] {
        let [_, channels, in_h, in_w] = self.geometry.input();
        let [_, out_h, out_w] = self.output();
        let channels = channels.next_multiple_of(self.input.pixel(self.lanes));
        [channels * in_h * in_w, self.registers() * self.lanes * out_h * out_w]
    }

    /// Floating-point operations for one sample, done directly and without those of filter cells outside the image.
    pub fn flops(&self) -> f64 {
        let [filters, channels, ..] = self.geometry.weight();
        2.0 * (filters * channels * products(&self.geometry)) as f64
    }

    /// Whether by Winograd's filtering, which does 36 multiplications for 144.
    pub fn is_winograd(&self) -> bool {
        matches!(self.kernel, Kernel::Winograd(_))
    }

    /// Registers of filters.
    fn registers(&self) -> usize {
        self.geometry.weight()[0].div_ceil(self.lanes)
    }

    /// Elements of a filter as it is prepared.
    fn depth(&self) -> usize {
        match &self.kernel {
            Kernel::Direct(direct) => direct.taps(),
            Kernel::Winograd(winograd) => winograd.depth(),
        }
    }

    /// Elements of the prepared filters and bias.
    pub fn filters_len(&self) -> usize {
        (1 + self.depth()) * self.registers() * self.lanes
    }

    /// Prepares filters and bias for [`Convolution::forward`], once for as long as they stay the same.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn prepare<T: Element>(&self, w: &[T], bias: &[T], filters: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::channels::Convolution::prepare";
        check_len(OP, "w", w, self.geometry.weight_len())?;
        check_len(OP, "bias", bias, self.geometry.weight()[0])?;
        check_len(OP, "filters", filters, self.filters_len())?;
        let arch = arch_of::<T>(OP, self.lanes)?;
        let (to_bias, filters) = filters.split_at_mut(self.registers() * self.lanes);
        to_bias.fill(T::zero());
        to_bias[..bias.len()].copy_from_slice(bias);
        match &self.kernel {
            Kernel::Direct(direct) => {
                filters.fill(T::zero());
                direct.filters(arch, w, filters);
            }
            Kernel::Winograd(winograd) => winograd.filters_in_lanes(arch, w, filters),
        }
        Ok(())
    }

    /// y = x ∗ w + bias of a sample, then ReLU if `relu`, then the maxima of a plan that is [`Convolution::max_pooled`]; with w and
    /// bias as [`Convolution::prepare`] left them.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for.
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        filters: &[T],
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::channels::Convolution::forward";
        let [x_len, y_len] = self.lens();
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "filters", filters, self.filters_len())?;
        check_len(OP, "y", y, y_len)?;
        let (arch, pool) = (arch_of::<T>(OP, self.lanes)?, self.pool()?);
        let (bias, filters) = filters.split_at(self.registers() * self.lanes);
        let (units, most) = match &self.kernel {
            Kernel::Direct(direct) => (direct.units(self.halved), usize::MAX),
            Kernel::Winograd(winograd) => (winograd.tiles()[0], winograd.rows_in_cache::<T>()),
        };
        let parts = units.div_ceil(most).max(PARTS.min(units));
        let y = y.into_raw();
        self.with_input(x, |x| {
            let sample = Sample { x, bias, filters, relu, y };
            pool.for_each(parts, |part| {
                let units = share(units, part, parts);
                // SAFETY: the lengths were checked, and x made as the kernel wants it; `arch_of` compared the lanes; parts are
                // disjoint.
                unsafe {
                    match (&self.kernel, self.halved) {
                        (Kernel::Direct(direct), false) => {
                            direct.run::<T, false>(arch, sample, units);
                        }
                        (Kernel::Direct(direct), true) => {
                            direct.run::<T, true>(arch, sample, units);
                        }
                        (Kernel::Winograd(winograd), false) => {
                            winograd.run_in_lanes::<T, false>(arch, sample, units);
                        }
                        (Kernel::Winograd(winograd), true) => {
                            winograd.run_in_lanes::<T, true>(arch, sample, units);
                        }
                    }
                }
            });
        })
    }

    /// Runs `body` with x as the kernel wants it: in lanes, or with its halo.
    fn with_input<T: Element>(&self, x: &[T], body: impl FnOnce(&[T])) -> Result<()> {
        match &self.kernel {
            Kernel::Direct(direct) if direct.padded_len() > 0 => {
                with_scratch(direct.padded_len(), |padded: &mut [T]| {
                    direct.pad(x, padded);
                    body(padded);
                });
            }
            Kernel::Winograd(_) if self.input == Input::Planes => {
                let [_, channels, height, width] = self.geometry.input();
                let shape = [channels, height * width];
                let len = channels.next_multiple_of(self.lanes) * height * width;
                with_scratch(len, |lanes: &mut [T]| gather(x, shape, lanes).map(|()| body(lanes)))?;
            }
            _ => body(x),
        }
        Ok(())
    }

    /// For the work of a sample.
    fn pool(&self) -> Result<Pool> {
        let multiply_adds = match &self.kernel {
            Kernel::Direct(direct) => direct.units(false) * direct.taps(),
            Kernel::Winograd(winograd) => {
                let [rows, columns] = winograd.tiles();
                rows * columns * winograd.depth()
            }
        };
        Pool::for_work(multiply_adds * self.registers(), PARALLEL_WORK)
    }
}
