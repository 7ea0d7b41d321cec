//! Images changed by chance, so that a network never sees the same one twice (chapter 8).

use ndarray::{Array4, ArrayView2, ArrayView4};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::kernels::lanes::for_each_stretch;
use crate::tensor::standard;
use crate::{Element, Error, Result};

/// Operations on a pixel, for the threads.
const WORK: usize = 16;

/// How images are changed by chance before they are learned: shifted, turned, resized, mirrored and cropped, in any combination.
///
/// All of it is one affine map of the coordinates. For each pixel of the new image it says where it comes from, and there the old
/// one is read between its four nearest pixels (bilinear interpolation); around it everything is 0. So nothing is blurred twice,
/// and an image that is only moved by whole pixels, mirrored or cropped keeps its numbers.
///
/// ```
/// use kasoku_nn::data::{self, Augmentation};
///
/// let images = data::synthetic(3, 1).images_f::<f32>();
/// let augmentation = Augmentation { shift: 2.0, rotation: 10.0, ..Augmentation::default() };
/// let changed = augmentation.apply(images.view(), 1, 0)?;
/// assert_eq!(changed.dim(), images.dim());
/// assert_eq!(changed, augmentation.apply(images.view(), 1, 0)?);
/// # Ok::<(), kasoku_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augmentation {
    /// Moved by up to so many pixels up or down, and as many left or right.
    pub shift: f64,
    /// Turned around the middle by up to so many degrees either way.
    pub rotation: f64,
    /// Resized by a factor from 1 − `scale` to 1 + `scale`.
    pub scale: f64,
    /// Mirrored left to right, every other one. Not for digits: a mirrored 2 is no 2.
    pub flip: bool,
    /// Cut to (height, width), anywhere in the image.
    pub crop: Option<[usize; 2]>,
}

/// Where a pixel comes from: `origin` + `rows`·(y, x).
#[derive(Debug, Clone, Copy)]
struct Map {
    origin: [f64; 2],
    rows: [[f64; 2]; 2],
}

impl Augmentation {
    /// The changed images, (N, C, H, W) as they were or (N, C, height, width) where they are cropped. What happens to an image is
    /// a function of `seed`, `step` and its place in the batch, on any number of threads.
    ///
    /// # Errors
    /// [`Error::Argument`] where a number is below 0, a scale is not below 1, or a crop does not fit into the images.
    pub fn apply<T: Element>(
        &self,
        images: ArrayView4<'_, T>,
        seed: u64,
        step: u64,
    ) -> Result<Array4<T>> {
        let (count, channels, height, width) = images.dim();
        let [out_height, out_width] = self.check([height, width])?;
        let mut rng = Self::random(seed, step);
        let maps: Vec<Map> = (0..count).map(|_| self.draw([height, width], &mut rng)).collect();
        let images = standard(images);
        let mut changed = Array4::zeros((count, channels, out_height, out_width));
        let len = channels * out_height * out_width;
        let (work, to) = (changed.len() * WORK, changed.as_slice_mut().unwrap_or_default());
        for_each_stretch(count, work, [(to, len)], |number, [to]| {
            let image = images.index_axis(ndarray::Axis(0), number);
            let planes = to.chunks_exact_mut((out_height * out_width).max(1));
            for (from, to) in image.outer_iter().zip(planes) {
                maps[number].fill(from, to, out_width);
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// The size of the changed images.
    fn check(&self, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
        let argument =
            |name, value: String, expected: String| Err(Error::Argument { name, value, expected });
        for (name, value) in [("shift", self.shift), ("rotation", self.rotation)] {
            if !(value >= 0.0 && value.is_finite()) {
                return argument(name, value.to_string(), "a number of 0 or more".into());
            }
        }
        if !(0.0..1.0).contains(&self.scale) {
            return argument("scale", self.scale.to_string(), "from 0 to below 1".into());
        }
        let size = self.crop.unwrap_or([height, width]);
        if self.crop.is_some() && (size.contains(&0) || size[0] > height || size[1] > width) {
            let expected = format!("from 1×1 to the images' {height}×{width}");
            return argument("crop", format!("{}×{}", size[0], size[1]), expected);
        }
        Ok(size)
    }

    /// The random numbers of a batch.
    fn random(seed: u64, step: u64) -> Xoshiro256PlusPlus {
        /// Odd, so that all steps differ, and not the constant by which `seed_from_u64` counts.
        const STEP: u64 = 0xd1b5_4a32_d192_ed03;
        Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(step.wrapping_mul(STEP)))
    }

    /// What happens to an image. As many numbers are drawn whatever is asked for: one change more leaves the others as they are.
    fn draw(&self, size: [usize; 2], rng: &mut Xoshiro256PlusPlus) -> Map {
        let mut chance = || rng.random::<f64>();
        let mut within = |spread: f64| spread * (2.0 * chance() - 1.0);
        let [dy, dx] = [within(self.shift), within(self.shift)];
        let (sin, cos) = within(self.rotation).to_radians().sin_cos();
        let zoom = 1.0 + within(self.scale);
        let mirror = if chance() < 0.5 && self.flip { -1.0 } else { 1.0 };
        let places = [chance(), chance()];
        let out = self.crop.unwrap_or(size);
        let middle = [0, 1].map(|axis| (out[axis] as f64 - 1.0) / 2.0);
        // The corner of the crop, in whole pixels.
        let corner =
            [0, 1].map(|axis| (places[axis] * (size[axis] - out[axis] + 1) as f64).floor());
        let rows = [[cos / zoom, -sin / zoom * mirror], [sin / zoom, cos / zoom * mirror]];
        let origin = [0, 1].map(|axis| {
            let [by_y, by_x] = rows[axis];
            corner[axis] + middle[axis] - (by_y * middle[0] + by_x * middle[1]) - [dy, dx][axis]
        });
        Map { origin, rows }
    }
}

impl Map {
    /// Fills the plane `to`, of rows of `width` pixels, from `from`.
    fn fill<T: Element>(&self, from: ArrayView2<'_, T>, to: &mut [T], width: usize) {
        let [by_y, by_x] = [0, 1].map(|column| self.rows.map(|row| row[column]));
        for (y, row) in to.chunks_exact_mut(width.max(1)).enumerate() {
            let begin = [0, 1].map(|axis| self.origin[axis] + by_y[axis] * y as f64);
            for (x, to) in row.iter_mut().enumerate() {
                *to = read(&from, [0, 1].map(|axis| begin[axis] + by_x[axis] * x as f64));
            }
        }
    }
}

/// The image at (y, x), between its pixels; 0 outside.
fn read<T: Element>(image: &ArrayView2<'_, T>, at: [f64; 2]) -> T {
    let corner = at.map(f64::floor);
    let [[up, down], [left, right]] =
        [0, 1].map(|axis| [1.0 - (at[axis] - corner[axis]), at[axis] - corner[axis]].map(T::of));
    let [top, first] = corner.map(|corner| corner as isize);
    let pixel = |y: isize, x: isize| {
        let inside = usize::try_from(y).ok().zip(usize::try_from(x).ok());
        inside.and_then(|at| image.get(at).copied()).unwrap_or(T::zero())
    };
    up * (left * pixel(top, first) + right * pixel(top, first + 1))
        + down * (left * pixel(top + 1, first) + right * pixel(top + 1, first + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, Axis};

    fn images(size: [usize; 2]) -> Array4<f64> {
        Array4::from_shape_fn((5, 2, size[0], size[1]), |(n, c, y, x)| {
            1.0 + (n * 1000 + c * 100 + y * 10 + x) as f64
        })
    }

    fn at(y: f64, x: f64) -> Augmentation {
        Augmentation { shift: y, rotation: x, ..Augmentation::default() }
    }

    #[test]
    fn nothing_asked_for_changes_nothing() {
        for size in [[1, 1], [4, 7], [5, 4]] {
            let x = images(size);
            assert_eq!(Augmentation::default().apply(x.view(), 1, 2).unwrap(), x);
        }
        let none = images([4, 4]);
        let none = none.slice_axis(Axis(0), (..0).into());
        assert_eq!(at(1.0, 9.0).apply(none, 1, 2).unwrap().dim(), (0, 2, 4, 4));
    }

    #[test]
    fn flips_mirror_every_other_image() {
        let x = images([3, 4]);
        let augmentation = Augmentation { flip: true, ..Augmentation::default() };
        let mut mirrored = 0;
        for step in 0..40 {
            let y = augmentation.apply(x.view(), 1, step).unwrap();
            for (x, y) in x.outer_iter().zip(y.outer_iter()) {
                let mut flipped = x.view();
                flipped.invert_axis(Axis(2));
                assert!(y == x || y == flipped);
                mirrored += usize::from(y == flipped);
            }
        }
        assert!((70..130).contains(&mirrored), "{mirrored} of 200");
    }

    #[test]
    fn crops_are_windows_from_everywhere() {
        let x = images([4, 5]);
        let augmentation = Augmentation { crop: Some([3, 2]), ..Augmentation::default() };
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..60 {
            let y = augmentation.apply(x.view(), 1, step).unwrap();
            assert_eq!(y.dim(), (5, 2, 3, 2));
            for (number, y) in y.outer_iter().enumerate() {
                let first = y[[0, 0, 0]] as usize - 1 - number * 1000;
                let corner = (first / 10, first % 10);
                let rows = (corner.0..corner.0 + 3).into();
                let columns = (corner.1..corner.1 + 2).into();
                let image = x.index_axis(Axis(0), number);
                let window = image.slice_axis(Axis(1), rows);
                assert_eq!(y, window.slice_axis(Axis(2), columns));
                seen.insert(corner);
            }
        }
        assert_eq!(seen.len(), 8, "every place, and no other: {seen:?}");
    }

    /// A plane that rises evenly is read exactly between its pixels.
    #[test]
    fn what_is_inside_comes_from_where_the_map_says() {
        let x = images([21, 21]);
        let augmentation =
            Augmentation { shift: 2.0, rotation: 30.0, scale: 0.2, flip: true, crop: Some([7, 9]) };
        for step in 0..20 {
            let y = augmentation.apply(x.view(), 3, step).unwrap();
            let mut rng = Augmentation::random(3, step);
            for (number, y) in y.outer_iter().enumerate() {
                let Map { origin, rows } = augmentation.draw([21, 21], &mut rng);
                for ((channel, row, column), &found) in y.indexed_iter() {
                    let [from_y, from_x] = [0, 1].map(|axis| {
                        origin[axis] + rows[axis][0] * row as f64 + rows[axis][1] * column as f64
                    });
                    let inside = (0.0..=20.0).contains(&from_y) && (0.0..=20.0).contains(&from_x);
                    let expected =
                        1.0 + (number * 1000 + channel * 100) as f64 + from_y * 10.0 + from_x;
                    assert!(!inside || (found - expected).abs() < 1e-9, "{found}, {expected}");
                }
                let area = rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0];
                assert!((1.0 / 1.44..=1.0 / 0.64).contains(&area.abs()));
            }
        }
    }

    #[test]
    fn outside_is_zero() {
        let x = Array4::<f32>::ones((50, 1, 6, 6));
        let y = at(20.0, 0.0).apply(x.view(), 1, 0).unwrap();
        assert!(y.outer_iter().any(|image| image.iter().all(|&x| x == 0.0)));
        assert!(y.iter().all(|x| (0.0..=1.0 + 1e-6).contains(x)));
    }

    #[test]
    fn chance_is_fixed_by_seed_and_step_alone() {
        let x = images([9, 8]);
        let augmentation = Augmentation { scale: 0.1, ..at(2.0, 20.0) };
        let run = |seed, step| augmentation.apply(x.view(), seed, step).unwrap();
        assert_eq!(run(1, 0), run(1, 0));
        assert_ne!(run(1, 0), run(1, 1));
        assert_ne!(run(1, 0), run(2, 0));
        let mut reversed = x.clone();
        reversed.invert_axis(Axis(3));
        let copy = reversed.as_standard_layout().into_owned();
        let both = [reversed, copy].map(|x| augmentation.apply(x.view(), 1, 0).unwrap());
        assert_eq!(both[0], both[1], "any layout");
    }

    #[test]
    fn numbers_outside_their_domain_are_named() {
        let x = images([4, 5]);
        let refused = |augmentation: Augmentation| {
            augmentation.apply(x.view(), 1, 0).unwrap_err().to_string()
        };
        assert!(refused(at(-1.0, 0.0)).starts_with("shift is -1"));
        assert!(refused(at(0.0, f64::NAN)).starts_with("rotation is NaN"));
        let other = Augmentation::default();
        assert!(refused(Augmentation { scale: 1.0, ..other }).starts_with("scale is 1"));
        let message = refused(Augmentation { crop: Some([5, 5]), ..other });
        assert!(message.contains("5×5") && message.contains("4×5"), "{message}");
        assert!(refused(Augmentation { crop: Some([0, 5]), ..other }).contains("0×5"));
    }
}
