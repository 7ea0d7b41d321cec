//! Batch in lanes: convolution, pooling and normalisation for networks whose shapes are known beforehand.
//!
//! A *lane group* is as many samples as a register has lanes, L = [`count`] (8 floats with AVX2). Their activations lie as
//! (channels, height, width, L): one register holds the same element of L samples, so no operation shuffles lanes, and rows
//! of any width are as good as any other. Several groups lie one after another; the lanes of the last one that no sample fills
//! are computed like the others, and their gradient is 0.
//!
//! Weights come in the layout of the layers and are prepared once for all groups; so their gradients, which are taken back once.
//!
//! Predictions, of single samples above all, have [`channels`] in lanes.

mod buffer;
pub mod channels;
mod convolution;
mod correlate;
mod normalization;
mod offsets;
mod pool;
mod pooled;
mod stretch;
mod sum;
mod transpose;
mod weight;
mod winograd;

pub use crate::workspace::with_scratch;
pub use buffer::Buffer;
pub use convolution::Convolution;
pub use normalization::Normalization;
pub use pool::Pooling;
pub use pooled::PooledGradient;
pub use stretch::{Stretches, for_each_stretch};
pub use sum::{add, add_to, sum_stretches};
pub use transpose::{gather, scatter};

use crate::arch::Arch;
use crate::element::Element;
use crate::error::{Error, Result};

/// Samples in a lane group under the instruction set in use.
///
/// # Errors
/// [`Error::InstructionSet`] where `KASOKU_SIMD` names one the machine lacks.
pub fn count<T: Element>() -> Result<usize> {
    Ok(Arch::current()?.lanes::<T>())
}

/// The instruction set in use, which must have the lanes that an operation was planned for.
fn arch_of<T: Element>(op: &'static str, planned: usize) -> Result<Arch> {
    let arch = Arch::current()?;
    let found = arch.lanes::<T>();
    if found == planned {
        return Ok(arch);
    }
    let problem = format!("planned for {planned} lanes, the instruction set in use has {found}");
    Err(Error::Shape { op, problem })
}
