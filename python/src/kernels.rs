//! `kasoku._core.kernels`: the kernels on NumPy arrays, what `kasoku.kernels` exports.

use kasoku_kernels::conv::{self, ConvGeometry, Window};
use kasoku_kernels::gemm::gemm;
use kasoku_kernels::pool::{average_pool_backward, average_pool_forward};
use kasoku_kernels::softmax::{log_sum_exp_rows, softmax_rows};
use kasoku_kernels::{MatMut, arch, probe, reduce};
use pyo3::prelude::*;

use crate::array::{Float, Input, Precision, Shape, compute, with_float};
use crate::error::{Error, Result};
use crate::functions::{ELEMENTARY_WORK, Function};
use crate::layers::affine::not_aligned;
use crate::layers::convolution::{bias_of, check_gradient, check_window, geometry};
use crate::layers::pooling::{max_pool, max_pool_gradient, output_shape};
use crate::out::Out;
use crate::pair::Pair;

type Object<'py> = Bound<'py, PyAny>;

/// The precision of floats; integers alone count as `float64`.
fn precision(operands: &[&Object<'_>]) -> Result<Precision> {
    Ok(Precision::of(operands)?.unwrap_or(Precision::Double))
}

/// A pooling window; its stride is its size where none is given.
fn pooling_window(size: Pair, stride: Option<Pair>, pad: Pair) -> Window {
    Window { size: size.0, stride: stride.unwrap_or(size).0, pad: pad.0 }
}

fn map<'py>(function: Function, x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
    let precision = precision(&[x])?;
    with_float!(precision, T => {
        let py = x.py();
        let x = Input::<T>::new(x)?;
        let mut out = Out::<T>::new(py, out, x.shape(), precision)?;
        function.compute(py, x.slice()?, out.slice_mut()?)?;
        out.finish()
    })
}

/// The rows along the last axis of x: its other axes, and the length of one.
fn rows<'a, T: Float>(x: &'a Input<'_, T>) -> Result<(&'a [usize], usize)> {
    match x.shape().split_last() {
        Some((&classes @ 1.., outer)) => Ok((outer, classes)),
        _ => Err(Error::value(format!(
            "zero-size array to reduction operation maximum which has no identity: shape {}",
            Shape(x.shape())
        ))),
    }
}

/// a·b, a vector counting as a row on the left and a column on the right.
fn product<'py, T: Float>(
    a: &Object<'py>,
    b: &Object<'py>,
    out: Option<&Object<'py>>,
    precision: Precision,
) -> Result<Object<'py>> {
    let py = a.py();
    let (a, b) = (Input::<T>::strided(a)?, Input::<T>::strided(b)?);
    let (left, right) = (a.row_matrix()?, b.row_matrix()?);
    let right = if b.shape().len() == 1 { right.t() } else { right };
    if left.cols() != right.rows() {
        return Err(not_aligned(a.shape(), a.shape().len() - 1, b.shape(), 0));
    }
    let size = [left.rows(), right.cols()];
    let shape = match (a.shape().len(), b.shape().len()) {
        (1, 1) => &[],
        (1, _) => &size[1..],
        (_, 1) => &size[..1],
        _ => &size[..],
    };
    let mut out = Out::<T>::new(py, out, shape, precision)?;
    let c = MatMut::new(out.slice_mut()?, size)?;
    let work = left.rows() * left.cols() * right.cols();
    compute(py, work, || gemm(T::one(), left, right, T::zero(), c))?;
    out.finish()
}

fn geometry_of(
    input: [usize; 4],
    weight: [usize; 4],
    stride: Pair,
    pad: Pair,
) -> Result<ConvGeometry> {
    let [filters, channels, height, width] = weight;
    if input[1] != channels {
        return Err(not_aligned(&input, 1, &weight, 1));
    }
    let window = Window { size: [height, width], stride: stride.0, pad: pad.0 };
    Ok(ConvGeometry::new(input, filters, window)?)
}

/// The kernels on NumPy arrays: see `kasoku.kernels`.
#[pymodule]
pub(crate) mod kernels {
    use super::*;

    /// Uses `threads` threads from the next kernel on; 0 goes back to the default.
    ///
    /// The default is KASOKU_NUM_THREADS, RAYON_NUM_THREADS or OMP_NUM_THREADS, else one for each CPU. Results do not depend
    /// on it, to the last bit.
    #[pyfunction]
    fn set_num_threads(threads: usize) {
        kasoku_kernels::set_num_threads(threads);
    }

    /// The number of threads kernels may use.
    ///
    /// Raises RuntimeError where KASOKU_NUM_THREADS is not a positive number.
    #[pyfunction]
    fn num_threads() -> Result<usize> {
        Ok(kasoku_kernels::num_threads()?)
    }

    /// The instruction set kernels run with: 'scalar', 'v3' (AVX2 and FMA), 'v4' (AVX-512) or 'neon'.
    ///
    /// The environment variable KASOKU_SIMD forces one. Raises RuntimeError where the machine lacks it.
    #[pyfunction]
    fn instruction_set() -> Result<&'static str> {
        Ok(arch::selected()?.name())
    }

    /// The instruction sets of this machine that kasoku has kernels for, narrowest first.
    #[pyfunction]
    fn instruction_sets() -> Vec<&'static str> {
        arch::InstructionSet::available().iter().map(|set| set.name()).collect()
    }

    /// The most that one core can do now, in floating-point operations a second: multiply-adds in registers, float64 where
    /// `double`. Takes a few milliseconds.
    #[pyfunction]
    fn peak_flops(py: Python<'_>, double: bool) -> Result<f64> {
        compute(py, usize::MAX, || match double {
            true => probe::peak_flops::<f64>(),
            false => probe::peak_flops::<f32>(),
        })
    }

    /// The matrix product a·b.
    ///
    /// a is (M, K) or (K,), b is (K, N) or (K,), of any strides: a transpose or a slice is read where it lies.
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(signature = (a, b, out=None))]
    fn matmul<'py>(
        a: &Object<'py>,
        b: &Object<'py>,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let precision = precision(&[a, b])?;
        with_float!(precision, T => product::<T>(a, b, out, precision))
    }

    /// The convolution of x (N, C, H, W) with w (FN, C, FH, FW): (N, FN, OH, OW), OH = (H + 2·pad − FH)//stride + 1.
    ///
    /// `bias` (FN,) is added and `relu` clips at 0, both in the same pass. stride and pad are integers or pairs (vertical,
    /// horizontal).
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(
        signature = (x, w, bias=None, stride=Pair::ONE, pad=Pair::ZERO, relu=false, out=None),
        text_signature = "(x, w, bias=None, stride=1, pad=0, relu=False, out=None)"
    )]
    fn conv2d<'py>(
        x: &Object<'py>,
        w: &Object<'py>,
        bias: Option<&Object<'py>>,
        stride: Pair,
        pad: Pair,
        relu: bool,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let precision = precision(&[&[x, w][..], bias.as_slice()].concat())?;
        with_float!(precision, T => {
            let py = x.py();
            let (x, w) = (Input::<T>::new(x)?, Input::<T>::new(w)?);
            let geometry = geometry(&x, &w, stride, pad)?;
            let bias = bias_of::<T>(bias, geometry.weight()[0])?;
            let mut out = Out::<T>::new(py, out, &geometry.output(), precision)?;
            let bias = bias.as_ref().map(Input::slice).transpose()?;
            let (x, w, y) = (x.slice()?, w.slice()?, out.slice_mut()?);
            compute(py, geometry.flops() as usize, || {
                conv::forward(&geometry, x, w, bias, relu, y)
            })?;
            out.finish()
        })
    }

    /// dx, the gradient of conv2d by x, from dy (N, FN, OH, OW) and w (FN, C, FH, FW); `input_shape` is x's (N, C, H, W).
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(
        signature = (dy, w, input_shape, stride=Pair::ONE, pad=Pair::ZERO, out=None),
        text_signature = "(dy, w, input_shape, stride=1, pad=0, out=None)"
    )]
    fn conv2d_backward_data<'py>(
        dy: &Object<'py>,
        w: &Object<'py>,
        input_shape: [usize; 4],
        stride: Pair,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let precision = precision(&[dy, w])?;
        with_float!(precision, T => {
            let py = dy.py();
            let (dy, w) = (Input::<T>::new(dy)?, Input::<T>::new(w)?);
            let geometry = geometry_of(input_shape, w.dims("conv2d_backward_data, w")?, stride, pad)?;
            check_gradient(&dy, &geometry.output())?;
            let mut out = Out::<T>::new(py, out, &input_shape, precision)?;
            let (dy, w, dx) = (dy.slice()?, w.slice()?, out.slice_mut()?);
            compute(py, geometry.flops() as usize, || conv::backward_data(&geometry, dy, w, dx))?;
            out.finish()
        })
    }

    /// dw, the gradient of conv2d by w, from x (N, C, H, W) and dy (N, FN, OH, OW); `weight_shape` is w's (FN, C, FH, FW).
    ///
    /// The gradient by the bias is `dy.sum(axis=(0, 2, 3))`.
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(
        signature = (x, dy, weight_shape, stride=Pair::ONE, pad=Pair::ZERO, out=None),
        text_signature = "(x, dy, weight_shape, stride=1, pad=0, out=None)"
    )]
    fn conv2d_backward_weight<'py>(
        x: &Object<'py>,
        dy: &Object<'py>,
        weight_shape: [usize; 4],
        stride: Pair,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let precision = precision(&[x, dy])?;
        with_float!(precision, T => {
            let py = x.py();
            let (x, dy) = (Input::<T>::new(x)?, Input::<T>::new(dy)?);
            let geometry = geometry_of(x.dims("conv2d_backward_weight, x")?, weight_shape, stride, pad)?;
            check_gradient(&dy, &geometry.output())?;
            let mut out = Out::<T>::new(py, out, &weight_shape, precision)?;
            let (x, dy, dw) = (x.slice()?, dy.slice()?, out.slice_mut()?);
            compute(py, geometry.flops() as usize, || {
                conv::backward_weight(&geometry, x, dy, dw, None)
            })?;
            out.finish()
        })
    }

    /// (y, index): the largest element under each window of x (N, C, H, W), and its number in the window (row by row; uint8,
    /// or uint16 and uint32 for windows of more than 256 and 65,536 cells).
    ///
    /// size, stride (by default the size) and pad are integers or pairs. The first of equals wins, NaN wins over numbers,
    /// the padding never wins.
    ///
    /// Raises ValueError where the window does not fit.
    #[pyfunction]
    #[pyo3(
        signature = (x, size, stride=None, pad=Pair::ZERO, out=None),
        text_signature = "(x, size, stride=None, pad=0, out=None)"
    )]
    fn max_pool2d<'py>(
        x: &Object<'py>,
        size: Pair,
        stride: Option<Pair>,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<(Object<'py>, Object<'py>)> {
        max_pool(x, pooling_window(size, stride, pad), precision(&[x])?, out)
    }

    /// dx, the gradient of max_pool2d by x of `input_shape`, from dy and the index that max_pool2d gave.
    ///
    /// Raises ValueError where the shapes do not fit or an index points outside its window.
    #[pyfunction]
    #[pyo3(
        signature = (dy, index, input_shape, size, stride=None, pad=Pair::ZERO, out=None),
        text_signature = "(dy, index, input_shape, size, stride=None, pad=0, out=None)"
    )]
    fn max_pool2d_backward<'py>(
        dy: &Object<'py>,
        index: &Object<'py>,
        input_shape: [usize; 4],
        size: Pair,
        stride: Option<Pair>,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let window = pooling_window(size, stride, pad);
        max_pool_gradient(input_shape, dy, index, window, precision(&[dy])?, out)
    }

    /// The mean under each window of x (N, C, H, W); the padding counts as zeros.
    ///
    /// size, stride (by default the size) and pad are integers or pairs.
    ///
    /// Raises ValueError where the window does not fit.
    #[pyfunction]
    #[pyo3(
        signature = (x, size, stride=None, pad=Pair::ZERO, out=None),
        text_signature = "(x, size, stride=None, pad=0, out=None)"
    )]
    fn avg_pool2d<'py>(
        x: &Object<'py>,
        size: Pair,
        stride: Option<Pair>,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let (window, precision) = (pooling_window(size, stride, pad), precision(&[x])?);
        with_float!(precision, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let input = x.dims("avg_pool2d, x")?;
            let mut out = Out::<T>::new(py, out, &output_shape(input, &window)?, precision)?;
            let (x, y) = (x.slice()?, out.slice_mut()?);
            compute(py, x.len(), || average_pool_forward(input, &window, x, y))?;
            out.finish()
        })
    }

    /// dx, the gradient of avg_pool2d by x of `input_shape`, from dy.
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(
        signature = (dy, input_shape, size, stride=None, pad=Pair::ZERO, out=None),
        text_signature = "(dy, input_shape, size, stride=None, pad=0, out=None)"
    )]
    fn avg_pool2d_backward<'py>(
        dy: &Object<'py>,
        input_shape: [usize; 4],
        size: Pair,
        stride: Option<Pair>,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let (window, precision) = (pooling_window(size, stride, pad), precision(&[dy])?);
        with_float!(precision, T => {
            let py = dy.py();
            let dy = Input::<T>::new(dy)?;
            check_gradient(&dy, &output_shape(input_shape, &window)?)?;
            let mut out = Out::<T>::new(py, out, &input_shape, precision)?;
            let (dy, dx) = (dy.slice()?, out.slice_mut()?);
            compute(py, dx.len(), || average_pool_backward(input_shape, &window, dy, dx))?;
            out.finish()
        })
    }

    /// eˣ over its sum, along the last axis; the maximum is subtracted first.
    ///
    /// Raises ValueError where the last axis is empty.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn softmax<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        let precision = precision(&[x])?;
        with_float!(precision, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let (_, classes) = rows(&x)?;
            let mut out = Out::<T>::new(py, out, x.shape(), precision)?;
            let (x, y) = (x.slice()?, out.slice_mut()?);
            compute(py, ELEMENTARY_WORK * x.len(), || softmax_rows(x, classes, y))?;
            out.finish()
        })
    }

    /// ln softmax(x) along the last axis: x − logsumexp(x), exact where softmax(x) rounds to 0.
    ///
    /// Raises ValueError where the last axis is empty.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn log_softmax<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        let precision = precision(&[x])?;
        with_float!(precision, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let (outer, classes) = rows(&x)?;
            let mut sums = vec![T::default(); outer.iter().product()];
            let mut out = Out::<T>::new(py, out, x.shape(), precision)?;
            let (x, y) = (x.slice()?, out.slice_mut()?);
            compute(py, ELEMENTARY_WORK * x.len(), || {
                log_sum_exp_rows(x, classes, &mut sums)?;
                let rows = x.chunks_exact(classes).zip(y.chunks_exact_mut(classes));
                for ((x, y), &sum) in rows.zip(&sums) {
                    x.iter().zip(y).for_each(|(&x, y)| *y = x - sum);
                }
                Ok(())
            })?;
            out.finish()
        })
    }

    /// ln Σ eˣ along the last axis, without overflow.
    ///
    /// Raises ValueError where the last axis is empty.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn logsumexp<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        let precision = precision(&[x])?;
        with_float!(precision, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let (outer, classes) = rows(&x)?;
            let mut out = Out::<T>::new(py, out, outer, precision)?;
            let (x, y) = (x.slice()?, out.slice_mut()?);
            compute(py, ELEMENTARY_WORK * x.len(), || log_sum_exp_rows(x, classes, y))?;
            out.finish()
        })
    }

    /// The sum of the squares of all elements, in an order that depends on the shape only.
    #[pyfunction]
    fn sum_squares(x: &Object<'_>) -> Result<f64> {
        with_float!(precision(&[x])?, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let x = x.slice()?;
            compute(py, x.len(), || reduce::sum_squares(x)).map(kasoku_kernels::Element::as_f64)
        })
    }

    /// The column matrix of x (N, C, H, W): (N·OH·OW, C·filter_h·filter_w), a row for each window in the order (n, y, x), its
    /// cells in the order (channel, y, x); 0 on the padding.
    ///
    /// Raises ValueError where the window does not fit.
    #[pyfunction]
    #[pyo3(
        signature = (x, filter_h, filter_w, stride=Pair::ONE, pad=Pair::ZERO, out=None),
        text_signature = "(x, filter_h, filter_w, stride=1, pad=0, out=None)"
    )]
    fn im2col<'py>(
        x: &Object<'py>,
        filter_h: usize,
        filter_w: usize,
        stride: Pair,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let window = Window { size: [filter_h, filter_w], stride: stride.0, pad: pad.0 };
        let precision = precision(&[x])?;
        with_float!(precision, T => {
            let py = x.py();
            let x = Input::<T>::new(x)?;
            let input = x.dims("im2col, x")?;
            let mut out = Out::<T>::new(py, out, &check_window(input, &window)?, precision)?;
            let (x, col) = (x.slice()?, out.slice_mut()?);
            compute(py, col.len(), || conv::im2col(input, &window, x, col))?;
            out.finish()
        })
    }

    /// The adjoint of im2col: each element of x, of `input_shape`, is the sum of the cells of col that it was copied to.
    ///
    /// Raises ValueError where the shapes do not fit.
    #[pyfunction]
    #[pyo3(
        signature = (col, input_shape, filter_h, filter_w, stride=Pair::ONE, pad=Pair::ZERO, out=None),
        text_signature = "(col, input_shape, filter_h, filter_w, stride=1, pad=0, out=None)"
    )]
    fn col2im<'py>(
        col: &Object<'py>,
        input_shape: [usize; 4],
        filter_h: usize,
        filter_w: usize,
        stride: Pair,
        pad: Pair,
        out: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        let window = Window { size: [filter_h, filter_w], stride: stride.0, pad: pad.0 };
        let precision = precision(&[col])?;
        with_float!(precision, T => {
            let py = col.py();
            let col = Input::<T>::new(col)?;
            let (found, expected) = (col.shape(), check_window(input_shape, &window)?);
            if found.iter().product::<usize>() != expected[0] * expected[1] {
                return Err(Error::value(format!(
                    "cannot reshape col of shape {} into {}",
                    Shape(found),
                    Shape(&expected)
                )));
            }
            let mut out = Out::<T>::new(py, out, &input_shape, precision)?;
            let (col, x) = (col.slice()?, out.slice_mut()?);
            compute(py, col.len(), || conv::col2im(input_shape, &window, col, x))?;
            out.finish()
        })
    }

    /// max(x, 0); NaN passes.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn relu<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        map(Function::Relu, x, out)
    }

    /// 1/(1 + e⁻ˣ) within 3 ULP, without overflow.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn sigmoid<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        map(Function::Sigmoid, x, out)
    }

    /// tanh x within 3 ULP.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn tanh<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        map(Function::Tanh, x, out)
    }

    /// eˣ within 1 ULP.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn exp<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        map(Function::Exp, x, out)
    }

    /// ln x within 1 ULP; −∞ of 0 and NaN of what is negative.
    #[pyfunction]
    #[pyo3(signature = (x, out=None))]
    fn log<'py>(x: &Object<'py>, out: Option<&Object<'py>>) -> Result<Object<'py>> {
        map(Function::Log, x, out)
    }
}
