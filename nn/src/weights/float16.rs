//! Numbers of 16 bits: rounding to them, and .npy files of them, which ndarray-npy leaves to its users.

use std::cmp::Ordering;
use std::io::{Read, Write};

use half::f16;
use ndarray_npy::{ReadDataError, ReadableElement, WritableElement, WriteDataError};
use py_literal::Value;

/// The nearest number of 16 bits; of two as near, the even one.
///
/// `f16::from_f64` looks at the upper half of a number alone, and takes what is just above a midpoint for one. By way of an `f32`
/// that is odd where digits were lost nothing is rounded twice: it has more than two bits to spare.
pub(super) fn nearest(x: f64) -> f16 {
    let single = x as f32;
    let wide = f64::from(single);
    if wide == x || !wide.is_finite() {
        return f16::from_f32(single);
    }
    let bits = single.to_bits() - u32::from(wide.abs() > x.abs());
    f16::from_f32(f32::from_bits(bits | 1))
}

/// A number of NumPy's `float16`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half(pub(super) f16);

impl WritableElement for Half {
    fn type_descriptor() -> Value {
        Value::String("<f2".into())
    }

    fn write<W: Write>(&self, mut writer: W) -> Result<(), WriteDataError> {
        Ok(writer.write_all(&self.0.to_le_bytes())?)
    }

    fn write_slice<W: Write>(slice: &[Self], mut writer: W) -> Result<(), WriteDataError> {
        let bytes: Vec<u8> = slice.iter().flat_map(|half| half.0.to_le_bytes()).collect();
        Ok(writer.write_all(&bytes)?)
    }
}

impl ReadableElement for Half {
    fn read_to_end_exact_vec<R: Read>(
        mut reader: R,
        descriptor: &Value,
        len: usize,
    ) -> Result<Vec<Self>, ReadDataError> {
        let from_bytes = match descriptor {
            Value::String(name) if name == "<f2" => f16::from_le_bytes,
            Value::String(name) if name == ">f2" => f16::from_be_bytes,
            _ => return Err(ReadDataError::WrongDescriptor(descriptor.clone())),
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let (numbers, rest) = bytes.as_chunks::<2>();
        match numbers.len().cmp(&len) {
            Ordering::Less => Err(ReadDataError::MissingData),
            Ordering::Greater => Err(ReadDataError::ExtraBytes(bytes.len() - 2 * len)),
            Ordering::Equal if !rest.is_empty() => Err(ReadDataError::ExtraBytes(rest.len())),
            Ordering::Equal => Ok(numbers.iter().map(|&bytes| Self(from_bytes(bytes))).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around every number of 16 bits and every midpoint of two.
    #[test]
    fn the_nearest_is_the_nearest() {
        for bits in 0..f16::MAX.to_bits() {
            let [below, above] = [bits, bits + 1].map(f16::from_bits);
            let [low, high] = [below, above].map(f16::to_f64);
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { below } else { above };
            let next = |x: f64, step: i64| f64::from_bits((x.to_bits() as i64 + step) as u64);
            for (x, expected) in [
                (low, below),
                (next(low, 1), below),
                (next(middle, -1), below),
                (middle, even),
                (next(middle, 1), above),
                (next(high, -1), above),
                (high, above),
            ] {
                assert_eq!(nearest(x), expected, "{x:e}");
                assert_eq!(nearest(-x), -expected, "-{x:e}");
            }
        }
        assert_eq!(nearest(65519.999), f16::MAX);
        assert_eq!(nearest(65520.0), f16::INFINITY);
        assert_eq!(nearest(-1e300), f16::NEG_INFINITY);
        assert!(nearest(f64::NAN).is_nan());
    }
}
