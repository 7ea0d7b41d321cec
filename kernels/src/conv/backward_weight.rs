//! The gradients by w and by the bias: sums over all images and pixels.

use super::few_taps::{self, AddImage, Steps};
use super::geometry::ConvGeometry;
use super::plane::Plane;
use super::{BATCH_PARTS, DataGradient, PARALLEL_WORK};
use crate::arch::Arch;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::blocking::Blocking;
use crate::gemm::packing::{Dense, pack_panels, packed_len};
use crate::gemm::panels::{Gathered, Packed};
use crate::gemm::{Block, Epilogue, General, Output};
use crate::lanes::sum_stretches;
use crate::parallel::{Parts, Pool, Rows};
use crate::reduce::sum_axis;
use crate::view::MatRef;
use crate::workspace::with_scratch_in_parts;

/// One pass over a batch for dw (filters × taps), and for what else is asked for of each dy while it is in the cache.
pub(super) struct Pass<'a, T> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dw: &'a mut [T],
    pub(super) db: Option<&'a mut [T]>,
    /// dx, and what gives that of an image.
    pub(super) data: Option<(&'a mut [T], &'a DataGradient<'a, T>)>,
}

impl<T: Element> Pass<'_, T> {
    pub(super) fn run(self) -> Result<()> {
        let [batch, filters, height, width] = self.geometry.output();
        if batch * filters == 0 {
            self.dw.fill(T::zero());
            self.db.into_iter().for_each(|db| db.fill(T::zero()));
            return Ok(());
        }
        let arch = Arch::current()?;
        let blocking = Blocking::of::<T>(arch, height * width);
        let plane = &Plane::of_input(self.geometry);
        match few_taps::is_best(self.geometry, blocking) {
            true => self.by_registers(arch, plane),
            false => self.by_products(arch, blocking, plane),
        }
    }

    /// dw as registers of which each lane has some of the pixels (`few_taps.rs`).
    fn by_registers(self, arch: Arch, plane: &Plane) -> Result<()> {
        let lanes = arch.lanes::<T>();
        let steps = &Steps::new(self.geometry, plane, lanes);
        let lens = [self.dw.len() * lanes, 0];
        self.sum_images(
            plane,
            lens,
            |x, dy, sums, _| arch.dispatch(AddImage { steps, x, dy, sums }),
            |sum, dw| {
                for (dw, lanes) in dw.iter_mut().zip(sum.chunks_exact(lanes)) {
                    *dw = lanes.iter().copied().sum();
                }
            },
        )
    }

    /// For each image, dwᵀ (taps × filters) += windows (taps × pixels) · dyᵀ (pixels × filters): the windows are read where they
    /// are, element by element, and only dy is packed.
    fn by_products(
        self,
        arch: Arch,
        Blocking { nr, kc, .. }: Blocking,
        plane: &Plane,
    ) -> Result<()> {
        let [filters, taps, pixels] =
            [self.geometry.weight()[0], self.geometry.taps(), plane.pixels()];
        let (pixel_offsets, tap_offsets) = (plane.pixel_offsets(), plane.tap_offsets());
        let lens = [self.dw.len(), packed_len(filters, nr, kc)];
        self.sum_images(
            plane,
            lens,
            |x, dy, sum, panels| {
                let c = Output { start: sum.as_mut_ptr(), strides: [filters as isize, 1] };
                let dy = MatRef::new(dy, [filters, pixels]).expect("one image of dy");
                for start in (0..pixels).step_by(kc) {
                    let depth = start..pixels.min(start + kc);
                    let panels = &mut panels[..packed_len(filters, nr, depth.len())];
                    let all = 0..filters;
                    pack_panels(arch, Pool::SERIAL, &Dense(dy), panels, nr, all, depth.clone());
                    let (deep, pixel_offsets) = (depth.len(), &pixel_offsets[depth]);
                    // SAFETY: a plane's offsets lie within it; `sum` is this task's own taps × filters.
                    unsafe {
                        let block = Block {
                            left: Gathered::rows(x, &tap_offsets, pixel_offsets),
                            right: Packed { panels, depth: deep, width: nr },
                            depth: deep,
                            rows: taps,
                            cols: filters,
                            row: 0,
                            col: 0,
                            c,
                        };
                        block.compute(arch, General::new(T::one(), T::one(), Epilogue::default()));
                    }
                }
            },
            |sum, dw| transpose(sum, [taps, filters], dw),
        )
    }

    /// Calls `add(haloed image, its dy, sum, scratch)` for each image, with a sum for each part of the batch, and `finish` with the
    /// sum of those, in order, and dw. `lens` are those of a sum, which is 0 at first, and of the scratch.
    fn sum_images(
        self,
        plane: &Plane,
        [sum_len, scratch_len]: [usize; 2],
        add: impl Fn(&[T], &[T], &mut [T], &mut [T]) + Sync,
        finish: impl FnOnce(&[T], &mut [T]),
    ) -> Result<()> {
        let Self { geometry, x, dy, dw, db, data } = self;
        let ([batch, filters, ..], pixels) = (geometry.output(), plane.pixels());
        let pool = Pool::for_work(geometry.taps() * dy.len(), PARALLEL_WORK)?;
        let part_images = batch.div_ceil(BATCH_PARTS);
        let parts = batch.div_ceil(part_images);
        let [image_len, gradient_len] = [x.len() / batch, dy.len() / batch];
        let bias_len = if db.is_some() { filters } else { 0 };
        let data =
            data.map(|(dx, of_image)| (Rows::new(dx, batch, image_len).into_raw(), of_image));
        let stride = sum_len + bias_len;
        with_scratch_in_parts([parts * stride, sum_len], |[sums, sum]| {
            pool.for_each_part(Rows::new(&mut *sums, parts, stride), 1, |part, sum| {
                sum.data.fill(T::zero());
                let (sum, bias_sum) = sum.data.split_at_mut(sum_len);
                with_scratch_in_parts([scratch_len, bias_len], |[scratch, planes]| {
                    let first = part * part_images;
                    for n in first..batch.min(first + part_images) {
                        let x = &x[n * image_len..][..image_len];
                        let dy = &dy[n * gradient_len..][..gradient_len];
                        plane.with_haloed(x, |haloed| add(haloed, dy, sum, scratch));
                        if bias_len > 0 {
                            sum_axis([filters, pixels, 1], dy, planes).expect("planes of dy");
                            bias_sum.iter_mut().zip(&*planes).for_each(|(sum, &x)| *sum += x);
                        }
                        if let Some((dx, of_image)) = data {
                            // SAFETY: an image of this part, and of no other.
                            let dx = unsafe { Rows::<&mut [T]>::part(dx, n, 1) };
                            of_image(dy, dx.data);
                        }
                    }
                });
            });
            sum_stretches(sums, stride, 0, sum)?;
            finish(sum, dw);
            match db {
                Some(db) => sum_stretches(sums, stride, sum_len, db),
                None => Ok(()),
            }
        })
    }
}

/// dw (filters × taps) from its transpose.
fn transpose<T: Element>(sum: &[T], [taps, filters]: [usize; 2], dw: &mut [T]) {
    // A line of the cache of each row of dw at a time.
    const COLUMNS: usize = 8;
    for first in (0..taps).step_by(COLUMNS) {
        let columns = first..taps.min(first + COLUMNS);
        for (filter, dw) in dw.chunks_exact_mut(taps.max(1)).enumerate() {
            for tap in columns.clone() {
                dw[tap] = sum[tap * filters + filter];
            }
        }
    }
}
