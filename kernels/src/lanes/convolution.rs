//! Convolution in lanes, and its two gradients.

use std::ops::Range;

use super::correlate::{Correlate, Finish, Table};
use super::weight::{AddGradient, FILTERS, WeightTable, add_bias_gradient};
use super::winograd::Winograd;
use super::{arch_of, count};
use crate::arch::Arch;
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::{Parts, Pool, Rows};

/// Multiply-adds (of registers) below which a call stays on its thread.
const PARALLEL_WORK: usize = 1 << 18;
/// Output channels that stay on one thread, and of a part: 4 planes of 24×24 pixels are near when they are pooled (74 KB with
/// AVX2).
const PART: usize = 4;

/// A convolution planned for the lanes of an instruction set: by which kernels, and which inputs every output and every gradient
/// sums.
#[derive(Debug, Clone)]
pub struct Convolution {
    geometry: ConvGeometry,
    lanes: usize,
    /// Multiply-adds of a pair of channels of one sample, without those of filter cells outside the image.
    products: usize,
    kernels: Kernels,
}

#[derive(Debug, Clone)]
enum Kernels {
    Direct(Box<Direct>),
    /// Of the convolution and of its gradient by the input.
    Winograd([Winograd; 2]),
}

#[derive(Debug, Clone)]
struct Direct {
    forward: Table,
    backward: Table,
    weight: WeightTable,
}

impl Convolution {
    /// The plan for `filters` filters over samples of (channels, height, width), for [`count`] lanes: by Winograd's filtering
    /// where the filter is 3×3, the stride 1 and both sides have 8 channels or more, else directly.
    ///
    /// # Errors
    /// As [`ConvGeometry::new`], [`Error::Shape`] where a lane group has 2³² elements or more, and [`Error::Argument`] where
    /// `KASOKU_WINOGRAD` (on unless `off`) says something else.
    pub fn new<T: Element>(input: [usize; 3], filters: usize, window: Window) -> Result<Self> {
        match Self::by_winograd::<T>(input, filters, window)? {
            Some(plan) => Ok(plan),
            None => Self::direct::<T>(input, filters, window),
        }
    }

    /// As [`Convolution::new`], `None` where it would be by the direct kernels.
    pub(crate) fn by_winograd<T: Element>(
        [channels, height, width]: [usize; 3],
        filters: usize,
        window: Window,
    ) -> Result<Option<Self>> {
        let lanes = count::<T>()?;
        let geometry = ConvGeometry::new([1, channels, height, width], filters, window)?;
        let winograd = Winograd::new(&geometry, lanes)?.map(Kernels::Winograd);
        let products = products(&geometry);
        Ok(winograd.map(|kernels| Self { geometry, lanes, products, kernels }))
    }

    /// As [`Convolution::new`], by the direct kernels.
    ///
    /// # Errors
    /// As [`Convolution::new`].
    pub fn direct<T: Element>(input: [usize; 3], filters: usize, window: Window) -> Result<Self> {
        let [channels, height, width] = input;
        let lanes = count::<T>()?;
        let geometry = ConvGeometry::new([1, channels, height, width], filters, window)?;
        let largest = geometry.input_len().max(geometry.output_len()) * lanes;
        if largest.max(geometry.weight_len()) > u32::MAX as usize {
            let problem = format!("a lane group of {largest} elements, expected less than 2³²");
            return Err(Error::Shape { op: "lanes::Convolution", problem });
        }
        let [_, _, out_h, out_w] = geometry.output();
        let Window { size, stride, pad } = window;
        let area = window.area();
        let split = |at: usize, width: usize| [at / width, at % width];
        let (pixels, out_pixels) = (height * width, out_h * out_w);
        let forward =
            Table::new((channels, area, lanes), [pixels, out_pixels], area, |pixel, cell| {
                let ([y, x], [fy, fx]) = (split(pixel, out_w), split(cell, size[1]));
                let iy = (y * stride[0] + fy).checked_sub(pad[0])?;
                let ix = (x * stride[1] + fx).checked_sub(pad[1])?;
                (iy < height && ix < width).then_some(iy * width + ix)
            });
        // What pixel (y, x) of the input gave to: the windows in which it lies under the cell.
        let backward = Table::new(
            (filters, channels * area, lanes),
            [out_pixels, pixels],
            area,
            |pixel, cell| {
                let ([y, x], [fy, fx]) = (split(pixel, width), split(cell, size[1]));
                let (oy, ox) = ((y + pad[0]).checked_sub(fy)?, (x + pad[1]).checked_sub(fx)?);
                let whole = oy.is_multiple_of(stride[0]) && ox.is_multiple_of(stride[1]);
                let [oy, ox] = [oy / stride[0], ox / stride[1]];
                (whole && oy < out_h && ox < out_w).then_some(oy * out_w + ox)
            },
        );
        let weight = WeightTable::new(lanes, [height, width], [out_h, out_w], &window);
        let products = products(&geometry);
        let kernels = Kernels::Direct(Box::new(Direct { forward, backward, weight }));
        Ok(Self { geometry, lanes, products, kernels })
    }

    /// The shapes, of a batch of one.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Floating-point operations of one pass for one sample, done directly and without those of filter cells outside the image.
    pub fn flops(&self) -> f64 {
        2.0 * self.sample_work() as f64
    }

    /// Whether by Winograd's filtering, which does 36 multiplications for 144.
    pub fn is_winograd(&self) -> bool {
        matches!(self.kernels, Kernels::Winograd(_))
    }

    /// Elements of a lane group of input and output.
    fn lens(&self) -> [usize; 2] {
        [self.geometry.input_len(), self.geometry.output_len()].map(|len| len * self.lanes)
    }

    /// Multiply-adds of a pass for one sample, which are registers for a lane group.
    fn sample_work(&self) -> usize {
        let [filters, channels, ..] = self.geometry.weight();
        filters * channels * self.products
    }

    /// Multiply-adds of a pass for a lane group.
    pub fn work(&self) -> usize {
        self.sample_work() * self.lanes
    }

    /// For the work of a pass.
    fn pool(&self) -> Result<Pool> {
        Pool::for_work(self.sample_work(), PARALLEL_WORK)
    }

    /// Elements of the weights prepared for a pass.
    pub fn filters_len(&self) -> usize {
        match &self.kernels {
            Kernels::Direct(_) => self.geometry.weight_len(),
            Kernels::Winograd([forward, backward]) => {
                forward.filters_len().max(backward.filters_len())
            }
        }
    }

    /// Prepares the weights for [`Convolution::forward`], once for all lane groups.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size.
    pub fn forward_filters<T: Element>(&self, w: &[T], filters: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Convolution::forward_filters";
        self.check_filters(OP, w, filters)?;
        match &self.kernels {
            Kernels::Direct(_) => filters.copy_from_slice(w),
            Kernels::Winograd([forward, _]) => {
                forward.filters(arch_of::<T>(OP, self.lanes)?, self.pool()?, w, false, filters);
            }
        }
        Ok(())
    }

    /// Prepares the weights for [`Convolution::backward_data`], once for all lane groups.
    ///
    /// # Errors
    /// As [`Convolution::forward_filters`].
    pub fn backward_filters<T: Element>(&self, w: &[T], filters: &mut [T]) -> Result<()> {
        const OP: &str = "lanes::Convolution::backward_filters";
        self.check_filters(OP, w, filters)?;
        match &self.kernels {
            Kernels::Direct(_) => filters.copy_from_slice(w),
            Kernels::Winograd([_, backward]) => {
                backward.filters(arch_of::<T>(OP, self.lanes)?, self.pool()?, w, true, filters);
            }
        }
        Ok(())
    }

    fn check_filters<T>(&self, op: &'static str, w: &[T], filters: &[T]) -> Result<()> {
        check_len(op, "w", w, self.geometry.weight_len())?;
        check_len(op, "filters", filters, self.filters_len())
    }

    /// The filters, in the parts that [`Convolution::forward_part`] and [`Convolution::add_weight_gradient_part`] can do by
    /// themselves, as small as is efficient: so that whoever pools their planes finds them in the cache.
    pub fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [filters, part] = [self.geometry.weight()[0], self.part()];
        (0..filters).step_by(part).map(move |first| first..filters.min(first + part))
    }

    /// Filters of a part at most. Winograd's filtering shares the work on its input among all of them.
    fn part(&self) -> usize {
        match self.kernels {
            Kernels::Direct(_) => PART,
            Kernels::Winograd(_) => self.geometry.weight()[0].max(1),
        }
    }

    /// Elements of the output's planes of so many filters.
    fn planes_len(&self, filters: usize) -> usize {
        let [_, _, height, width] = self.geometry.output();
        filters * height * width * self.lanes
    }

    /// Elements of a part's planes of the output, at most.
    pub fn part_len(&self) -> usize {
        self.planes_len(self.part().min(self.geometry.weight()[0]))
    }

    /// Checks that `part` is one of [`Convolution::parts`], or all of them; gives the elements of its planes of the output.
    fn check_part(&self, op: &'static str, part: &Range<usize>) -> Result<usize> {
        let filters = self.geometry.weight()[0];
        if *part != (0..filters) && self.parts().all(|known| known != *part) {
            let problem = format!("filters {part:?} of {filters} are no part of this plan's");
            return Err(Error::Shape { op, problem });
        }
        Ok(self.planes_len(part.len()))
    }

    /// y = x ∗ w + bias, then ReLU if `relu`, with w as [`Convolution::forward_filters`] prepared it.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for; so in all operations here.
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        filters: &[T],
        bias: Option<&[T]>,
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        self.forward_part(0..self.geometry.weight()[0], x, filters, bias, relu, y)
    }

    /// [`Convolution::forward`] by the filters of one of [`Convolution::parts`]: y holds their planes alone, filters and bias are
    /// those of all.
    ///
    /// # Errors
    /// As [`Convolution::forward`], and [`crate::Error::Shape`] where `part` is none of them.
    pub fn forward_part<T: Element>(
        &self,
        part: Range<usize>,
        x: &[T],
        filters: &[T],
        bias: Option<&[T]>,
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Convolution::forward";
        let [outputs, channels, ..] = self.geometry.weight();
        let y_len = self.check_part(OP, &part)?;
        check_len(OP, "x", x, self.lens()[0])?;
        check_len(OP, "filters", filters, self.filters_len())?;
        if let Some(bias) = bias {
            check_len(OP, "bias", bias, outputs)?;
        }
        check_len(OP, "y", y, y_len)?;
        let (arch, pool) = (arch_of::<T>(OP, self.lanes)?, self.pool()?);
        let bias = bias.map(|bias| &bias[part.clone()]);
        let finish = Finish { bias, relu, mask: None };
        match &self.kernels {
            Kernels::Direct(direct) => {
                let w_stride = channels * self.geometry.window().area();
                let filters = &filters[part.start * w_stride..];
                correlate(arch, pool, &direct.forward, x, (filters, w_stride), finish, y);
            }
            // SAFETY: the lengths were checked, the part is the whole; `arch_of` compared the lanes.
            Kernels::Winograd([forward, _]) => unsafe {
                forward.correlate(arch, pool, x, filters, finish, y.into_raw());
            },
        }
        Ok(())
    }

    /// dx, the gradient by x, with w as [`Convolution::backward_filters`] prepared it; 0 where `mask` (if any, in the layout of x)
    /// is 0 or less: the gradient of the ReLU that gave x.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn backward_data<T: Element>(
        &self,
        dy: &[T],
        filters: &[T],
        mask: Option<&[T]>,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Convolution::backward_data";
        let [x_len, y_len] = self.lens();
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "filters", filters, self.filters_len())?;
        check_len(OP, "dx", dx, x_len)?;
        if let Some(mask) = mask {
            check_len(OP, "mask", mask, x_len)?;
        }
        let (arch, pool) = (arch_of::<T>(OP, self.lanes)?, self.pool()?);
        let finish = Finish { bias: None, relu: false, mask };
        match &self.kernels {
            Kernels::Direct(direct) => {
                let w_stride = self.geometry.window().area();
                correlate(arch, pool, &direct.backward, dy, (filters, w_stride), finish, dx);
            }
            // SAFETY: the lengths were checked; `arch_of` compared the lanes.
            Kernels::Winograd([_, backward]) => unsafe {
                backward.correlate(arch, pool, dy, filters, finish, dx.into_raw());
            },
        }
        Ok(())
    }

    /// Adds the gradients by w and the bias to `dw` and `db`.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn add_weight_gradient<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        db: &mut [T],
    ) -> Result<()> {
        self.add_weight_gradient_part(0..self.geometry.weight()[0], x, dy, dw, db)
    }

    /// [`Convolution::add_weight_gradient`] of the filters of one of [`Convolution::parts`]: dy holds their planes alone, `dw`
    /// and `db` have room for all.
    ///
    /// # Errors
    /// As [`Convolution::forward_part`].
    pub fn add_weight_gradient_part<T: Element>(
        &self,
        part: Range<usize>,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        db: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Convolution::add_weight_gradient";
        let [filters, channels, ..] = self.geometry.weight();
        let dy_len = self.check_part(OP, &part)?;
        check_len(OP, "x", x, self.lens()[0])?;
        check_len(OP, "dy", dy, dy_len)?;
        check_len(OP, "dw", dw, self.geometry.weight_len())?;
        check_len(OP, "db", db, filters)?;
        let (arch, pool) = (arch_of::<T>(OP, self.lanes)?, self.pool()?);
        match &self.kernels {
            Kernels::Direct(direct) => {
                let filter_len = channels * self.geometry.window().area();
                let dw = &mut dw[part.start * filter_len..part.end * filter_len];
                let dw = Rows::new(dw, part.len(), filter_len);
                pool.for_each_part(dw, FILTERS, |index, dw| {
                    let first = index * FILTERS;
                    let filters = first..first + dw.rows;
                    arch.dispatch(AddGradient {
                        table: &direct.weight,
                        x,
                        dy,
                        filters,
                        dw: dw.data,
                    });
                });
            }
            // SAFETY: the lengths were checked, the part is the whole; `arch_of` compared the lanes.
            Kernels::Winograd([forward, _]) => unsafe {
                forward.add_gradient(arch, pool, x, dy, dw);
            },
        }
        add_bias_gradient(arch, dy, &mut db[part]);
        Ok(())
    }
}

/// Multiply-adds of a pair of channels of one sample, without those of filter cells outside the image.
pub(super) fn products(geometry: &ConvGeometry) -> usize {
    let ([_, _, height, width], [_, _, out_h, out_w]) = (geometry.input(), geometry.output());
    let Window { size, stride, pad } = geometry.window();
    let seen = |axis: usize, input: usize, output: usize| -> usize {
        let first = |at: usize| at * stride[axis];
        let inside = |at: &usize| (pad[axis]..pad[axis] + input).contains(at);
        (0..output).map(|at| (first(at)..first(at) + size[axis]).filter(inside).count()).sum()
    };
    seen(0, height, out_h) * seen(1, width, out_w)
}

/// On all threads: those that have nothing else to do take output channels. `w_stride` is the distance of two output channels'
/// weights.
fn correlate<T: Element>(
    arch: Arch,
    pool: Pool,
    table: &Table,
    x: &[T],
    (w, w_stride): (&[T], usize),
    finish: Finish<'_, T>,
    y: &mut [T],
) {
    let outputs = y.len() / table.output_stride().max(1);
    let correlate = Correlate { table, x, w, w_stride, finish, y: y.into_raw() };
    pool.for_each(outputs.div_ceil(PART), |part| {
        let channels = part * PART..((part + 1) * PART).min(outputs);
        // SAFETY: `arch_of` compared the lanes; the slices were checked to hold all channels of all pixels and
        // all weights; parts are disjoint.
        unsafe { correlate.run(arch, channels) };
    });
}
