//! The pen: smooth curves through points, and their ink on a grid of 28×28 pixels.

use super::IMAGE_SIDE;

const PIXELS: usize = IMAGE_SIDE * IMAGE_SIDE;

/// Straight pieces per span of a curve: on this grid each is under two pixels.
const PIECES: usize = 5;

/// A place on the paper, in pixels, y down.
pub(super) type Point = [f32; 2];

/// The Catmull-Rom curve through the points, cut into straight pieces: its corners.
///
/// An open curve ends at its last point; a point given twice becomes a corner. Source: E. Catmull and
/// R. Rom, *A class of local interpolating splines*, 1974 (tension ½).
pub(super) fn curve(points: &[Point], closed: bool, out: &mut Vec<Point>) {
    let len = points.len();
    let at = |i: isize| match closed {
        true => points[i.rem_euclid(len as isize) as usize],
        false => points[i.clamp(0, len as isize - 1) as usize],
    };
    out.clear();
    let spans = if closed { len } else { len - 1 };
    for span in 0..spans as isize {
        let [before, start, end, after] = [-1, 0, 1, 2].map(|k| at(span + k));
        if start == end {
            continue;
        }
        for piece in 0..PIECES {
            let t = piece as f32 / PIECES as f32;
            out.push([0, 1].map(|axis| {
                let [p, q, r, s] = [before, start, end, after].map(|point| point[axis]);
                let (linear, square) = (r - p, 2.0 * p - 5.0 * q + 4.0 * r - s);
                q + 0.5 * t * (linear + t * (square + t * (3.0 * (q - r) + s - p)))
            }));
        }
    }
    out.push(at(spans as isize));
}

/// The paper: for every pixel's centre the distance to the nearest stroke's edge, negative under the ink.
pub(super) struct Paper {
    distance: [f32; PIXELS],
}

impl Paper {
    /// How far from the edge distances are kept, in pixels.
    const REACH: f32 = 1.5;

    pub(super) fn blank() -> Self {
        Self { distance: [Self::REACH; PIXELS] }
    }

    /// Draws straight pieces from corner to corner; `radius` is half the width there, in pixels.
    pub(super) fn draw(&mut self, corners: &[Point], radius: impl Fn(usize) -> f32) {
        for (i, pair) in corners.windows(2).enumerate() {
            self.draw_piece([pair[0], pair[1]], [radius(i), radius(i + 1)]);
        }
    }

    /// A piece whose half width goes evenly from one end's radius to the other's.
    fn draw_piece(&mut self, [from, to]: [Point; 2], radius: [f32; 2]) {
        let along = [to[0] - from[0], to[1] - from[1]];
        let square = along[0] * along[0] + along[1] * along[1];
        let scale = if square > 0.0 { 1.0 / square } else { 0.0 };
        let reach = radius[0].max(radius[1]) + Self::REACH;
        let pixels = |axis: usize| {
            let low = (from[axis].min(to[axis]) - reach).ceil().max(0.0) as usize;
            let high = (from[axis].max(to[axis]) + reach).floor() + 1.0;
            low..(high.max(0.0) as usize).min(IMAGE_SIDE)
        };
        let (rows, columns) = (pixels(1), pixels(0));
        for row in rows {
            let dy = row as f32 - from[1];
            for column in columns.clone() {
                let dx = column as f32 - from[0];
                let t = ((dx * along[0] + dy * along[1]) * scale).clamp(0.0, 1.0);
                let (ex, ey) = (dx - t * along[0], dy - t * along[1]);
                let edge = radius[0] + t * (radius[1] - radius[0]);
                let distance = (ex * ex + ey * ey).sqrt() - edge;
                let nearest = &mut self.distance[row * IMAGE_SIDE + column];
                *nearest = nearest.min(distance);
            }
        }
    }

    /// The ink, 0 to 1: the part of a pixel it covers, going over `softness` pixels from ink to none.
    pub(super) fn ink(&self, softness: f32) -> [f32; PIXELS] {
        self.distance.map(|distance| (0.5 - distance / softness).clamp(0.0, 1.0))
    }
}

/// Blurs along rows, then along columns, by the weights (w, 1 - 2w, w); beyond the image there is no ink.
pub(super) fn blur(ink: &mut [f32; PIXELS], w: f32) {
    for row in ink.as_chunks_mut::<IMAGE_SIDE>().0 {
        let mut before = 0.0;
        for column in 0..IMAGE_SIDE {
            let here = row[column];
            let after = row.get(column + 1).copied().unwrap_or(0.0);
            row[column] = w * (before + after) + (1.0 - 2.0 * w) * here;
            before = here;
        }
    }
    let mut before = [0.0; IMAGE_SIDE];
    for row in 0..IMAGE_SIDE {
        for column in 0..IMAGE_SIDE {
            let here = ink[row * IMAGE_SIDE + column];
            let after = ink.get((row + 1) * IMAGE_SIDE + column).copied().unwrap_or(0.0);
            ink[row * IMAGE_SIDE + column] = w * (before[column] + after) + (1.0 - 2.0 * w) * here;
            before[column] = here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_passes_through_its_points() {
        let points = [[2.0, 3.0], [10.0, 4.0], [12.0, 20.0], [5.0, 25.0]];
        let mut corners = Vec::new();
        for is_closed in [false, true] {
            curve(&points, is_closed, &mut corners);
            assert!(points.iter().all(|point| corners.contains(point)));
            assert_eq!(corners.len(), PIECES * if is_closed { 4 } else { 3 } + 1);
            assert_eq!(corners[0], points[0]);
            assert_eq!(*corners.last().unwrap(), points[if is_closed { 0 } else { 3 }]);
        }
    }

    #[test]
    fn a_straight_line_stays_straight() {
        let mut corners = Vec::new();
        curve(&[[2.0, 2.0], [6.0, 4.0], [10.0, 6.0]], false, &mut corners);
        for [x, y] in corners {
            assert!((y - (1.0 + x / 2.0)).abs() < 1e-5, "{x} {y}");
        }
    }

    #[test]
    fn ink_covers_the_stroke_and_nothing_else() {
        let mut paper = Paper::blank();
        paper.draw(&[[5.0, 10.0], [20.0, 10.0]], |_| 2.0);
        let ink = paper.ink(1.0);
        let at = |row: usize, column: usize| ink[row * IMAGE_SIDE + column];
        assert_eq!([at(10, 5), at(9, 12), at(11, 20)], [1.0; 3]);
        // Centres on the edge are half covered: beside the stroke and at its round ends.
        assert_eq!([at(8, 12), at(12, 12), at(10, 3), at(10, 22)], [0.5; 4]);
        assert_eq!([at(7, 12), at(13, 12), at(10, 2), at(10, 23), at(12, 22)], [0.0; 5]);
    }

    #[test]
    fn a_stroke_may_leave_the_paper() {
        let mut paper = Paper::blank();
        paper.draw(&[[-40.0, -3.0], [60.0, 90.0], [f32::MAX, 5.0]], |_| 2.0);
        assert!(paper.ink(1.0).iter().all(|ink| (0.0..=1.0).contains(ink)));
    }

    #[test]
    fn blur_spreads_a_dot_and_keeps_its_ink() {
        let mut ink = [0.0; PIXELS];
        ink[3 * IMAGE_SIDE + 4] = 1.0;
        blur(&mut ink, 0.25);
        let kernel = [0.0625, 0.125, 0.0625, 0.125, 0.25, 0.125, 0.0625, 0.125, 0.0625];
        for (k, expected) in kernel.into_iter().enumerate() {
            assert_eq!(ink[(2 + k / 3) * IMAGE_SIDE + 3 + k % 3], expected);
        }
        assert_eq!(ink.iter().sum::<f32>(), 1.0);
    }
}
