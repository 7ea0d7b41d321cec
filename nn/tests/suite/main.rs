//! One binary, so that the kernels are compiled once for all of it.

mod engine;
mod golden;
mod layers;
mod mnist;
mod networks;
mod random_networks;
mod trainer;
mod weights;
