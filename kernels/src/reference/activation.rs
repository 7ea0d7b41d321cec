//! Twins of [`mod@crate::activation`].

use crate::element::Element;

fn apply<T: Element>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

fn scale<T: Element>(by: &[T], dx: &mut [T], f: impl Fn(T, T) -> T) {
    for (dx, &by) in dx.iter_mut().zip(by) {
        *dx = f(*dx, by);
    }
}

/// [`crate::activation::relu`] by the definition.
pub fn relu<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, |x| if x <= T::zero() { T::zero() } else { x });
}

/// [`crate::activation::relu_backward`] by the definition.
pub fn relu_backward<T: Element>(y: &[T], dx: &mut [T]) {
    scale(y, dx, |dx, y| if y <= T::zero() { T::zero() } else { dx });
}

/// [`crate::activation::sigmoid`] by the definition, with exp only of what is not positive.
pub fn sigmoid<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, |x| {
        let e = (-x.abs()).exp();
        (if x < T::zero() { e } else { T::one() }) / (T::one() + e)
    });
}

/// [`crate::activation::sigmoid_backward`] by the definition.
pub fn sigmoid_backward<T: Element>(y: &[T], dx: &mut [T]) {
    scale(y, dx, |dx, y| dx * (T::one() - y) * y);
}

/// [`crate::activation::tanh`] by the standard library.
pub fn tanh<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, T::tanh);
}

/// [`crate::activation::tanh_backward`] by the definition.
pub fn tanh_backward<T: Element>(y: &[T], dx: &mut [T]) {
    scale(y, dx, |dx, y| dx * (T::one() - y * y));
}

/// [`crate::activation::step`] by the definition.
pub fn step<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, |x| if x > T::zero() { T::one() } else { T::zero() });
}

/// [`crate::activation::exp`] by the standard library.
pub fn exp<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, T::exp);
}

/// [`crate::activation::exp_backward`] by the definition.
pub fn exp_backward<T: Element>(y: &[T], dx: &mut [T]) {
    scale(y, dx, |dx, y| dx * y);
}

/// [`crate::activation::log`] by the standard library.
pub fn log<T: Element>(x: &[T], y: &mut [T]) {
    apply(x, y, T::ln);
}

/// [`crate::activation::log_backward`] by the definition.
pub fn log_backward<T: Element>(x: &[T], dx: &mut [T]) {
    scale(x, dx, |dx, x| dx / x);
}
