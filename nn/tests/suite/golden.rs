//! Every op, layer, optimizer and small network against numbers of an independent NumPy implementation of the book, in f64 within 1e-10.

use std::fs::File;
use std::path::PathBuf;

use kasoku_nn::functions::{self, Labels};
use kasoku_nn::init::WeightInit;
use kasoku_nn::kernels::conv::{self, Window};
use kasoku_nn::layers::{
    Affine, BatchNormalization, Convolution, Layer, MaxPooling, Mode, Parameter, Relu, Role,
    Sigmoid, SoftmaxWithLoss, Statistics,
};
use kasoku_nn::ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};
use kasoku_nn::networks::{
    Activation, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet,
};
use kasoku_nn::optimizers::OptimizerKind;
use kasoku_nn::{Tensor, gradient};
use ndarray_npy::NpzReader;

/// The learning rate of the optimizers' cases.
const GOLDEN_LR: f64 = 0.1;

const TRAIN: Mode = Mode::Train { seed: 1, step: 0 };

/// One file of cases.
struct Golden {
    name: String,
    file: NpzReader<File>,
}

impl Golden {
    fn open(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let file = File::open(folder.join(format!("{name}.npz"))).expect("a golden case");
        Self { name: name.to_owned(), file: NpzReader::new(file).unwrap() }
    }

    fn array(&mut self, key: &str) -> ArrayD<f64> {
        self.file.by_name(key).unwrap_or_else(|error| panic!("{} {key}: {error}", self.name))
    }

    fn tensor(&mut self, key: &str) -> Tensor<f64> {
        self.array(key).into_shared()
    }

    fn matrix(&mut self, key: &str) -> Array2<f64> {
        self.array(key).into_dimensionality::<Ix2>().unwrap()
    }

    fn integers(&mut self, key: &str) -> Vec<usize> {
        let integers: ArrayD<i64> = self.file.by_name(key).unwrap();
        integers.iter().map(|&x| usize::try_from(x).unwrap()).collect()
    }

    fn integer(&mut self, key: &str) -> usize {
        self.integers(key)[0]
    }

    /// Asserts that `found` is the array `key`, within 1e-10 of its largest element, or 1e-15 where all are rounding errors of
    /// 0 (the gradient of a bias that is then normalised away).
    fn check<'a>(&mut self, key: &str, found: impl IntoIterator<Item = &'a f64>) {
        let expected = self.array(key);
        let scale = expected.iter().fold(1e-5f64, |max, x| max.max(x.abs()));
        let found: Vec<f64> = found.into_iter().copied().collect();
        assert_eq!(found.len(), expected.len(), "{} {key}", self.name);
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs() / scale;
            assert!(error <= 1e-10, "{} {key}: {found}, expected {expected}", self.name);
        }
    }

    fn check_number(&mut self, key: &str, found: f64) {
        self.check(key, &[found]);
    }
}

/// Runs a layer both ways and compares y, dx and the parameters' gradients.
fn check_layer(case: &mut Golden, layer: &mut dyn Layer<f64>, gradients: &[&str]) {
    let (x, dout) = (case.tensor("x"), case.tensor("dout"));
    let y = layer.forward(x.clone(), TRAIN).unwrap();
    assert_eq!(y.shape(), dout.shape());
    case.check("out", &y);
    let dx = layer.backward(dout).unwrap();
    assert_eq!(dx.shape(), x.shape());
    case.check("dx", &dx);
    assert_eq!(layer.parameters().len(), gradients.len());
    for (parameter, key) in layer.parameters().into_iter().zip(gradients) {
        case.check(key, &parameter.grad);
    }
}

#[test]
fn affine() {
    for number in 0..3 {
        let mut case = Golden::open(&format!("affine_{number}"));
        let mut layer = Affine::new(case.array("W"), case.array("b")).unwrap();
        check_layer(&mut case, &mut layer, &["dW", "db"]);
    }
}

#[test]
fn convolution() {
    for number in 0..7 {
        let mut case = Golden::open(&format!("convolution_{number}"));
        let (w, b) = (case.array("W"), case.array("b"));
        let (stride, pad) = (case.integer("stride"), case.integer("pad"));
        let window = Window::new(w.shape()[2], w.shape()[3]).stride(stride).pad(pad);
        let mut layer = Convolution::new(w, b, window).unwrap();
        check_layer(&mut case, &mut layer, &["dW", "db"]);
    }
}

#[test]
fn pooling() {
    for number in 0..5 {
        let mut case = Golden::open(&format!("pooling_{number}"));
        let window = Window::new(case.integer("pool_h"), case.integer("pool_w"));
        let mut layer = MaxPooling::new(window.stride(case.integer("stride")));
        check_layer(&mut case, &mut layer, &[]);
    }
}

#[test]
fn activations() {
    check_layer(&mut Golden::open("relu_layer"), &mut Relu::new(), &[]);
    check_layer(&mut Golden::open("sigmoid_layer"), &mut Sigmoid::new(), &[]);
}

#[test]
fn batch_normalization() {
    for number in 0..2 {
        let mut case = Golden::open(&format!("batch_normalization_{number}"));
        let features = case.array("gamma").len();
        let mut layer = BatchNormalization::new(features, Statistics::PerFeature, 0.9);
        for (parameter, key) in layer.parameters_mut().into_iter().zip(["gamma", "beta"]) {
            parameter.value = case.array(key);
        }
        let mut y = None;
        for key in ["x0", "x1", "x2"] {
            y = Some(layer.forward(case.tensor(key), TRAIN).unwrap());
        }
        case.check("out", &y.unwrap());
        let dx = layer.backward(case.tensor("dout")).unwrap();
        case.check("dx", &dx);
        for (parameter, key) in layer.parameters().into_iter().zip(["dgamma", "dbeta"]) {
            case.check(key, &parameter.grad);
        }
        for (name, value) in layer.state() {
            if name.starts_with("running") {
                case.check(name, &*value);
            }
        }
        let y = layer.forward(case.tensor("x0"), Mode::Test).unwrap();
        case.check("out_eval_x0", &y);
    }
}

#[test]
fn softmax_with_loss() {
    let mut case = Golden::open("softmax_with_loss");
    let labels = Array1::from_vec(case.integers("labels"));
    let mut one_hot = Array2::zeros([labels.len(), case.array("x").shape()[1]]);
    for (row, &label) in labels.iter().enumerate() {
        one_hot[[row, label]] = 1.0;
    }
    for (t, loss, dx) in [
        (Labels::from(labels.view()), "loss", "dx"),
        (Labels::from(one_hot.view()), "loss_one_hot", "dx_one_hot"),
    ] {
        let mut layer = SoftmaxWithLoss::new();
        let x = case.tensor("x");
        case.check_number(loss, layer.forward(x, &t).unwrap());
        case.check("y", layer.y().unwrap());
        case.check(dx, &layer.backward(&t).unwrap());
    }
}

#[test]
fn functions_of_chapters_3_and_4() {
    let mut case = Golden::open("functions");
    let x = case.matrix("x");
    case.check("sigmoid", &functions::sigmoid(x.view()).unwrap());
    case.check("sigmoid_grad", &functions::sigmoid_grad(x.view()).unwrap());
    case.check("relu", &functions::relu(x.view()).unwrap());
    case.check("relu_grad", &functions::relu_grad(x.view()));
    let y = functions::softmax(x.view()).unwrap();
    case.check("softmax", &y);
    let first_row: Array1<f64> = x.row(0).to_owned();
    case.check("softmax_1d", &functions::softmax(first_row.view()).unwrap());
    let step = functions::step_function(x.view()).unwrap();
    let expected = case.integers("step_function");
    assert!(step.iter().zip(expected).all(|(&step, expected)| step == expected as f64));

    let labels = Array1::from_vec(case.integers("labels"));
    let one_hot = case.matrix("one_hot");
    let loss = functions::cross_entropy_error(y.view(), labels.view()).unwrap();
    case.check_number("cross_entropy_labels", loss);
    let loss = functions::cross_entropy_error(y.view(), one_hot.view()).unwrap();
    case.check_number("cross_entropy_one_hot", loss);
    let loss = functions::sum_squared_error(y.view(), one_hot.view()).unwrap();
    case.check_number("sum_squared_error", loss);
    let loss = functions::softmax_loss(x.view(), labels.view()).unwrap();
    case.check_number("softmax_loss", loss);
}

#[test]
fn column_matrices() {
    for number in 0..5 {
        let mut case = Golden::open(&format!("im2col_{number}"));
        let x = case.array("x");
        let input: [usize; 4] = x.shape().try_into().unwrap();
        let window = Window::new(case.integer("filter_h"), case.integer("filter_w"));
        let window = window.stride(case.integer("stride")).pad(case.integer("pad"));
        let mut col = vec![0.0; case.array("col").len()];
        conv::im2col(input, &window, x.as_slice().unwrap(), &mut col).unwrap();
        case.check("col", &col);
        let mut dx = vec![0.0; x.len()];
        let dcol = case.array("dcol");
        conv::col2im(input, &window, dcol.as_slice().unwrap(), &mut dx).unwrap();
        case.check("dx", &dx);
    }
}

#[test]
fn numerical_gradient_of_chapter_4() {
    let mut case = Golden::open("numerical_gradient_simple_net");
    let x = case.array("x").into_dimensionality::<Ix1>().unwrap();
    let label = case.integers("t").iter().position(|&t| t == 1).unwrap();
    let mut w = case.matrix("W");
    let dw = gradient::numerical_gradient(
        |w| {
            let scores = x.dot(w).insert_axis(kasoku_nn::ndarray::Axis(0));
            functions::softmax_loss(scores.view(), Array1::from_elem(1, label).view())
        },
        &mut w,
    )
    .unwrap();
    // A difference of losses over 2e-4: their last digit is 1e-12 here.
    let expected = case.matrix("dW");
    assert!((&dw - &expected).iter().all(|error| error.abs() < 1e-10));
}

#[test]
fn optimizers() {
    for name in ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"] {
        let mut case = Golden::open(&format!("optimizer_{name}"));
        let mut w = Parameter::new(Role::Weight, case.array("W0"));
        let mut b = Parameter::new(Role::Bias, case.array("b0"));
        let kind: OptimizerKind = name.parse().unwrap();
        let mut optimizer = kind.build(GOLDEN_LR, 0.0);
        for step in 0..6 {
            w.grad = case.array(&format!("gW{step}"));
            b.grad = case.array(&format!("gb{step}"));
            optimizer.update(&mut [&mut w, &mut b]).unwrap();
            case.check(&format!("W{}", step + 1), &w.value);
            case.check(&format!("b{}", step + 1), &b.value);
        }
    }
}

/// Gives the network the case's parameters, and compares its loss, scores and gradients.
fn check_network(case: &mut Golden, network: &mut Sequential<f64>, t: Labels<'_, f64>) {
    for (name, parameter) in network.parameters_mut() {
        let value = case.array(&format!("param_{name}"));
        assert_eq!(parameter.value.shape(), value.shape(), "{name}");
        parameter.value = value;
    }
    let x = case.tensor("x");
    case.check_number("loss", network.gradient(x, t).unwrap());
    for (name, parameter) in network.parameters() {
        case.check(&format!("grad_{name}"), &parameter.grad);
    }
}

fn check_predict(case: &mut Golden, network: &mut Sequential<f64>) {
    let y = network.predict(case.tensor("x")).unwrap();
    case.check("predict", &y);
}

fn multi_layer_net() -> MultiLayerNet {
    MultiLayerNet::new(20, &[12, 9], 10)
}

#[test]
fn multi_layer_nets() {
    let sigmoid = MultiLayerNet {
        activation: Activation::Sigmoid,
        weight_init_std: WeightInit::Xavier,
        ..multi_layer_net()
    };
    let decay = MultiLayerNet { weight_decay_lambda: 0.1, ..multi_layer_net() };
    for (name, net) in [("multi_layer_net_sigmoid", sigmoid), ("multi_layer_net_relu_decay", decay)]
    {
        let mut case = Golden::open(name);
        let t = case.matrix("t");
        let mut network = net.build(1).unwrap();
        check_network(&mut case, &mut network, t.view().into());
        check_predict(&mut case, &mut network);
    }
}

#[test]
fn multi_layer_net_extend_with_batch_normalization() {
    let mut case = Golden::open("multi_layer_net_extend_batchnorm");
    let net = MultiLayerNet { weight_decay_lambda: 0.01, ..multi_layer_net() };
    let extend = MultiLayerNetExtend { net, dropout_ratio: None, use_batchnorm: true };
    let mut network = extend.build(1).unwrap();
    let t = case.matrix("t");
    check_network(&mut case, &mut network, t.view().into());
    // The scores are of running statistics that have seen the batch twice.
    network.gradient(case.tensor("x"), t.view()).unwrap();
    check_predict(&mut case, &mut network);
}

#[test]
fn simple_conv_net() {
    let mut case = Golden::open("simple_conv_net");
    let net = SimpleConvNet {
        input_dim: [1, 10, 10],
        filter_num: 4,
        filter: Window::new(3, 3),
        hidden_size: 8,
        ..SimpleConvNet::default()
    };
    let mut network = net.build(1).unwrap();
    let t = Array1::from_vec(case.integers("t"));
    check_network(&mut case, &mut network, t.view().into());
    check_predict(&mut case, &mut network);
}
