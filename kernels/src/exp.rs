//! exp and log of registers, and what is made of them: sigmoid and tanh.
//!
//! One source for `f32` and `f64`; [`Elementary`] holds the constants. Accuracy, in units in the last
//! place (ULP) of the exact result, on every instruction set: exp and log 1, sigmoid and tanh 3.

use crate::element::Element;
use crate::registers::Registers;

/// The constants of this module's functions. Public only because [`Element`] builds on it; it cannot
/// be reached.
pub trait Elementary: Sized + 'static {
    /// Beyond these, eˣ is ∞ or rounds to 0.
    const EXP_RANGE: [Self; 2];
    /// Up to it, eˣ and e⁻ˣ are normal numbers, and what they are the sums of too.
    const EXP_NORMAL: Self;
    /// Beyond it, tanh x rounds to 1.
    const TANH_ONE: Self;
    /// ln 2 in two parts; the first so short that its product with an exponent is exact.
    const LN_2: [Self; 2];
    /// (eʳ − 1 − r)/r² on |r| ≤ ½·ln 2, highest power first: minimax for the relative error of eʳ,
    /// 2⁻²⁹ in f32 and 2⁻⁵⁷ in f64.
    const EXP_POLYNOMIAL: &'static [Self];
    /// (ln((1 + s)/(1 − s))/s − 2)/s² as a polynomial of s² on |s| ≤ 0.1716, highest power first:
    /// from FreeBSD's e_logf.c and e_log.c.
    const LOG_POLYNOMIAL: &'static [Self];
    /// 1.5·2^(mantissa bits): adding it rounds to an integer.
    const ROUND: Self;
    /// Has the exponent of a number whose unit is the lowest bit of the word that holds an exponent;
    /// an integer added to it appears in that bit and above.
    const INTEGER: Self;
    /// The bits by which that integer must be shifted to be an exponent.
    const EXPONENT_SHIFT: u32;
    /// The bits of an exponent, shifted back.
    const EXPONENT_MASK: Self;
    /// The bits of the mantissa.
    const MANTISSA_MASK: Self;
    /// What is added to an exponent when it is stored.
    const EXPONENT_BIAS: Self;
    /// A power of two that makes every denormal normal, and its exponent.
    const NORMALISE: [Self; 2];
}

impl Elementary for f32 {
    const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
    const EXP_NORMAL: f32 = 80.0;
    const TANH_ONE: f32 = 10.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const EXP_POLYNOMIAL: &'static [f32] =
        &[1.979_033_1e-4, 1.394_467_1e-3, 8.333_497e-3, 4.166_629_5e-2, 1.666_666_6e-1, 0.5];
    const LOG_POLYNOMIAL: &'static [f32] = &[0.242_790_79, 0.284_987_87, 0.400_009_72, 0.666_666_6];
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³
    const INTEGER: f32 = 12_582_912.0;
    const EXPONENT_SHIFT: u32 = 23;
    const EXPONENT_MASK: f32 = f32::from_bits(0xff);
    const MANTISSA_MASK: f32 = f32::from_bits(0x007f_ffff);
    const EXPONENT_BIAS: f32 = 127.0;
    const NORMALISE: [f32; 2] = [33_554_432.0, 25.0];
}

impl Elementary for f64 {
    const EXP_RANGE: [f64; 2] = [-746.0, 710.0];
    const EXP_NORMAL: f64 = 700.0;
    const TANH_ONE: f64 = 20.0;
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    const EXP_POLYNOMIAL: &'static [f64] = &[
        2.500_008_198_788_956e-8,
        2.763_038_431_407_859e-7,
        2.755_758_722_011_583e-6,
        2.480_149_274_950_586_6e-5,
        1.984_126_950_453_85e-4,
        1.388_888_894_393_152_6e-3,
        8.333_333_333_495_954e-3,
        4.166_666_666_652_918e-2,
        1.666_666_666_666_640_9e-1,
        5.000_000_000_000_011e-1,
    ];
    const LOG_POLYNOMIAL: &'static [f64] = &[
        1.479_819_860_511_658_6e-1,
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ];
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5·2⁵²
    const INTEGER: f64 = 1_572_864.0; // 1.5·2²⁰: its unit is bit 32
    const EXPONENT_SHIFT: u32 = 20;
    const EXPONENT_MASK: f64 = f64::from_bits(0x7ff << 32);
    const MANTISSA_MASK: f64 = f64::from_bits(0x000f_ffff_ffff_ffff);
    const EXPONENT_BIAS: f64 = 1023.0;
    const NORMALISE: [f64; 2] = [18_014_398_509_481_984.0, 54.0];
}

/// The functions, of one register or of two in turns.
pub(crate) trait Functions<T: Element>: Registers<T> {
    /// The polynomial with `coefficients`, highest power first, by Horner's rule.
    #[inline(always)]
    fn polynomial(self, coefficients: &'static [T]) -> Self {
        let mut value = self.like(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            value = value.mul_add(self, self.like(coefficient));
        }
        value
    }

    /// 2ⁿ of an integer n that is the exponent of a normal number.
    #[inline(always)]
    fn exp2_integer(self) -> Self {
        // n + bias becomes the low bits of a word, and then its exponent; the shift pushes out the rest.
        (self + self.like(T::INTEGER + T::EXPONENT_BIAS)).shl_words(T::EXPONENT_SHIFT)
    }

    /// The integer n nearest to x/ln 2, and eʳ − 1 where x = n·ln 2 + r (Cody and Waite's reduction).
    #[inline(always)]
    fn reduce_exp(self) -> (Self, Self) {
        let round = self.like(T::ROUND);
        let n = self.mul_add(self.like(T::of(std::f64::consts::LOG2_E)), round) - round;
        let [high, low] = T::LN_2;
        let r = n.mul_add(self.like(-high), self);
        let r = n.mul_add(self.like(-low), r);
        (n, (r * r).mul_add(r.polynomial(T::EXP_POLYNOMIAL), r))
    }

    /// eˣ within 1 ULP, denormal results too; ∞ on overflow, 0 on underflow, NaN of NaN.
    #[inline(always)]
    fn exp(self) -> Self {
        if self.reaches(T::EXP_NORMAL) {
            return self.exp_anywhere();
        }
        let (n, exp_m1) = self.reduce_exp();
        let power = n.exp2_integer();
        exp_m1.mul_add(power, power)
    }

    /// [`Functions::exp`], with the same bits, where a result may be too large or too small for a normal number.
    ///
    /// 2ⁿ comes in two halves, the first and its product normal: only the second rounds a denormal, or overflows.
    #[inline(always)]
    fn exp_anywhere(self) -> Self {
        let [low, high] = T::EXP_RANGE.map(|bound| self.like(bound));
        let (n, exp_m1) = self.larger(low).smaller(high).reduce_exp();
        let round = self.like(T::ROUND);
        let half = n.mul_add(self.like(T::of(0.5)), round) - round;
        let power = half.exp2_integer();
        exp_m1.mul_add(power, power) * (n - half).exp2_integer()
    }

    /// ln x within 1 ULP; −∞ of 0, NaN of what is negative, ∞ of ∞, NaN of NaN.
    ///
    /// x = 2ᵉ·m with m within √½ and √2; ln m from s = f/(2 + f), f = m − 1, as in FreeBSD's e_log.c.
    #[inline(always)]
    fn log(self) -> Self {
        let (zero, one, half) = (self.like(T::zero()), self.like(T::one()), self.like(T::of(0.5)));
        let denormal = self.lt(self.like(T::min_positive_value()));
        let [factor, exponent] = T::NORMALISE.map(|x| self.like(x));
        let x = Self::select(denormal, self * factor, self);
        let bias = self.like(T::EXPONENT_BIAS) + Self::select(denormal, exponent, zero);

        let integer = self.like(T::INTEGER);
        let stored = x.shr_words(T::EXPONENT_SHIFT).and_bits(T::EXPONENT_MASK).or_bits(integer);
        let e = stored - integer - bias;
        let m = x.and_bits(T::MANTISSA_MASK).or_bits(one);
        let large = self.like(T::of(std::f64::consts::SQRT_2)).lt(m);
        let m = Self::select(large, m * half, m);
        let e = Self::select(large, e + one, e);

        let f = m - one;
        let s = f / (f + self.like(T::of(2.0)));
        let z = s * s;
        let rest = z * z.polynomial(T::LOG_POLYNOMIAL);
        let half_square = half * f * f;
        let [high, low] = T::LN_2.map(|part| self.like(part));
        let small = s.mul_add(half_square + rest, e * low);
        let log = e.mul_add(high, f - (half_square - small));

        let log = Self::select(self.lt(self.like(T::infinity())), log, self);
        let log = Self::select(self.eq(zero), self.like(T::neg_infinity()), log);
        Self::select(self.lt(zero), self.like(T::nan()), log)
    }

    /// 1/(1 + e⁻ˣ) within 3 ULP, from the exp of −|x|, which does not overflow; NaN of NaN.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = self.like(T::one());
        let exp = self.or_bits(self.like(-T::zero())).exp();
        Self::select(self.lt(self.like(T::zero())), exp, one) / (one + exp)
    }

    /// tanh x within 3 ULP, from t = e^(2|x|) − 1 as t/(t + 2); NaN of NaN.
    #[inline(always)]
    fn tanh(self) -> Self {
        let limit = self.like(T::TANH_ONE);
        let x = self.abs().smaller(limit);
        let (n, exp_m1) = (x + x).reduce_exp();
        let power = n.exp2_integer();
        let t = exp_m1.mul_add(power, power - self.like(T::one()));
        let tanh = t / (t + self.like(T::of(2.0)));
        tanh.or_bits(self.and_bits(-T::zero()))
    }
}

impl<T: Element, R: Registers<T>> Functions<T> for R {}

#[cfg(test)]
mod tests {
    use crate::activation::{exp, log, sigmoid, tanh};
    use crate::{Element, Result};

    type Function<T> = fn(&[T], &mut [T]) -> Result<()>;

    /// The distance from `found` to the exact value, in units in the last place of an f32.
    fn ulps(found: f32, exact: f64) -> f64 {
        let rounded = exact as f32;
        if found == rounded || (found.is_nan() && exact.is_nan()) {
            return 0.0;
        }
        if rounded.is_infinite() && exact.is_finite() {
            // Past the largest f32: as if there were one more power of two.
            return if found == f32::MAX {
                (exact - f64::from(found)) / 2f64.powi(104)
            } else {
                f64::INFINITY
            };
        }
        let exponent = (exact.abs().log2().floor() as i32).clamp(-126, 127);
        (f64::from(found) - exact).abs() / 2f64.powi(exponent - 23)
    }

    /// The largest error over every `stride`th f32, and where.
    fn worst(function: Function<f32>, exact: impl Fn(f64) -> f64, stride: u32) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        let mut bits = (0..=u32::MAX).step_by(stride as usize);
        loop {
            let x: Vec<f32> = bits.by_ref().take(1 << 16).map(f32::from_bits).collect();
            if x.is_empty() {
                return worst;
            }
            let mut y = vec![0.0; x.len()];
            function(&x, &mut y).unwrap();
            for (&x, &y) in x.iter().zip(&y) {
                let error = ulps(y, exact(f64::from(x)));
                assert!(!error.is_nan(), "of {x:e}: {y:e}");
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        }
    }

    fn exact_sigmoid(x: f64) -> f64 {
        let e = (-x.abs()).exp();
        if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
    }

    fn check_f32(stride: u32) {
        let (exp, log) = (worst(exp, f64::exp, stride), worst(log, f64::ln, stride));
        let (sigmoid, tanh) =
            (worst(sigmoid, exact_sigmoid, stride), worst(tanh, f64::tanh, stride));
        println!("exp {exp:?}, log {log:?}, sigmoid {sigmoid:?}, tanh {tanh:?}");
        assert!(exp.0 <= 1.0, "exp: {exp:?}");
        assert!(log.0 <= 1.0, "log: {log:?}");
        assert!(sigmoid.0 <= 3.0, "sigmoid: {sigmoid:?}");
        assert!(tanh.0 <= 3.0, "tanh: {tanh:?}");
    }

    #[test]
    fn f32_functions_are_accurate() {
        check_f32(4099); // prime: every exponent, sign and low bit comes up
    }

    #[test]
    #[ignore = "slow: all 2³² floats, minutes a function"]
    fn f32_functions_are_accurate_everywhere() {
        check_f32(1);
    }

    /// How many f64 further on `b` is, from `a`.
    fn bits_apart(a: f64, b: f64) -> u64 {
        if a == b || (a.is_nan() && b.is_nan()) { 0 } else { a.to_bits().abs_diff(b.to_bits()) }
    }

    #[test]
    fn f64_functions_are_accurate() {
        // The standard library is itself within 1 ULP.
        type Case = (&'static str, Function<f64>, fn(f64) -> f64, u64);
        let functions: [Case; 4] = [
            ("exp", exp, f64::exp, 1),
            ("log", log, f64::ln, 1),
            ("sigmoid", sigmoid, exact_sigmoid, 4),
            ("tanh", tanh, f64::tanh, 4),
        ];
        // All magnitudes, and densely where the functions bend.
        let magnitudes =
            (0..=u64::MAX).step_by(1 << 44).map(|bits| f64::from_bits(bits | bits >> 20));
        let x: Vec<f64> = magnitudes
            .chain((-800_000..800_000).map(|i| f64::from(i) * 1.000_1e-3))
            .chain((0..400_000).map(|i| 0.5 + f64::from(i) * 3.7e-6))
            .collect();
        let mut y = vec![0.0; x.len()];
        for (name, function, exact, bound) in functions {
            function(&x, &mut y).unwrap();
            let mut worst = (0, 0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let error = bits_apart(y, exact(x));
                if error > worst.0 {
                    worst = (error, x, y);
                }
            }
            println!("{name} {worst:?}");
            assert!(worst.0 <= bound, "{name}: {worst:?}");
        }
    }

    fn at<T: Element>(function: Function<T>, x: T) -> T {
        let mut y = [T::zero()];
        function(&[x], &mut y).unwrap();
        y[0]
    }

    #[test]
    fn neighbours_do_not_change_exp() {
        // 1000 sends its register, and the one in turn with it, another way.
        let alone: Vec<f32> = (-7900..7900).map(|i| i as f32 * 0.01).collect();
        let beside: Vec<f32> = alone.iter().flat_map(|&x| [x, 1000.0]).collect();
        let (mut of_alone, mut of_beside) = (vec![0.0; alone.len()], vec![0.0; beside.len()]);
        exp(&alone, &mut of_alone).unwrap();
        exp(&beside, &mut of_beside).unwrap();
        assert!(of_alone.iter().eq(of_beside.iter().step_by(2)));
    }

    fn special_values<T: Element>() {
        let (zero, one, inf) = (T::zero(), T::one(), T::infinity());
        for (function, x, y) in [
            (exp as Function<T>, zero, one),
            (exp, -inf, zero),
            (exp, inf, inf),
            (exp, T::max_value(), inf),
            (exp, T::min_value(), zero),
            (log, zero, -inf),
            (log, -zero, -inf),
            (log, one, zero),
            (log, inf, inf),
            (sigmoid, inf, one),
            (sigmoid, -inf, zero),
            (sigmoid, zero, T::of(0.5)),
            (tanh, inf, one),
            (tanh, -inf, -one),
        ] {
            assert_eq!(at(function, x), y, "{}: of {x}", T::NAME);
        }
        for function in [exp as Function<T>, log, sigmoid, tanh] {
            assert!(at(function, T::nan()).is_nan());
        }
        for x in [-inf, -one, -T::min_positive_value()] {
            assert!(at(log, x).is_nan());
        }
        assert!(at(tanh, -zero).is_sign_negative());
        // The smallest denormal.
        let tiny = T::min_positive_value() * T::epsilon();
        assert_eq!(at(tanh, tiny), tiny);
        assert_eq!(at(tanh, -tiny), -tiny);
        assert_eq!(at(exp, tiny), one);
        assert!((at(log, tiny) / tiny.ln() - one).abs() <= T::epsilon());
    }

    #[test]
    fn special_values_are_as_documented() {
        special_values::<f32>();
        special_values::<f64>();
    }
}
