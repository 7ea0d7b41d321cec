//! Direct convolution in lanes, and its two gradients.

use super::correlate::{Correlate, Finish, Table};
use super::weight::{AddGradient, FILTERS, WeightTable};
use super::{arch_of, count};
use crate::arch::Arch;
use crate::conv::{ConvGeometry, Window};
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::parallel::{Parts, Pool, Rows};

/// Multiply-adds (of registers) below which a call stays on its thread.
const PARALLEL_WORK: usize = 1 << 18;
/// Output channels that stay on one thread.
const PART: usize = 8;

/// A convolution planned for the lanes of an instruction set: which inputs every output and every gradient sums.
#[derive(Debug, Clone)]
pub struct Convolution {
    geometry: ConvGeometry,
    lanes: usize,
    forward: Table,
    backward: Table,
    weight: WeightTable,
}

impl Convolution {
    /// The plan for `filters` filters over samples of (channels, height, width), for [`count`] lanes.
    ///
    /// # Errors
    /// As [`ConvGeometry::new`], and [`Error::Shape`] where a lane group has 2³² elements or more.
    pub fn new<T: Element>(input: [usize; 3], filters: usize, window: Window) -> Result<Self> {
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
        Ok(Self { geometry, lanes, forward, backward, weight })
    }

    /// The shapes, of a batch of one.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Floating-point operations of one pass for one sample, without those of filter cells outside the image.
    pub fn flops(&self) -> f64 {
        let [filters, channels, ..] = self.geometry.weight();
        2.0 * (filters * channels * self.forward.products()) as f64
    }

    /// Elements of a lane group of input and output.
    fn lens(&self) -> [usize; 2] {
        [self.geometry.input_len(), self.geometry.output_len()].map(|len| len * self.lanes)
    }

    /// y = x ∗ w + bias, then ReLU if `relu`.
    ///
    /// # Errors
    /// [`crate::Error::Length`] where a slice has another size, [`crate::Error::Shape`] where another instruction set is in
    /// use than the plan is for; so in all operations here.
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        w: &[T],
        bias: &[T],
        relu: bool,
        y: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Convolution::forward";
        let [filters, channels, ..] = self.geometry.weight();
        let [x_len, y_len] = self.lens();
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "w", w, self.geometry.weight_len())?;
        check_len(OP, "bias", bias, filters)?;
        check_len(OP, "y", y, y_len)?;
        let area = self.geometry.window().area();
        let finish = Finish { bias: Some(bias), relu, mask: None };
        correlate(arch_of::<T>(OP, self.lanes)?, &self.forward, x, (w, channels * area), finish, y)
    }

    /// dx, the gradient by x; 0 where `mask` (if any, in the layout of x) is 0 or less: the gradient of the ReLU that gave x.
    ///
    /// # Errors
    /// As [`Convolution::forward`].
    pub fn backward_data<T: Element>(
        &self,
        dy: &[T],
        w: &[T],
        mask: Option<&[T]>,
        dx: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::Convolution::backward_data";
        let area = self.geometry.window().area();
        let [x_len, y_len] = self.lens();
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "w", w, self.geometry.weight_len())?;
        check_len(OP, "dx", dx, x_len)?;
        if let Some(mask) = mask {
            check_len(OP, "mask", mask, x_len)?;
        }
        let finish = Finish { bias: None, relu: false, mask };
        correlate(arch_of::<T>(OP, self.lanes)?, &self.backward, dy, (w, area), finish, dx)
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
        const OP: &str = "lanes::Convolution::add_weight_gradient";
        let [filters, channels, ..] = self.geometry.weight();
        let [x_len, y_len] = self.lens();
        check_len(OP, "x", x, x_len)?;
        check_len(OP, "dy", dy, y_len)?;
        check_len(OP, "dw", dw, self.geometry.weight_len())?;
        check_len(OP, "db", db, filters)?;
        let arch = arch_of::<T>(OP, self.lanes)?;
        let filter_len = channels * self.geometry.window().area();
        let pool = Pool::for_work(filters * channels * self.forward.products(), PARALLEL_WORK)?;
        let parts = (Rows::new(dw, filters, filter_len), Rows::new(db, filters, 1));
        pool.for_each_part(parts, FILTERS, |part, (dw, db)| {
            let first = part * FILTERS;
            let filters_here = first..first + db.rows;
            arch.dispatch(AddGradient {
                table: &self.weight,
                x,
                dy,
                filters: filters_here,
                dw: dw.data,
                db: db.data,
            });
        });
        Ok(())
    }
}

/// On all threads: those that have nothing else to do take output channels. `w_stride` is the distance of two output channels'
/// weights.
fn correlate<T: Element>(
    arch: Arch,
    table: &Table,
    x: &[T],
    (w, w_stride): (&[T], usize),
    finish: Finish<'_, T>,
    y: &mut [T],
) -> Result<()> {
    let planes = table.planes();
    let outputs = y.len() / planes.strides[1].max(1);
    let pool = Pool::for_work(planes.inputs * outputs * table.products(), PARALLEL_WORK)?;
    let correlate = Correlate { table, x, w, w_stride, finish, y: y.into_raw() };
    pool.for_each(outputs.div_ceil(PART), |part| {
        let channels = part * PART..((part + 1) * PART).min(outputs);
        // SAFETY: `arch_of` compared the lanes; the slices were checked to hold all channels of all pixels and
        // all weights; parts are disjoint.
        unsafe { correlate.run(arch, channels) };
    });
    Ok(())
}
