//! Twin of [`mod@crate::gemm`].

use crate::element::Element;
use crate::gemm::{Bias, Epilogue};
use crate::view::{MatMut, MatRef};

/// [`crate::gemm::gemm_with`] by the definition: three loops, each sum in the order of k.
pub fn gemm<T: Element>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: &mut MatMut<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    for i in 0..a.rows() {
        for j in 0..b.cols() {
            let mut sum = T::zero();
            for p in 0..a.cols() {
                sum += a.get(i, p) * b.get(p, j);
            }
            let mut value = alpha * sum;
            if beta != T::zero() {
                value += beta * c.view().get(i, j);
            }
            value += match epilogue.bias {
                Bias::None => T::zero(),
                Bias::PerRow(bias) => bias[i],
                Bias::PerColumn(bias) => bias[j],
            };
            if epilogue.relu && value <= T::zero() {
                value = T::zero();
            }
            c.set(i, j, value);
        }
    }
}
