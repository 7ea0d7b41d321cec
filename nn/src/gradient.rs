//! Gradients by central differences (chapter 4): slow, and the yardstick of every backward pass.

use ndarray::{Array, Dimension};

use crate::functions::Labels;
use crate::networks::Sequential;
use crate::{Element, Result, Tensor};

/// The step to each side, the book's.
pub const H: f64 = 1e-4;

/// (f(x + h) − f(x − h)) / 2h.
pub fn numerical_diff<T: Element>(f: impl Fn(T) -> T, x: T) -> T {
    let h = T::of(H);
    (f(x + h) - f(x - h)) / (h + h)
}

/// The gradient of `f` at `x`, element by element. `x` is changed for each evaluation and put back, also where `f` fails.
///
/// # Errors
/// The first that `f` gives.
pub fn numerical_gradient<T: Element, D: Dimension>(
    mut f: impl FnMut(&Array<T, D>) -> Result<T>,
    x: &mut Array<T, D>,
) -> Result<Array<T, D>> {
    let h = T::of(H);
    if !x.is_standard_layout() {
        *x = x.as_standard_layout().into_owned();
    }
    let mut gradient = Array::zeros(x.raw_dim());
    for (index, gradient) in gradient.iter_mut().enumerate() {
        let mut value_at = |shift: T| {
            let saved = *element(x, index);
            *element(x, index) = saved + shift;
            let value = f(x);
            *element(x, index) = saved;
            value
        };
        *gradient = (value_at(h)? - value_at(-h)?) / (h + h);
    }
    Ok(gradient)
}

fn element<T, D: Dimension>(x: &mut Array<T, D>, index: usize) -> &mut T {
    &mut x.as_slice_mut().expect("an array in standard layout")[index]
}

/// A point, and the points on the way to it.
pub type Descent<T, D> = (Array<T, D>, Vec<Array<T, D>>);

/// The way of `steps` steps against the gradient: where it ends, and every point before a step.
///
/// # Errors
/// The first that `f` gives.
pub fn gradient_descent<T: Element, D: Dimension>(
    mut f: impl FnMut(&Array<T, D>) -> Result<T>,
    mut x: Array<T, D>,
    lr: T,
    steps: usize,
) -> Result<Descent<T, D>> {
    let mut history = Vec::with_capacity(steps);
    for _ in 0..steps {
        history.push(x.clone());
        let gradient = numerical_gradient(&mut f, &mut x)?;
        x.scaled_add(-lr, &gradient);
    }
    Ok((x, history))
}

/// How far a gradient is from its numerical twin: the largest difference, over the largest element of either.
pub fn relative_error<T: Element, D: Dimension>(a: &Array<T, D>, b: &Array<T, D>) -> f64 {
    let largest = |max: f64, x: &T| max.max(x.as_f64().abs());
    let scale = a.iter().chain(b).fold(f64::MIN_POSITIVE, largest);
    let difference = (a - b).iter().fold(0.0, largest);
    difference / scale
}

/// Compares a network's gradients of a batch with numerical ones: the [`relative_error`] of each parameter, by name.
///
/// # Errors
/// As [`Sequential::gradient`].
pub fn gradient_check<'a, T: Element>(
    network: &mut Sequential<T>,
    x: &Tensor<T>,
    t: impl Into<Labels<'a, T>>,
) -> Result<Vec<(String, f64)>> {
    let t = t.into();
    let numerical = network.numerical_gradient(x.clone(), t.clone())?;
    network.gradient(x.clone(), t)?;
    let ours = network.parameters();
    let errors = ours.into_iter().zip(numerical).map(|((name, parameter), (_, numerical))| {
        (name, relative_error(&parameter.grad, &numerical))
    });
    Ok(errors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, arr1, arr2};

    #[test]
    fn derivatives_of_chapter_4() {
        let f = |x: f64| 0.01 * x * x + 0.1 * x;
        assert!((numerical_diff(f, 5.0) - 0.2).abs() < 1e-9);
        assert!((numerical_diff(f, 10.0) - 0.3).abs() < 1e-9);
        let squares = |x: &Array1<f64>| Ok(x.mapv(|x| x * x).sum());
        let mut x = arr1(&[3.0, 4.0]);
        let gradient = numerical_gradient(squares, &mut x).unwrap();
        assert!((&gradient - &arr1(&[6.0, 8.0])).iter().all(|error| error.abs() < 1e-9));
        assert_eq!(x, arr1(&[3.0, 4.0]), "put back");
        let (end, history) = gradient_descent(squares, arr1(&[-3.0, 4.0]), 0.1, 100).unwrap();
        assert!(end.iter().all(|x| x.abs() < 1e-8));
        assert_eq!(history.len(), 100);
    }

    #[test]
    fn arrays_of_any_layout_and_functions_that_fail() {
        let mut x = arr2(&[[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]]).reversed_axes();
        let weighted = |x: &ndarray::Array2<f64>| Ok(x[[0, 1]] + 10.0 * x[[2, 0]]);
        let gradient = numerical_gradient(weighted, &mut x).unwrap();
        assert!((gradient[[0, 1]] - 1.0).abs() < 1e-9 && (gradient[[2, 0]] - 10.0).abs() < 1e-9);
        let before = x.clone();
        let fails = |_: &ndarray::Array2<f64>| Err(crate::Error::NoForward("test"));
        assert!(numerical_gradient(fails, &mut x).is_err());
        assert_eq!(x, before);
    }
}
