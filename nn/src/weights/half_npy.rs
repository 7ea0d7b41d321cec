//! Numbers of 16 bits in .npy files, which ndarray-npy leaves to its users.

use std::cmp::Ordering;
use std::io::{Read, Write};

use half::f16;
use ndarray_npy::{ReadDataError, ReadableElement, WritableElement, WriteDataError};
use py_literal::Value;

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
