//! How the ten digits are written: for each, several styles, and for each style its strokes.
//!
//! A stroke is the points its smooth curve passes through, (x, y) in percent of the digit's box, y down.
//! A point given twice in a row is a corner.

/// One movement of the pen.
pub(super) struct Stroke {
    pub(super) points: &'static [(i8, i8)],
    /// Whether the curve returns to its first point.
    pub(super) closed: bool,
}

/// The strokes of one way to write a digit.
pub(super) type Style = &'static [Stroke];

const fn open(points: &'static [(i8, i8)]) -> Stroke {
    Stroke { points, closed: false }
}

const fn closed(points: &'static [(i8, i8)]) -> Stroke {
    Stroke { points, closed: true }
}

/// The styles of the digits 0 to 9.
pub(super) const STYLES: [&[Style]; 10] =
    [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

#[rustfmt::skip] // a point a line would hide the strokes
const ZERO: &[Style] = &[
    // An oval.
    &[closed(&[(50, 0), (24, 16), (15, 50), (24, 84), (50, 100), (76, 84), (85, 50), (76, 16)])],
    // Narrow.
    &[closed(&[(50, 0), (34, 14), (27, 50), (34, 86), (50, 100), (66, 86), (73, 50), (66, 14)])],
    // One round whose ends cross at the top.
    &[open(&[
        (68, 8), (44, 2), (20, 26), (18, 66), (40, 98), (70, 88), (84, 54), (74, 18), (52, 4),
    ])],
    // Left open at the top.
    &[open(&[(42, 6), (20, 28), (17, 66), (40, 98), (70, 88), (84, 52), (76, 20), (60, 4)])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const ONE: &[Style] = &[
    // A bare stem.
    &[open(&[(50, 0), (50, 50), (50, 100)])],
    // Upstroke and stem.
    &[open(&[(32, 22), (42, 14), (53, 0), (53, 0), (53, 50), (53, 100)])],
    // Upstroke, stem and foot.
    &[
        open(&[(30, 20), (42, 13), (52, 0), (52, 0), (52, 99)]),
        open(&[(28, 99), (52, 99), (76, 98)]),
    ],
    // A stem that leans back.
    &[open(&[(44, 0), (50, 30), (52, 70), (58, 100)])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const TWO: &[Style] = &[
    // Arch, slope and flat base.
    &[open(&[
        (18, 26), (28, 7), (54, 0), (76, 15), (72, 42), (46, 70), (15, 98), (15, 98), (50, 97),
        (86, 96),
    ])],
    // A loop at the lower left.
    &[open(&[
        (18, 22), (34, 3), (62, 3), (77, 22), (66, 52), (42, 82), (24, 96), (14, 86), (26, 76),
        (52, 86), (88, 98),
    ])],
    // Angular, like a Z with a round shoulder.
    &[open(&[
        (20, 14), (44, 2), (74, 8), (76, 28), (48, 64), (18, 94), (18, 94), (56, 92), (82, 99),
    ])],
    // A swung base.
    &[open(&[
        (24, 30), (30, 8), (56, 0), (74, 18), (64, 48), (36, 78), (18, 92), (18, 92), (42, 86),
        (62, 96), (86, 90),
    ])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const THREE: &[Style] = &[
    // Two bows.
    &[open(&[
        (18, 14), (44, 0), (72, 12), (70, 34), (42, 47), (42, 47), (76, 58), (80, 84), (48, 100),
        (15, 88),
    ])],
    // Flat top.
    &[open(&[
        (20, 3), (50, 3), (78, 2), (78, 2), (42, 42), (42, 42), (76, 52), (80, 82), (48, 100),
        (16, 90),
    ])],
    // A small loop between the bows.
    &[open(&[
        (22, 10), (48, 0), (73, 14), (62, 38), (42, 48), (36, 42), (48, 42), (76, 58), (78, 84),
        (46, 100), (16, 84),
    ])],
    // The bows barely meet.
    &[open(&[
        (20, 8), (48, 0), (70, 16), (62, 38), (52, 46), (66, 54), (80, 74), (64, 96), (36, 100),
        (16, 92),
    ])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const FOUR: &[Style] = &[
    // Open: an angle and a stem.
    &[
        open(&[(26, 2), (22, 28), (16, 54), (16, 54), (50, 54), (88, 52)]),
        open(&[(70, 12), (67, 56), (64, 100)]),
    ],
    // Open and round, like a U with a tail.
    &[
        open(&[(22, 2), (17, 34), (30, 54), (56, 52), (76, 38)]),
        open(&[(78, 2), (74, 50), (70, 100)]),
    ],
    // Closed: a triangle on a stem.
    &[
        open(&[(64, 0), (40, 32), (12, 66), (12, 66), (50, 66), (90, 65)]),
        open(&[(64, 0), (64, 50), (63, 100)]),
    ],
    // Closed, in one movement.
    &[open(&[
        (90, 62), (50, 62), (14, 63), (14, 63), (38, 30), (62, 2), (62, 2), (62, 50), (60, 100),
    ])],
    // Narrow at the top, nearly closed.
    &[
        open(&[(46, 0), (30, 26), (14, 52), (14, 52), (50, 56), (84, 50)]),
        open(&[(66, 6), (64, 54), (58, 100)]),
    ],
];

#[rustfmt::skip] // a point a line would hide the strokes
const FIVE: &[Style] = &[
    // Roof, neck and belly in one movement.
    &[open(&[
        (80, 2), (52, 2), (28, 3), (28, 3), (26, 22), (23, 43), (23, 43), (52, 36), (80, 56),
        (76, 86), (46, 100), (15, 88),
    ])],
    // The roof apart.
    &[
        open(&[
            (30, 6), (27, 26), (24, 46), (24, 46), (54, 40), (80, 60), (72, 90), (42, 100),
            (15, 92),
        ]),
        open(&[(32, 6), (56, 4), (86, 0)]),
    ],
    // A soft neck, near an S.
    &[open(&[
        (78, 4), (48, 3), (30, 14), (28, 36), (52, 44), (76, 60), (74, 86), (46, 100), (18, 90),
    ])],
    // A small belly.
    &[open(&[
        (76, 0), (34, 4), (34, 4), (28, 52), (28, 52), (54, 46), (72, 64), (64, 92), (38, 100),
        (18, 94),
    ])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const SIX: &[Style] = &[
    // A bow into a round belly.
    &[open(&[
        (66, 0), (38, 20), (20, 54), (24, 88), (52, 100), (78, 86), (76, 62), (50, 52), (22, 70),
    ])],
    // A straight stem and a small belly.
    &[open(&[
        (58, 0), (38, 32), (24, 66), (30, 94), (54, 100), (72, 84), (64, 64), (42, 64), (26, 80),
    ])],
    // A hook at the top.
    &[open(&[
        (76, 14), (60, 1), (36, 10), (20, 44), (20, 80), (46, 100), (76, 88), (76, 60), (48, 50),
        (22, 66),
    ])],
    // The end coils inwards.
    &[open(&[
        (60, 0), (30, 28), (17, 66), (34, 96), (64, 98), (82, 78), (68, 58), (44, 62), (38, 78),
        (52, 84),
    ])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const SEVEN: &[Style] = &[
    // Roof and slope.
    &[open(&[(16, 5), (48, 4), (82, 3), (82, 3), (60, 50), (42, 100)])],
    // With a bar.
    &[
        open(&[(16, 6), (48, 4), (82, 3), (82, 3), (60, 50), (42, 100)]),
        open(&[(36, 50), (56, 50), (80, 48)]),
    ],
    // With a serif at the left.
    &[open(&[(16, 24), (18, 5), (18, 5), (50, 5), (82, 4), (82, 4), (58, 46), (46, 100)])],
    // A wavy roof and a bowed slope.
    &[open(&[(14, 14), (30, 2), (56, 8), (82, 4), (82, 4), (62, 34), (52, 64), (50, 100)])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const EIGHT: &[Style] = &[
    // One closed curve that crosses itself.
    &[closed(&[
        (50, 46), (28, 32), (26, 12), (50, 0), (74, 12), (72, 32), (50, 46), (24, 64), (20, 86),
        (50, 100), (80, 86), (76, 64),
    ])],
    // Two rounds, one on the other.
    &[
        closed(&[(50, 0), (28, 10), (28, 36), (50, 46), (72, 36), (72, 10)]),
        closed(&[(50, 46), (22, 60), (22, 88), (50, 100), (78, 88), (78, 60)]),
    ],
    // Begun and ended at the upper right.
    &[open(&[
        (76, 12), (50, 0), (26, 14), (36, 38), (66, 60), (76, 84), (50, 100), (24, 84), (36, 60),
        (64, 36), (80, 8),
    ])],
    // Narrow, slim at the waist.
    &[closed(&[
        (50, 48), (34, 30), (34, 8), (52, 0), (68, 10), (66, 30), (50, 48), (32, 70), (32, 92),
        (50, 100), (68, 92), (66, 70),
    ])],
];

#[rustfmt::skip] // a point a line would hide the strokes
const NINE: &[Style] = &[
    // A round head and a straight stem.
    &[open(&[
        (76, 14), (52, 0), (24, 14), (22, 40), (48, 52), (72, 38), (77, 12), (77, 12), (74, 56),
        (70, 100),
    ])],
    // A hooked tail.
    &[open(&[
        (76, 18), (54, 0), (26, 12), (20, 38), (44, 54), (70, 42), (78, 16), (80, 54), (66, 92),
        (40, 99), (22, 88),
    ])],
    // A small head on a sloping stem.
    &[open(&[
        (70, 8), (46, 0), (28, 16), (34, 38), (58, 36), (74, 8), (74, 8), (62, 54), (44, 100),
    ])],
    // Head and stem apart.
    &[
        closed(&[(50, 0), (26, 12), (24, 38), (48, 50), (70, 38), (72, 12)]),
        open(&[(74, 4), (74, 50), (66, 100)]),
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_fills_its_box() {
        for (digit, styles) in STYLES.iter().enumerate() {
            assert!(styles.len() >= 4, "{digit}");
            for style in *styles {
                let points = || style.iter().flat_map(|stroke| stroke.points);
                assert!(points().all(|&(x, y)| (0..=100).contains(&x) && (0..=100).contains(&y)));
                let (top, bottom) =
                    (points().map(|p| p.1).min().unwrap(), points().map(|p| p.1).max().unwrap());
                assert!(top <= 5 && bottom >= 95, "{digit}: {top} to {bottom}");
                assert!(style.iter().all(|stroke| stroke.points.len() >= 3));
            }
        }
    }
}
