//! One binary, so that the kernels are compiled once for all of it.

mod branches;
mod engine;
mod golden;
mod layers;
mod mnist;
mod networks;
mod trainer;
mod weights;
