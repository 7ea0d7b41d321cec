//! The two layers of chapter 5's computational graphs: an addition and a multiplication.

use ndarray::{Array, ArrayView, Dimension};

use crate::{Element, Error, Result};

/// x + y; both gradients are dout's.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddLayer;

impl AddLayer {
    /// The sum of two arrays of one shape.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes differ.
    pub fn forward<T: Element, D: Dimension>(
        &mut self,
        x: ArrayView<'_, T, D>,
        y: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        check_same("AddLayer", &x, &y)?;
        Ok(&x + &y)
    }

    /// The gradients by x and y.
    pub fn backward<T: Element, D: Dimension>(
        &mut self,
        dout: ArrayView<'_, T, D>,
    ) -> (Array<T, D>, Array<T, D>) {
        (dout.to_owned(), dout.to_owned())
    }
}

/// x·y element by element; the gradient by each is dout times the other.
#[derive(Debug, Clone, Default)]
pub struct MulLayer<T, D: Dimension> {
    operands: Option<(Array<T, D>, Array<T, D>)>,
}

impl<T: Element, D: Dimension> MulLayer<T, D> {
    /// The layer, which remembers its operands.
    pub fn new() -> Self {
        Self { operands: None }
    }

    /// The product of two arrays of one shape.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes differ.
    pub fn forward(
        &mut self,
        x: ArrayView<'_, T, D>,
        y: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        check_same("MulLayer", &x, &y)?;
        let (x, y) = self.operands.insert((x.to_owned(), y.to_owned()));
        Ok(&*x * &*y)
    }

    /// The gradients by x and y.
    ///
    /// # Errors
    /// [`Error::NoForward`] before the first forward pass, [`Error::Shape`] where dout has another shape.
    pub fn backward(&mut self, dout: ArrayView<'_, T, D>) -> Result<(Array<T, D>, Array<T, D>)> {
        let (x, y) = self.operands.as_ref().ok_or(Error::NoForward("MulLayer"))?;
        check_same("MulLayer", &x.view(), &dout)?;
        Ok((&dout * y, &dout * x))
    }
}

fn check_same<T, D: Dimension>(
    layer: &'static str,
    x: &ArrayView<'_, T, D>,
    y: &ArrayView<'_, T, D>,
) -> Result<()> {
    if x.shape() == y.shape() {
        return Ok(());
    }
    Err(Error::shape(layer, y.shape(), format!("that of the first operand, {:?}", x.shape())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr0;

    /// Two apples and three oranges with a tax of 10 % (chapter 5, `buy_apple_orange.py`).
    #[test]
    fn apples_and_oranges() {
        let number = |x: f64| arr0(x);
        let (mut apples, mut oranges) = (MulLayer::new(), MulLayer::new());
        let (mut fruit, mut tax) = (AddLayer, MulLayer::new());
        let apple = apples.forward(number(100.0).view(), number(2.0).view()).unwrap();
        let orange = oranges.forward(number(150.0).view(), number(3.0).view()).unwrap();
        let sum = fruit.forward(apple.view(), orange.view()).unwrap();
        let price = tax.forward(sum.view(), number(1.1).view()).unwrap();
        assert!((price.into_scalar() - 715.0).abs() < 1e-9);

        let (dsum, dtax) = tax.backward(number(1.0).view()).unwrap();
        let (dapple, dorange) = fruit.backward(dsum.view());
        let (dorange_price, dorange_count) = oranges.backward(dorange.view()).unwrap();
        let (dapple_price, dapple_count) = apples.backward(dapple.view()).unwrap();
        let gradients = [dapple_count, dapple_price, dorange_price, dorange_count, dtax];
        let expected = [110.0, 2.2, 3.3, 165.0, 650.0];
        for (gradient, expected) in gradients.into_iter().zip(expected) {
            assert!((gradient.into_scalar() - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn shapes_that_differ_are_errors() {
        let (x, y) = (ndarray::arr1(&[1.0f32, 2.0]), ndarray::arr1(&[1.0f32]));
        assert!(AddLayer.forward(x.view(), y.view()).is_err());
        assert!(MulLayer::new().forward(x.view(), y.view()).is_err());
        assert!(MulLayer::<f32, ndarray::Ix1>::new().backward(x.view()).is_err());
    }
}
