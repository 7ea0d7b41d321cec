//! The gradient by the weights of a convolution whose output is max-pooled: of each window, one pixel has a gradient at most.
//!
//! In lanes that pixel is another one in each sample, so all of them would be multiplied, three of four (2×2) by 0. Sample by sample
//! there are few products left: the gradient of a window times the patch of x that its pixel saw, whose rows are registers that may
//! begin anywhere. The gradient comes as the layer behind the pooling leaves it, samples in rows, and is spread over no plane.

#![allow(clippy::needless_range_loop)] // iterators over arrays are not always inlined, and then not vectorised

use pulp::{Simd, WithSimd};

use super::transpose::Turn;
use super::{Convolution, Pooling, arch_of, scatter};
use crate::conv::ConvGeometry;
use crate::conv::plane::Plane;
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::gemm::caches::LINE;
use crate::parallel::{Pool, Rows};
use crate::simd::Vector;
use crate::workspace::with_scratch_in_parts;

/// Cells of a pooling's window, at most.
const CELLS: usize = 16;
/// Sums of a tile, at most, of 16 registers; filters that make them, at most.
const SUMS: usize = 12;
const FILTERS: usize = 4;
/// Filters whose places are found at a time: they stay in L2, and a sample's planes in L1 for all of them.
const BLOCK: usize = 8;
/// Multiply-adds (of elements) below which a call stays on its thread.
const PARALLEL_WORK: usize = 1 << 18;

/// The gradient by the weights of a convolution and a pooling behind it, planned for the lanes of an instruction set.
#[derive(Debug, Clone)]
pub struct PooledGradient {
    geometry: ConvGeometry,
    /// Of the group's samples, and of a register of a patch's row.
    lanes: usize,
    row_lanes: usize,
    /// A sample's x with its padding, its rows as long as whole lines of the cache.
    plane: Plane,
    windows: usize,
    cells: usize,
    /// Window by window, where on the plane a patch begins for each cell; 0 for cells on the pooling's padding.
    places: Vec<u32>,
}

impl PooledGradient {
    /// The plan, where this way takes less time than spreading the gradient over the convolution's planes and
    /// [`Convolution::add_weight_gradient`]; `None` where it does not.
    ///
    /// # Errors
    /// [`Error::Shape`] where the pooling is not for the convolution's output.
    pub fn new<T: Element>(convolution: &Convolution, pooling: &Pooling) -> Result<Option<Self>> {
        let geometry = *convolution.geometry();
        if geometry.output()[1..] != pooling.input() {
            let [planes, expected] = [&pooling.input()[..], &geometry.output()[1..]];
            let problem = format!("a pooling of {planes:?}, expected one of {expected:?}");
            return Err(Error::Shape { op: "lanes::PooledGradient", problem });
        }
        let ([filters, _, rows, columns], lanes) = (geometry.weight(), pooling.lanes());
        let (line, row_lanes) = (LINE / size_of::<T>(), lanes.min(LINE / 2 / size_of::<T>()));
        let (pool, [_, out_h, out_w]) = (pooling.window(), pooling.output());
        let registers = columns.div_ceil(row_lanes.max(1));
        // Products of registers, for a sample and a filter's plane.
        let [_, _, conv_h, conv_w] = geometry.output();
        let dense = (conv_h * conv_w * rows * columns) as f64 / lanes as f64;
        let sparse = (out_h * out_w * rows * registers) as f64;
        let worth = !convolution.is_winograd() && lanes > 1 && sparse < dense;
        let found = tile(rows, registers).is_some() && pool.area() <= CELLS && filters > 0;
        let mut plan = Self {
            geometry,
            lanes,
            row_lanes,
            plane: Plane::of_input(&geometry).with_rows_of(line),
            windows: out_h * out_w,
            cells: pool.area(),
            places: Vec::new(),
        };
        // Places are whole numbers of an f32, one of which is none.
        if !worth || !found || plan.sample_len() >= NOWHERE {
            return Ok(None);
        }
        let pixels = plan.plane.pixel_offsets();
        for window in 0..plan.windows {
            for cell in 0..plan.cells {
                let pixel = |axis: usize, window: usize, cell: usize| {
                    let pixel = (window * pool.stride[axis] + cell).checked_sub(pool.pad[axis])?;
                    (pixel < [conv_h, conv_w][axis]).then_some(pixel)
                };
                let row = pixel(0, window / out_w, cell / pool.size[1]);
                let column = pixel(1, window % out_w, cell % pool.size[1]);
                let place = row.zip(column).map_or(0, |(row, column)| {
                    let place = pixels[row * conv_w + column];
                    // Where a register would straddle two lines, the second copy has it in one.
                    let second = place % line > line - row_lanes;
                    place + if second { plan.second_copy() } else { 0 }
                });
                plan.places.push(place as u32);
            }
        }
        Ok(Some(plan))
    }

    /// Adds the gradients by w (in its layout) and the bias of a lane group x: from dy, the gradient by the pooling's output, of
    /// up to as many samples as there are lanes, one after another, and the `index` of [`Pooling::max_forward`].
    ///
    /// # Errors
    /// [`Error::Length`] where a slice has another size, [`Error::Shape`] where another instruction set is in use
    /// than the plan is for.
    pub fn add<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        index: &[T],
        gradient: &mut [T],
        db: &mut [T],
    ) -> Result<()> {
        const OP: &str = "lanes::PooledGradient::add";
        let [filters, channels, rows, columns] = self.geometry.weight();
        let (lanes, windows) = (self.lanes, self.windows);
        let samples = (dy.len() / (filters * windows)).min(lanes);
        check_len(OP, "x", x, self.geometry.input_len() * lanes)?;
        check_len(OP, "dy (whole samples)", dy, samples * filters * windows)?;
        check_len(OP, "index", index, filters * windows * lanes)?;
        check_len(OP, "gradient", gradient, self.geometry.weight_len())?;
        check_len(OP, "db", db, filters)?;
        let arch = arch_of::<T>(OP, lanes)?;
        let (image, sample_len) = (self.geometry.input_len(), self.sample_len());
        let (weights, table) = (channels * rows * columns, self.places.len());
        let work = samples * windows * self.geometry.weight_len();
        let pool = Pool::for_work(work, PARALLEL_WORK)?;
        let lens = [lanes * sample_len, lanes * image, table];
        with_scratch_in_parts(lens, |[planes, images, numbers]| {
            scatter(x, image, &mut images[..samples * image])?;
            for (image, planes) in
                images.chunks_exact(image).zip(planes.chunks_exact_mut(sample_len))
            {
                let copy = self.plane.len();
                self.plane.fill(image, &mut planes[..copy]);
                planes[copy..].fill(T::zero());
                planes.copy_within(..copy, self.second_copy());
            }
            for (number, &place) in numbers.iter_mut().zip(&self.places) {
                *number = to_number(place as usize);
            }
            let (planes, numbers) = (&*planes, &*numbers);
            let sums = (Rows::new(gradient, filters, weights), db);
            pool.for_each_part(sums, BLOCK, |number, (gradient, db)| {
                let first = number * BLOCK * windows;
                let here = first..first + db.len() * windows;
                let index = &index[here.start * lanes..here.end * lanes];
                let lens = [index.len(), samples * here.len(), FILTERS * windows];
                with_scratch_in_parts(lens, |[in_lanes, places, gradients]| {
                    let to = &mut *in_lanes;
                    arch.dispatch(Places { numbers, cells: self.cells, index, places: to });
                    let size = [here.len(), samples];
                    let (from, to, step) = (&*in_lanes, &mut *places, here.len());
                    arch.dispatch(Turn { from, row: lanes, to, step, size });
                    arch.of_256_bits().dispatch(Add {
                        plan: self,
                        planes,
                        dy,
                        dy_first: here.start,
                        places,
                        gradients,
                        gradient: gradient.data,
                        db,
                    });
                });
            });
            Ok(())
        })
    }

    /// Where the second copy of a sample's planes begins, a register further on in its lines than the first.
    fn second_copy(&self) -> usize {
        self.plane.len() + self.row_lanes
    }

    /// Elements of a sample's planes, twice, and of the zeros that a window sees which none won; a row's last register may reach
    /// beyond those.
    fn sample_len(&self) -> usize {
        let (rows, [width, _]) = (self.geometry.weight()[2], self.plane.strides());
        2 * self.plane.len() + self.row_lanes.next_multiple_of(width) + (rows + 1) * width
    }
}

/// A place that is none, beyond all planes.
const NOWHERE: usize = (1 << 23) - 1;

/// A place as a number: added to 1/ε, it stands in the lowest bits of the sum.
fn to_number<T: Element>(place: usize) -> T {
    T::of(place as f64) + T::epsilon().recip()
}

fn to_place<T: Element>(number: T) -> usize {
    number.low_bits() as usize & NOWHERE
}

/// Filters whose sums make a tile, for patches of `rows` rows of registers; `None` where those of one are too many.
fn tile(rows: usize, registers: usize) -> Option<usize> {
    let filters = SUMS / (rows * registers).max(1);
    (filters > 0 && registers <= 2).then_some(filters.min(FILTERS))
}

/// Where the pixel lies that won each window, as a number; nowhere if none did.
struct Places<'a, T> {
    /// Window by window, of all cells.
    numbers: &'a [T],
    cells: usize,
    index: &'a [T],
    places: &'a mut [T],
}

impl<T: Element> WithSimd for Places<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { numbers, cells, index, places } = self;
        let lanes = Vector::<T, S>::len();
        let plane = numbers.len() / cells * lanes;
        let mut known = [Vector::zero(simd); CELLS + 1];
        for cell in 0..cells + 1 {
            known[cell] = Vector::splat(simd, T::of(cell as f64));
        }
        let nowhere = Vector::splat(simd, to_number(NOWHERE));
        for (index, places) in index.chunks_exact(plane).zip(places.chunks_exact_mut(plane)) {
            let windows = index.chunks_exact(lanes).zip(places.chunks_exact_mut(lanes));
            for ((won, place), numbers) in windows.zip(numbers.chunks_exact(cells)) {
                let won = Vector::load(simd, won);
                let mut from = nowhere;
                for cell in 0..cells {
                    let number = Vector::splat(simd, numbers[cell]);
                    from = won.eq(known[cell]).select(number, from);
                }
                from.store(place);
            }
        }
    }
}

/// A few filters and all samples of the group.
struct Add<'a, T> {
    plan: &'a PooledGradient,
    planes: &'a [T],
    /// Of all filters, and where the first of these begins in a sample.
    dy: &'a [T],
    dy_first: usize,
    places: &'a [T],
    /// Scratch for the gradients of a tile.
    gradients: &'a mut [T],
    gradient: &'a mut [T],
    db: &'a mut [T],
}

impl<T: Element> WithSimd for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [_, _, rows, columns] = self.plan.geometry.weight();
        let registers = columns.div_ceil(Vector::<T, S>::len());
        macro_rules! patches {
            ($($rows:literal $registers:literal $filters:literal;)*) => {
                match [rows, registers] {
                    $([$rows, $registers] => {
                        const { assert!($rows * $registers * $filters <= SUMS && $filters <= FILTERS) };
                        self.add::<S, $rows, $registers, $filters>(simd)
                    })*
                    _ => unreachable!("a patch without a tile"),
                }
            };
        }
        patches!(
            1 1 4; 2 1 4; 3 1 4; 4 1 3; 5 1 2; 6 1 2; 7 1 1; 8 1 1; 9 1 1; 10 1 1; 11 1 1; 12 1 1;
            1 2 4; 2 2 3; 3 2 2; 4 2 1; 5 2 1; 6 2 1;
        );
    }
}

impl<T: Element> Add<'_, T> {
    /// Patches of `R` rows of `V` registers, `F` filters at a time.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize, const F: usize>(&mut self, simd: S) {
        let Self { plan, dy, places, .. } = *self;
        let (windows, [all, ..], filters) = (plan.windows, plan.geometry.weight(), self.db.len());
        let samples = places.chunks_exact(filters * windows).zip(dy.chunks_exact(all * windows));
        for ((places, dy), planes) in samples.zip(self.planes.chunks_exact(plan.sample_len())) {
            let dy = &dy[self.dy_first..][..filters * windows];
            for first in (0..filters).step_by(F) {
                let count = F.min(filters - first);
                let here = first * windows..(first + count) * windows;
                let (places, dy) = (&places[here.clone()], &dy[here]);
                self.gradients_of_winners(simd, [first, count], places, dy);
                self.patches::<S, R, V, F>(simd, [first, count], places, planes);
            }
        }
    }

    /// Fills `gradients`: 0 for windows that none won. The bias gets the others.
    #[inline(always)]
    fn gradients_of_winners<S: Simd>(
        &mut self,
        simd: S,
        [first, count]: [usize; 2],
        places: &[T],
        dy: &[T],
    ) {
        let (lanes, windows) = (Vector::<T, S>::len(), self.plan.windows);
        let (zero, nowhere) = (Vector::zero(simd), Vector::splat(simd, to_number(NOWHERE)));
        for filter in 0..count {
            let here = filter * windows..(filter + 1) * windows;
            let (dy, places) = (&dy[here.clone()], &places[here.clone()]);
            let gradients = &mut self.gradients[here];
            let mut sums = zero;
            let whole = windows - windows % lanes;
            for at in (0..whole).step_by(lanes) {
                let lost = Vector::load(simd, &places[at..]).eq(nowhere);
                let gradient = lost.select(zero, Vector::load(simd, &dy[at..]));
                gradient.store(&mut gradients[at..]);
                sums = sums + gradient;
            }
            let mut sum = sums.sum();
            for at in whole..windows {
                let lost = to_place(places[at]) == NOWHERE;
                gradients[at] = if lost { T::zero() } else { dy[at] };
                sum += gradients[at];
            }
            self.db[first + filter] += sum;
        }
    }

    /// Adds the patches that the windows' winners saw, times their gradients.
    #[inline(always)]
    fn patches<S: Simd, const R: usize, const V: usize, const F: usize>(
        &mut self,
        simd: S,
        [first, count]: [usize; 2],
        places: &[T],
        planes: &[T],
    ) {
        let (lanes, plan) = (Vector::<T, S>::len(), self.plan);
        let (windows, [_, channels, _, columns]) = (plan.windows, plan.geometry.weight());
        let [width, plane] = plan.plane.strides();
        assert!(places.len() >= count * windows && self.gradients.len() >= count * windows);
        for channel in 0..channels {
            let x = planes[channel * plane..].as_ptr();
            // How far from here a patch may begin: the last ones see zeros, and nowhere is beyond them.
            let end = planes.len() - channel * plane - (R - 1) * width - V * lanes;
            let mut sums = [[[Vector::<T, S>::zero(simd); V]; R]; F];
            // Filters that are too many repeat the last one, and nobody takes their sums.
            let (mut from, mut gradients) = ([places.as_ptr(); F], [self.gradients.as_ptr(); F]);
            for f in 0..F {
                let plane = f.min(count - 1) * windows;
                (from[f], gradients[f]) =
                    (from[f].wrapping_add(plane), gradients[f].wrapping_add(plane));
            }
            for window in 0..windows {
                for f in 0..F {
                    // SAFETY: a filter's windows, of which this is one, were asserted; the patch ends within the planes.
                    unsafe {
                        let place = to_place(*from[f].add(window)).min(end);
                        let gradient = Vector::splat(simd, *gradients[f].add(window));
                        for r in 0..R {
                            for v in 0..V {
                                let seen = x.add(place + r * width + v * lanes);
                                let seen = Vector::load_ptr(simd, seen);
                                sums[f][r][v] = gradient.mul_add(seen, sums[f][r][v]);
                            }
                        }
                    }
                }
            }
            for f in 0..count {
                for r in 0..R {
                    let at = (((first + f) * channels + channel) * R + r) * columns;
                    let cells = &mut self.gradient[at..][..columns];
                    for v in 0..V {
                        let cells = &mut cells[v * lanes..columns.min((v + 1) * lanes)];
                        (Vector::load_partial(simd, cells) + sums[f][r][v]).store_partial(cells);
                    }
                }
            }
        }
    }
}
