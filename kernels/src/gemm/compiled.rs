//! The block kernels of f32 and f64, compiled with this crate.
//!
//! Generic code is compiled by whoever uses it, each time. Behind one generic product stand hundreds of microkernels (by
//! instruction set and tile): minutes for every program, test and benchmark. Here generic code meets functions of
//! fixed types, which are compiled once.

use super::epilogue::General;
use super::macrokernel::Block;
use super::panels::{Gathered, Packed, Strided};
use crate::arch::Arch;
use crate::element::Element;

macro_rules! block_kernels {
    ($($kernel:ident: $left:ident, $right:ident);*) => {
        /// The kernel of each pair of panels. Public only because [`Element`] builds on it; it cannot be reached.
        pub trait BlockKernels: Sized {
            $(
                /// # Safety
                /// As [`Block::compute`].
                unsafe fn $kernel(
                    block: Block<Self, $left<'_, Self>, $right<'_, Self>>,
                    arch: Arch,
                    finish: General<'_, Self>,
                );
            )*
        }

        // In two modules, which the compiler takes for units of work: so it works on both at once.
        mod single {
            use super::*;
            block_kernels!(@of f32: $($kernel: $left, $right);*);
        }
        mod double {
            use super::*;
            block_kernels!(@of f64: $($kernel: $left, $right);*);
        }

        $(impl<T: Element> Block<T, $left<'_, T>, $right<'_, T>> {
            /// Computes the block, on the calling thread.
            ///
            /// # Safety
            /// - The panels must be as deep as `depth` and hold `rows` and `cols`; padded ones rounded up to whole tiles.
            /// - C must be valid for the block, and for this thread alone.
            /// - A bias must hold C's rows, or its columns, rounded up to whole tiles where B's panels are padded.
            pub(crate) unsafe fn compute(self, arch: Arch, finish: General<'_, T>) {
                // SAFETY: the caller's promises.
                unsafe { T::$kernel(self, arch, finish) }
            }
        })*
    };
    (@of $t:ident: $($kernel:ident: $left:ident, $right:ident);*) => {
        impl BlockKernels for $t {
            $(unsafe fn $kernel(
                block: Block<Self, $left<'_, Self>, $right<'_, Self>>,
                arch: Arch,
                finish: General<'_, Self>,
            ) {
                // SAFETY: the caller's promises.
                unsafe { block.compute_generic(arch, finish) }
            })*
        }
    };
}

block_kernels!(
    strided_block: Strided, Strided;
    windows_on_the_left: Gathered, Packed;
    windows_on_the_right: Packed, Gathered
);
