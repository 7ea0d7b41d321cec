//! Networks of f32 and f64, compiled with this crate: in the builds of the tests, programs and examples take them from here
//! instead of compiling them anew (see the kernels' module of this name).

use std::ops::ControlFlow;

use crate::gradient::gradient_check;
use crate::init::WeightInit::He;
use crate::kernels::conv::Window;
use crate::layers::Statistics;
use crate::networks::{
    DeepConvNet, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet, TwoLayerNet,
};
use crate::optimizers::OptimizerKind;
use crate::trainer::Trainer;
use crate::{Element, Result, Tensor, data, weights};

/// Uses every layer, network and optimizer of a type: what makes the compiler compile them.
fn of<T: Element>() -> Result<()> {
    let recipes = [
        TwoLayerNet::build::<T> as *const (),
        MultiLayerNet::build::<T> as *const (),
        MultiLayerNetExtend::build::<T> as *const (),
        SimpleConvNet::build::<T> as *const (),
        DeepConvNet::build::<T> as *const (),
    ];
    std::hint::black_box(recipes);
    let window = Window::new(1, 1);
    let mut network = Sequential::<T>::builder(&[1, 28, 28], 0)
        .convolution(1, window, He)
        .batch_normalization(Statistics::PerChannel)
        .relu()
        .max_pooling(window)
        .average_pooling(window)
        .flatten()
        .affine(1, He)
        .sigmoid()
        .tanh()
        .dropout(0.5)
        .build()?;
    println!("{network} {:?} {}", network.describe()?, network.explain(1)?);

    let digits = data::synthetic_split(1, 1, 0);
    let (images, labels) = (digits.test.images_f::<T>(), digits.test.labels());
    let mut optimizer = OptimizerKind::Sgd.build::<T>(0.1, 0.0);
    let keep_on = |_: &_| ControlFlow::Continue(());
    Trainer::default().train(
        &mut network,
        &digits.train,
        &digits.test,
        &mut *optimizer,
        keep_on,
    )?;
    network.predict(images.view())?;
    network.predict(images.clone())?;
    network.accuracy(images.view(), &labels.to_vec())?;
    let x: Tensor<T> = images.into_dyn().into_shared();
    network.train_step(x.clone(), labels.view(), &mut *optimizer)?;
    gradient_check(&mut network, &x, labels.view())?;
    weights::save(&mut network, "")?;
    weights::load(&mut network, "")
}

/// Never called.
#[doc(hidden)]
pub fn instances() -> Result<()> {
    of::<f32>()?;
    of::<f64>()
}
