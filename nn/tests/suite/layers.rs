//! Every layer's backward pass against central differences, and what a layer refuses.

use kasoku_nn::functions::Labels;
use kasoku_nn::gradient::{numerical_gradient, relative_error};
use kasoku_nn::init::WeightRng;
use kasoku_nn::kernels::conv::Window;
use kasoku_nn::layers::{
    Affine, AveragePooling, BatchNormalization, Chain, Concat, Convolution, Dropout, Flatten,
    GlobalAveragePooling, Layer, LocalResponseNormalization, MaxPooling, Mode, Relu, Residual,
    Sigmoid, SoftmaxWithLoss, Statistics, Tanh,
};
use kasoku_nn::ndarray::{ArrayD, Axis, IxDyn, arr1, arr2};
use kasoku_nn::{Error, Tensor};

const TRAIN: Mode = Mode::Train { seed: 7, step: 3 };

fn normal(shape: &[usize], seed: u64) -> ArrayD<f64> {
    WeightRng::new(seed).normal(shape, 1.0)
}

/// Compares dx and every parameter's gradient of Σ dout·forward(x) with central differences.
fn check(layer: &mut dyn Layer<f64>, x_shape: &[usize]) {
    let mut x = normal(x_shape, 1);
    let y = layer.forward(x.clone().into_shared(), TRAIN).unwrap();
    assert_eq!(y.shape()[0], x_shape[0]);
    assert_eq!(y.shape()[1..], layer.output_shape(&x_shape[1..]).unwrap(), "{}", layer.name());
    let dout = normal(y.shape(), 2);
    let dx = layer.backward(dout.clone().into_shared()).unwrap().into_owned();
    let gradients: Vec<_> = layer.parameters().iter().map(|p| p.grad.clone()).collect();

    let value = |layer: &mut dyn Layer<f64>, x: &ArrayD<f64>| {
        Ok((layer.forward(x.clone().into_shared(), TRAIN)? * &dout).sum())
    };
    let numerical = numerical_gradient(|x| value(layer, x), &mut x).unwrap();
    let error = relative_error(&dx, &numerical);
    assert!(error < 1e-6, "{} dx: {error}", layer.name());
    for (index, gradient) in gradients.iter().enumerate() {
        let mut parameter = layer.parameters()[index].value.clone();
        let numerical = numerical_gradient(
            |changed| {
                layer.parameters_mut()[index].value.assign(changed);
                value(layer, &x)
            },
            &mut parameter,
        )
        .unwrap();
        layer.parameters_mut()[index].value.assign(&parameter);
        let error = relative_error(gradient, &numerical);
        assert!(error < 1e-6, "{} parameter {index}: {error}", layer.name());
    }
    // Where the gradient by x is not wanted, those by the parameters are the same.
    layer.forward(x.into_shared(), TRAIN).unwrap();
    layer.backward_parameters(dout.into_shared()).unwrap();
    for (parameter, gradient) in layer.parameters().iter().zip(gradients) {
        assert_eq!(parameter.grad, gradient);
    }
}

#[test]
fn activations() {
    check(&mut Relu::new(), &[5, 7]);
    check(&mut Sigmoid::new(), &[5, 7]);
    check(&mut Tanh::new(), &[2, 3, 4, 5]);
    check(&mut Flatten::new(), &[2, 3, 4, 5]);
}

#[test]
fn affine() {
    let mut layer = Affine::new(normal(&[12, 5], 3), normal(&[5], 4)).unwrap();
    check(&mut layer, &[4, 12]);
    check(&mut layer, &[3, 2, 3, 2]);
    check(&mut layer, &[1, 12]);
}

#[test]
fn convolution() {
    for (filter, stride, pad) in [([3, 3], 1, 1), ([2, 3], 2, 0), ([5, 1], 1, 2), ([1, 1], 1, 0)] {
        let window = Window::new(filter[0], filter[1]).stride(stride).pad(pad);
        let w = normal(&[4, 2, filter[0], filter[1]], 3);
        check(&mut Convolution::new(w, normal(&[4], 4), window).unwrap(), &[3, 2, 7, 6]);
    }
}

#[test]
fn pooling() {
    let windows = [
        Window::new(2, 2).stride(2),
        Window::new(3, 2).stride(1),
        Window::new(2, 2).stride(3),
        Window::new(3, 3).stride(2).pad(1),
    ];
    for window in windows {
        check(&mut MaxPooling::new(window), &[2, 3, 7, 6]);
        check(&mut AveragePooling::new(window), &[2, 3, 7, 6]);
    }
}

#[test]
fn batch_normalization() {
    check(&mut BatchNormalization::new(6, Statistics::PerFeature, 0.9), &[5, 6]);
    check(&mut BatchNormalization::new(24, Statistics::PerFeature, 0.9), &[5, 2, 3, 4]);
    check(&mut BatchNormalization::new(2, Statistics::PerChannel, 0.9), &[5, 2, 3, 4]);
}

#[test]
fn batch_normalization_tests_with_running_statistics() {
    let mut layer = BatchNormalization::new(3, Statistics::PerFeature, 0.9);
    let x = normal(&[50, 3], 1);
    for _ in 0..200 {
        layer.forward(x.clone().into_shared(), TRAIN).unwrap();
    }
    let y = layer.forward(x.clone().into_shared(), Mode::Test).unwrap();
    let mean = x.mean_axis(Axis(0)).unwrap();
    let std = x.std_axis(Axis(0), 0.0);
    let expected = (x - mean) / std;
    assert!((&y - &expected).iter().all(|error| error.abs() < 1e-5));
}

#[test]
fn dropout() {
    let mut layer = Dropout::new(0.3, 0).unwrap();
    check(&mut layer, &[5, 8]);
    let x = Tensor::<f64>::from_elem(IxDyn(&[100, 100]), 2.0);
    let y = layer.forward(x.clone(), TRAIN).unwrap();
    assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
    let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / 10_000.0;
    assert!((kept - 0.7).abs() < 0.02, "{kept}");
    assert_eq!(layer.forward(x.clone(), TRAIN).unwrap(), y, "the same step, the same mask");
    let next = layer.forward(x.clone(), Mode::Train { seed: 7, step: 4 }).unwrap();
    assert_ne!(next, y);
    let test = layer.forward(x, Mode::Test).unwrap();
    assert!(test.iter().all(|&y| (y - 1.4).abs() < 1e-12));
    assert!(Dropout::new(1.5, 0).unwrap_err().to_string().contains("1.5"));
}

#[test]
fn global_average_pooling() {
    let mut layer = GlobalAveragePooling::new();
    check(&mut layer, &[2, 3, 4, 5]);
    let x = normal(&[2, 3, 4, 5], 1);
    let expected = x.mean_axis(Axis(3)).unwrap().mean_axis(Axis(2)).unwrap();
    let y = layer.forward(x.into_shared(), TRAIN).unwrap();
    assert!((&y - &expected).iter().all(|error| error.abs() < 1e-14));
}

/// The formula as the paper writes it.
fn response_normalized(x: &ArrayD<f64>, n: usize, [k, alpha, beta]: [f64; 3]) -> ArrayD<f64> {
    let channels = x.shape()[1];
    ArrayD::from_shape_fn(x.raw_dim(), |at| {
        let [sample, i, row, column] = [at[0], at[1], at[2], at[3]];
        let around = i.saturating_sub(n / 2)..=(i + n / 2).min(channels - 1);
        let sum: f64 = around.map(|j| x[[sample, j, row, column]].powi(2)).sum();
        x[&at] / (k + alpha * sum).powf(beta)
    })
}

#[test]
fn local_response_normalization() {
    let numbers =
        [(5, [2.0, 1e-4, 0.75]), (3, [1.0, 0.8, 0.75]), (1, [0.5, 0.3, 1.5]), (7, [1.0, 2.0, 0.0])];
    for (n, [k, alpha, beta]) in numbers {
        let mut layer = LocalResponseNormalization::new(n, k, alpha, beta).unwrap();
        for channels in [1, 2, 6] {
            let shape = [2, channels, 3, 4];
            check(&mut layer, &shape);
            let x = normal(&shape, 1);
            let y = layer.forward(x.clone().into_shared(), TRAIN).unwrap();
            let expected = response_normalized(&x, n, [k, alpha, beta]);
            assert!((&y - &expected).iter().all(|error| error.abs() < 1e-14), "n = {n}");
        }
    }
}

fn chain(layers: Vec<Box<dyn Layer<f64>>>) -> Chain<f64> {
    Chain::new(layers)
}

fn convolution_of(
    filters: usize,
    channels: usize,
    size: usize,
    seed: u64,
) -> Box<Convolution<f64>> {
    let (w, b) = (normal(&[filters, channels, size, size], seed), normal(&[filters], seed + 1));
    let window = Window::new(size, size).pad(size / 2);
    Box::new(Convolution::new(w, b, window).unwrap())
}

fn batch_norm_of(channels: usize) -> Box<BatchNormalization<f64>> {
    Box::new(BatchNormalization::new(channels, Statistics::PerChannel, 0.9))
}

#[test]
fn residual() {
    let none = || chain(Vec::new());
    let body = || {
        chain(vec![
            convolution_of(2, 2, 3, 3),
            Box::new(Sigmoid::new()),
            batch_norm_of(2),
            convolution_of(2, 2, 1, 5),
        ])
    };
    check(&mut Residual::new(body(), none()), &[3, 2, 4, 5]);
    let wider = chain(vec![convolution_of(5, 2, 3, 7), Box::new(Tanh::new())]);
    let shortcut = chain(vec![convolution_of(5, 2, 1, 9)]);
    check(&mut Residual::new(wider, shortcut), &[3, 2, 4, 5]);
    // One in another, the body ending with a layer that keeps its output, and a body without parameters.
    let inner: Vec<Box<dyn Layer<f64>>> =
        vec![Box::new(Residual::new(body(), none())), Box::new(Tanh::new())];
    check(&mut Residual::new(chain(inner), none()), &[2, 2, 4, 3]);
    check(&mut Residual::new(chain(vec![Box::new(Tanh::new())]), none()), &[2, 7]);
    let doubled = Residual::new(none(), none()).forward(normal(&[2, 3], 1).into_shared(), TRAIN);
    assert_eq!(doubled.unwrap(), normal(&[2, 3], 1) * 2.0);
}

#[test]
fn concat() {
    let branches = || {
        vec![
            chain(vec![convolution_of(2, 3, 1, 3)]),
            chain(vec![
                convolution_of(2, 3, 1, 5),
                Box::new(Sigmoid::new()),
                convolution_of(4, 2, 3, 7),
            ]),
            chain(vec![
                Box::new(MaxPooling::new(Window::new(3, 3).pad(1))),
                convolution_of(1, 3, 1, 9),
            ]),
            chain(Vec::new()),
        ]
    };
    let mut layer = Concat::new(branches()).unwrap();
    check(&mut layer, &[2, 3, 4, 5]);
    assert_eq!(layer.parameters().len(), 8);
    let x = normal(&[2, 3, 4, 5], 1).into_shared();
    let y = layer.forward(x.clone(), TRAIN).unwrap();
    assert_eq!(y.shape(), [2, 10, 4, 5]);
    let mut start = 0;
    for mut branch in branches() {
        let part = branch.forward(x.clone(), TRAIN).unwrap();
        let end = start + part.shape()[1];
        assert_eq!(y.slice_axis(Axis(1), (start..end).into()), part);
        start = end;
    }
    let vectors = vec![
        chain(vec![Box::new(Affine::new(normal(&[6, 4], 3), normal(&[4], 4)).unwrap())]),
        chain(vec![Box::new(Tanh::new())]),
    ];
    check(&mut Concat::new(vectors).unwrap(), &[3, 6]);
}

#[test]
fn what_does_not_fit_in_containers_is_an_error_that_says_what_does() {
    let none = || chain(Vec::new());
    let dout = || Tensor::<f64>::zeros(IxDyn(&[2, 2, 5, 5]));
    let mut residual = Residual::new(chain(vec![convolution_of(3, 2, 3, 3)]), none());
    assert!(matches!(residual.backward(dout()), Err(Error::NoForward("Residual"))));
    let messages = [
        residual.output_shape(&[2, 5, 5]).unwrap_err().to_string(),
        residual.forward(dout(), TRAIN).unwrap_err().to_string(),
    ];
    for (message, shapes) in
        messages.iter().zip([["[3, 5, 5]", "[2, 5, 5]"], ["[2, 3, 5, 5]", "[2, 2, 5, 5]"]])
    {
        assert!(shapes.iter().all(|shape| message.contains(shape)), "{message}");
    }
    let strided = MaxPooling::new(Window::new(2, 2).stride(2));
    let mut concat = Concat::new(vec![none(), chain(vec![Box::new(strided)])]).unwrap();
    assert!(matches!(concat.backward(dout()), Err(Error::NoForward("Concat"))));
    let message = concat.forward(dout(), TRAIN).unwrap_err().to_string();
    assert!(message.contains("[2, 2, 2, 2]") && message.contains("[2, 2, 5, 5]"), "{message}");
    assert!(concat.output_shape(&[2, 5, 5]).is_err());
    let mut twice = Concat::new(vec![none(), none()]).unwrap();
    twice.forward(dout(), TRAIN).unwrap();
    let message = twice.backward(dout()).unwrap_err().to_string();
    assert!(message.contains("[2, 4, 5, 5]"), "{message}");
    assert!(Concat::<f64>::new(Vec::new()).unwrap_err().to_string().contains("at least one"));

    let mut pooling = GlobalAveragePooling::new();
    assert!(pooling.backward(dout()).is_err());
    assert!(pooling.forward(Tensor::<f64>::zeros(IxDyn(&[2, 3])), TRAIN).is_err());
    assert!(pooling.forward(Tensor::<f64>::zeros(IxDyn(&[2, 3, 0, 4])), TRAIN).is_err());
    let refused = |n, k, alpha, beta| {
        LocalResponseNormalization::<f64>::new(n, k, alpha, beta).unwrap_err().to_string()
    };
    assert!(refused(4, 2.0, 1e-4, 0.75).starts_with("n is 4, expected an odd"));
    assert!(refused(5, 0.0, 1e-4, 0.75).starts_with("k is 0"));
    assert!(refused(5, 2.0, f64::NAN, 0.75).starts_with("alpha is NaN"));
    assert!(refused(5, 2.0, 1e-4, -1.0).starts_with("beta is -1"));
    let mut normalization = LocalResponseNormalization::<f64>::alex_net();
    assert!(normalization.backward(dout()).is_err());
    assert!(normalization.forward(Tensor::zeros(IxDyn(&[2, 3])), TRAIN).is_err());
}

#[test]
fn softmax_with_loss() {
    let mut layer = SoftmaxWithLoss::new();
    let labels = arr1(&[2usize, 0]);
    let t = Labels::from(labels.view());
    let mut x = normal(&[2, 3], 1);
    layer.forward(x.clone().into_shared(), &t).unwrap();
    let dx = layer.backward(&t).unwrap().into_owned();
    let numerical =
        numerical_gradient(|x| layer.forward(x.clone().into_shared(), &t), &mut x).unwrap();
    // The book's gradient is that of the loss without the 1e-7 in its logarithm.
    assert!(relative_error(&dx, &numerical) < 1e-5);
}

/// Strided, reversed and broadcast inputs give what their copies give.
#[test]
fn any_layout() {
    let mut layer = Affine::new(normal(&[6, 4], 3), normal(&[4], 4)).unwrap();
    let mut transposed = normal(&[6, 5], 1).into_shared().reversed_axes();
    transposed.invert_axis(Axis(0));
    let copy = transposed.as_standard_layout().into_owned().into_shared();
    let expected = layer.forward(copy, TRAIN).unwrap();
    assert_eq!(layer.forward(transposed, TRAIN).unwrap(), expected);
    let dout = normal(&[4, 5], 2).into_shared().reversed_axes();
    let copy = dout.as_standard_layout().into_owned().into_shared();
    let expected = layer.backward(copy).unwrap();
    assert_eq!(layer.backward(dout).unwrap(), expected);
}

#[test]
fn no_samples() {
    let mut affine = Affine::new(normal(&[6, 4], 3), normal(&[4], 4)).unwrap();
    let window = Window::new(3, 3);
    let mut convolution =
        Convolution::new(normal(&[4, 2, 3, 3], 3), normal(&[4], 4), window).unwrap();
    let residual = Residual::new(chain(vec![convolution_of(2, 2, 3, 3)]), chain(Vec::new()));
    let mut concat = Concat::new(vec![chain(vec![Box::new(residual)]), chain(Vec::new())]).unwrap();
    let layers: [(&mut dyn Layer<f64>, &[usize]); 6] = [
        (&mut concat, &[0, 2, 5, 5]),
        (&mut GlobalAveragePooling::new(), &[0, 2, 5, 5]),
        (&mut LocalResponseNormalization::alex_net(), &[0, 2, 5, 5]),
        (&mut affine, &[0, 6]),
        (&mut convolution, &[0, 2, 5, 5]),
        (&mut MaxPooling::new(window), &[0, 2, 5, 5]),
    ];
    for (layer, shape) in layers {
        let y = layer.forward(Tensor::zeros(IxDyn(shape)), TRAIN).unwrap();
        assert_eq!(y.len(), 0);
        assert_eq!(layer.backward(y).unwrap().shape(), shape);
        assert!(layer.parameters().iter().all(|p| p.grad.iter().all(|&g| g == 0.0)));
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what_does() {
    let mut affine = Affine::new(normal(&[6, 4], 3), normal(&[4], 4)).unwrap();
    let dout = || Tensor::<f64>::zeros(IxDyn(&[2, 4]));
    assert!(matches!(affine.backward(dout()), Err(Error::NoForward("Affine"))));
    let message = affine.forward(Tensor::zeros(IxDyn(&[2, 7])), TRAIN).unwrap_err().to_string();
    assert!(message.contains("[7]") && message.contains("6 inputs"), "{message}");
    affine.forward(Tensor::zeros(IxDyn(&[3, 6])), TRAIN).unwrap();
    let message = affine.backward(dout()).unwrap_err().to_string();
    assert!(message.contains("[2, 4]") && message.contains("[3, 4]"), "{message}");

    assert!(Affine::new(normal(&[6, 4], 3), normal(&[5], 4)).is_err());
    assert!(Affine::new(normal(&[6], 3), normal(&[6], 4)).is_err());
    let filters = normal(&[4, 2, 3, 3], 3);
    assert!(Convolution::new(filters.clone(), normal(&[3], 4), Window::new(3, 3)).is_err());
    assert!(Convolution::new(filters.clone(), normal(&[4], 4), Window::new(2, 3)).is_err());
    let mut convolution = Convolution::new(filters, normal(&[4], 4), Window::new(3, 3)).unwrap();
    assert!(convolution.forward(Tensor::zeros(IxDyn(&[1, 3, 5, 5])), TRAIN).is_err());
    assert!(convolution.forward(Tensor::zeros(IxDyn(&[1, 2, 2, 5])), TRAIN).is_err());
    assert!(convolution.forward(Tensor::zeros(IxDyn(&[18])), TRAIN).is_err());

    let mut softmax = SoftmaxWithLoss::<f64>::new();
    let labels = arr1(&[0usize, 3]);
    let scores = arr2(&[[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]).into_dyn().into_shared();
    let message = softmax.forward(scores, &labels.view().into()).unwrap_err().to_string();
    assert!(message.contains('3'), "{message}");
}
