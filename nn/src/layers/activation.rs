//! Relu, Sigmoid and Tanh: element by element, in place where nobody shares the array.

use crate::layers::{Layer, Mode, Operation, check_gradient};
use crate::tensor::{contiguous, elements, elements_mut};
use crate::{Element, Error, Result, Tensor, kernels};
use kernels::activation::{
    relu_backward, relu_in_place, sigmoid_backward, sigmoid_in_place, tanh_backward, tanh_in_place,
};

macro_rules! activation_layer {
    ($(#[$doc:meta])* $layer:ident, $operation:ident, $forward:ident, $backward:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $layer<T: Element> {
            /// The output of the last forward pass: its gradient is a function of it.
            y: Option<Tensor<T>>,
        }

        impl<T: Element> $layer<T> {
            /// The layer; it has no parameters.
            pub fn new() -> Self {
                Self { y: None }
            }
        }

        impl<T: Element> Layer<T> for $layer<T> {
            fn name(&self) -> &'static str {
                stringify!($layer)
            }

            fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
                Ok(input.to_vec())
            }

            fn operation(&self) -> Operation {
                Operation::$operation
            }

            fn forward(&mut self, x: Tensor<T>, _: Mode) -> Result<Tensor<T>> {
                self.y = None; // a share of the last pass's output, perhaps of `x` itself
                let mut y = contiguous(x);
                $forward(elements_mut(&mut y))?;
                self.y = Some(y.clone());
                Ok(y)
            }

            fn backward(&mut self, dout: Tensor<T>) -> Result<Tensor<T>> {
                let y = self.y.as_ref().ok_or(Error::NoForward(stringify!($layer)))?;
                check_gradient(stringify!($layer), dout.shape(), y.shape())?;
                let mut dx = contiguous(dout);
                $backward(elements(y), elements_mut(&mut dx))?;
                Ok(dx)
            }
        }
    };
}

activation_layer!(
    /// max(0, x); NaN passes. Backward: dout where x > 0, else 0 (chapter 5).
    Relu,
    Relu,
    relu_in_place,
    relu_backward
);
activation_layer!(
    /// y = 1/(1 + e⁻ˣ). Backward: dout·y·(1 − y) (chapter 5).
    Sigmoid,
    Sigmoid,
    sigmoid_in_place,
    sigmoid_backward
);
activation_layer!(
    /// y = tanh x. Backward: dout·(1 − y²).
    Tanh,
    Tanh,
    tanh_in_place,
    tanh_backward
);
