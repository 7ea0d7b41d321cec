//! The kernels of f32 and f64, compiled with this crate.
//!
//! Generic code is compiled by whoever uses it, each program, test and benchmark anew; here minutes of it, for every instruction
//! set. An instance that an upstream crate holds is taken from there, in builds optimised up to level 1 (rustc's
//! `share-generics`): in those of the tests, for which alone this module is.

use crate::lanes::{Convolution, Pooling, channels};
use crate::{
    activation, batch_norm, conv, dropout, gemm, lanes, mask, optimize, pool, reduce, softmax,
};

macro_rules! instances {
    ($t:ident: $($function:expr),* $(,)?) => {
        /// The addresses of all kernels of a type: what makes the compiler compile them.
        fn of<$t: crate::Element>() {
            $(std::hint::black_box($function as *const ());)*
        }
    };
}

instances!(T:
    activation::relu::<T>,
    activation::relu_in_place::<T>,
    activation::relu_backward::<T>,
    activation::sigmoid::<T>,
    activation::sigmoid_in_place::<T>,
    activation::sigmoid_backward::<T>,
    activation::tanh::<T>,
    activation::tanh_in_place::<T>,
    activation::tanh_backward::<T>,
    activation::step::<T>,
    activation::exp::<T>,
    activation::exp_in_place::<T>,
    activation::exp_backward::<T>,
    activation::log::<T>,
    activation::log_in_place::<T>,
    activation::log_backward::<T>,
    batch_norm::batch_norm_forward::<T>,
    batch_norm::batch_norm_inference::<T>,
    batch_norm::batch_norm_backward::<T>,
    batch_norm::parts::moments::<T>,
    batch_norm::parts::forward::<T>,
    batch_norm::parts::gradients::<T>,
    batch_norm::parts::backward::<T>,
    conv::forward::<T>,
    conv::backward::<T>,
    conv::backward_data::<T>,
    conv::backward_weight::<T>,
    conv::im2col::<T>,
    conv::col2im::<T>,
    dropout::dropout::<T>,
    dropout::dropout_in_place::<T>,
    dropout::dropout_part::<T>,
    gemm::gemm::<T>,
    gemm::gemm_with::<T>,
    gemm::gemm_packed_a::<T>,
    gemm::gemm_packed_b::<T>,
    lanes::gather::<T>,
    lanes::scatter::<T>,
    lanes::sum_stretches::<T>,
    Convolution::forward_filters::<T>,
    Convolution::backward_filters::<T>,
    Convolution::forward::<T>,
    Convolution::backward_data::<T>,
    Convolution::add_weight_gradient::<T>,
    channels::Convolution::prepare::<T>,
    channels::Convolution::forward::<T>,
    channels::gather::<T>,
    channels::scatter::<T>,
    Pooling::max_forward::<T>,
    Pooling::max::<T>,
    Pooling::max_backward::<T>,
    Pooling::average_forward::<T>,
    Pooling::average_backward::<T>,
    mask::relu::<T>,
    mask::clear::<T>,
    mask::multiply::<T>,
    optimize::Sgd::<T>::update,
    optimize::Momentum::<T>::update,
    optimize::Nesterov::<T>::update,
    optimize::AdaGrad::<T>::update,
    optimize::RmsProp::<T>::update,
    optimize::AdaDelta::<T>::update,
    optimize::Adam::<T>::update,
    optimize::AdamW::<T>::update,
    pool::max_pool_forward::<T, u8>,
    pool::max_pool_backward::<T, u8>,
    pool::max_pool_forward::<T, u32>,
    pool::max_pool_backward::<T, u32>,
    pool::average_pool_forward::<T>,
    pool::average_pool_backward::<T>,
    reduce::sum::<T>,
    reduce::sum_squares::<T>,
    reduce::sum_axis::<T>,
    reduce::argmax_rows::<T>,
    reduce::accuracy::<T>,
    softmax::softmax_rows::<T>,
    softmax::log_sum_exp_rows::<T>,
    softmax::cross_entropy::<T>,
    softmax::softmax_cross_entropy::<T>,
    softmax::softmax_cross_entropy_backward::<T>,
);

/// Never called.
#[doc(hidden)]
pub fn instances() {
    of::<f32>();
    of::<f64>();
}
