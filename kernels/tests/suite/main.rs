//! One binary, so that the kernels' generic code is compiled once for all of it.

mod activation;
mod batch_norm;
mod channels;
mod common;
mod conv;
mod dropout;
mod gemm;
mod lanes;
mod optimize;
mod pool;
mod reduce;
mod shapes;
mod softmax;
