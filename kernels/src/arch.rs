//! Which instruction set runs: the only place that asks the CPU.
//!
//! Every kernel is a struct with a generic `with_simd`; `Arch::dispatch` runs it with the widest
//! instruction set the machine has. `KASOKU_SIMD=scalar|v3|v4|neon` (or [`select`]) forces one.

use std::env;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use pulp::{Scalar, WithSimd};

use crate::element::Element;
use crate::error::{Error, Result};

/// An instruction set kasoku has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InstructionSet {
    /// One element at a time, on any machine.
    Scalar = 1,
    /// x86-64-v3: AVX2 and FMA, 256-bit registers.
    V3 = 2,
    /// x86-64-v4: AVX-512, 512-bit registers.
    V4 = 3,
    /// AArch64 NEON, 128-bit registers.
    Neon = 4,
}

impl InstructionSet {
    const ALL: [Self; 4] = [Self::Scalar, Self::V3, Self::V4, Self::Neon];

    /// The name `KASOKU_SIMD` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::V3 => "v3",
            Self::V4 => "v4",
            Self::Neon => "neon",
        }
    }

    /// The instruction sets of this machine, narrowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|&set| Arch::new(set).is_some()).collect()
    }

    pub(crate) fn list(sets: &[Self]) -> String {
        sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", ")
    }

    fn unavailable(requested: &str) -> Error {
        Error::InstructionSet { requested: requested.to_owned(), available: Self::available() }
    }

    fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|set| set.name() == name.to_ascii_lowercase() && Arch::new(*set).is_some())
            .ok_or_else(|| Self::unavailable(name))
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What [`select`] chose: an `InstructionSet` as a number, or 0 for the default.
static SELECTED: AtomicU8 = AtomicU8::new(0);

/// Runs every later kernel of this process with `set`; `None` goes back to the default.
///
/// # Errors
/// [`Error::InstructionSet`] where the machine lacks it.
pub fn select(set: Option<InstructionSet>) -> Result<()> {
    if let Some(set) = set
        && Arch::new(set).is_none()
    {
        return Err(InstructionSet::unavailable(set.name()));
    }
    SELECTED.store(set.map_or(0, |set| set as u8), Ordering::Relaxed);
    Ok(())
}

/// The instruction set kernels run with: what [`select`] chose, else `KASOKU_SIMD`, else the widest.
///
/// # Errors
/// [`Error::InstructionSet`] where `KASOKU_SIMD` names one the machine lacks.
pub fn selected() -> Result<InstructionSet> {
    static DEFAULT: OnceLock<Result<InstructionSet>> = OnceLock::new();
    let selected = SELECTED.load(Ordering::Relaxed);
    if let Some(set) = InstructionSet::ALL.into_iter().find(|&set| set as u8 == selected) {
        return Ok(set);
    }
    DEFAULT
        .get_or_init(|| match env::var("KASOKU_SIMD") {
            Ok(name) if !name.is_empty() => InstructionSet::from_name(&name),
            _ => Ok(*InstructionSet::available().last().expect("scalar is always there")),
        })
        .clone()
}

/// A proof that the CPU has an instruction set, and the way to run a kernel with it.
#[doc(hidden)] // public only because `BlockKernels` takes it
#[derive(Debug, Clone, Copy)]
pub enum Arch {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Arch {
    /// The proof for `set`, where the machine has it.
    pub(crate) fn new(set: InstructionSet) -> Option<Self> {
        match set {
            InstructionSet::Scalar => Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::V3 => pulp::x86::V3::try_new().map(Self::V3),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::V4 => pulp::x86::V4::try_new().map(Self::V4),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => pulp::aarch64::Neon::try_new().map(Self::Neon),
            #[allow(unreachable_patterns)] // which sets are left depends on the target
            _ => None,
        }
    }

    /// The proof for [`selected`].
    pub(crate) fn current() -> Result<Self> {
        let set = selected()?;
        Self::new(set).ok_or_else(|| InstructionSet::unavailable(set.name()))
    }

    /// Elements of a register.
    pub(crate) fn lanes<T: Element>(self) -> usize {
        match self {
            Self::Scalar => T::lanes::<Scalar>(),
            #[cfg(target_arch = "x86_64")]
            Self::V3(_) => T::lanes::<pulp::x86::V3>(),
            #[cfg(target_arch = "x86_64")]
            Self::V4(_) => T::lanes::<pulp::x86::V4>(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => T::lanes::<pulp::aarch64::Neon>(),
        }
    }

    /// The instruction set whose registers have 256 bits, where this one's have more.
    pub(crate) fn of_256_bits(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::V4(simd) => Self::V3(*simd),
            other => other,
        }
    }

    /// This, or with registers of 256 bits where rows of `width` elements would not fill one of its own.
    pub(crate) fn for_rows_of<T: Element>(self, width: usize) -> Self {
        if width < self.lanes::<T>() { self.of_256_bits() } else { self }
    }

    /// Runs `kernel`, compiled for this instruction set. Call it once a task, not once an element.
    #[inline]
    pub(crate) fn dispatch<K: WithSimd>(self, kernel: K) -> K::Output {
        use pulp::Simd;
        match self {
            Self::Scalar => Scalar.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::V3(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Self::V4(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => Simd::vectorize(simd, kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_available_and_selectable() {
        assert_eq!(InstructionSet::available()[0], InstructionSet::Scalar);
        assert!(InstructionSet::from_name("Scalar").is_ok());
    }

    #[test]
    fn an_unknown_set_lists_those_there_are() {
        let message = InstructionSet::from_name("avx9").unwrap_err().to_string();
        assert!(message.contains("\"avx9\""), "{message}");
        assert!(message.contains("scalar"), "{message}");
    }

    #[test]
    fn dispatch_runs_every_available_set() {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        for set in InstructionSet::available() {
            let lanes = match set {
                InstructionSet::Scalar => 1,
                InstructionSet::Neon => 4,
                InstructionSet::V3 => 8,
                InstructionSet::V4 => 16,
            };
            assert_eq!(Arch::new(set).unwrap().dispatch(Lanes), lanes);
        }
    }
}
