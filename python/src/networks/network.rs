//! The class behind `kasoku.networks`.

use kasoku_nn::gradient::H;
use kasoku_nn::init::WeightInit;
use kasoku_nn::kernels::conv::Window;
use kasoku_nn::layers::{Mode, Parameter};
use kasoku_nn::networks::{
    DeepConvNet, MultiLayerNet, MultiLayerNetExtend, Sequential, SimpleConvNet, TwoLayerNet,
};
use kasoku_nn::weights;
use numpy::{IntoPyArray, PyArray};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::path::PathBuf;

use super::batch::{Samples, Target};
use super::block::{Block, Blocks};
use super::layer::Layer;
use super::optimizer::{Optimizer, Ruled};
use super::shared::{Shared, check_names, check_shape, copies};
use super::steps::Step;
use crate::array::{Float, InOut, Input};
use crate::error::{Error, Result};
use crate::optimizer::Rule;

/// A network of either type.
enum Typed {
    Single(Shared<f32>),
    Double(Shared<f64>),
}

/// Runs `$body` with `$net` standing for the network in its type.
macro_rules! with_net {
    ($network:expr, $net:ident => $body:expr) => {
        match &$network.0 {
            Typed::Single($net) => $body,
            Typed::Double($net) => $body,
        }
    };
}

/// Builds `$recipe`, in double precision where `$double`.
macro_rules! build {
    ($recipe:expr, $double:expr, $seed:expr) => {
        if $double {
            Ok(Self(Typed::Double(Shared::new($recipe.build($seed)?)?)))
        } else {
            Ok(Self(Typed::Single(Shared::new($recipe.build($seed)?)?)))
        }
    };
}

/// Filters of a convolution: how many, their size, the stride and the padding.
type Filters = (usize, usize, usize, usize);

fn window((_, size, stride, pad): Filters) -> Window {
    Window::new(size, size).stride(stride).pad(pad)
}

/// A network and its arrays; `kasoku.networks` says what the methods do.
#[pyclass(frozen, module = "kasoku._core.networks")]
pub(crate) struct Network(Typed);

#[pymethods]
impl Network {
    #[staticmethod]
    fn two_layer(
        double: bool,
        seed: u64,
        sizes: [usize; 3],
        weight_init_std: f64,
        activation: &str,
    ) -> Result<Self> {
        let [input_size, hidden_size, output_size] = sizes;
        let activation = activation.parse()?;
        let recipe =
            TwoLayerNet { input_size, hidden_size, output_size, weight_init_std, activation };
        build!(recipe, double, seed)
    }

    #[staticmethod]
    #[pyo3(signature = (double, seed, sizes, activation, weight_init_std, weight_decay_lambda, dropout_ratio, use_batchnorm))]
    #[allow(clippy::too_many_arguments)] // the book's
    fn multi_layer(
        double: bool,
        seed: u64,
        sizes: Vec<usize>,
        activation: &str,
        weight_init_std: &str,
        weight_decay_lambda: f64,
        dropout_ratio: Option<f64>,
        use_batchnorm: bool,
    ) -> Result<Self> {
        let [input_size, hidden @ .., output_size] = sizes.as_slice() else {
            return Err(Error::value("expected the sizes of the input and of the output"));
        };
        let net = MultiLayerNet {
            activation: activation.parse()?,
            weight_init_std: weight_init_std.parse()?,
            weight_decay_lambda,
            ..MultiLayerNet::new(*input_size, hidden, *output_size)
        };
        let recipe = MultiLayerNetExtend { net, dropout_ratio, use_batchnorm };
        build!(recipe, double, seed)
    }

    #[staticmethod]
    fn simple_conv(
        double: bool,
        seed: u64,
        input_dim: [usize; 3],
        filters: Filters,
        sizes: [usize; 2],
        weight_init_std: &str,
    ) -> Result<Self> {
        let weight_init_std: WeightInit = weight_init_std.parse()?;
        let [hidden_size, output_size] = sizes;
        let (filter_num, filter) = (filters.0, window(filters));
        let recipe = SimpleConvNet {
            input_dim,
            filter_num,
            filter,
            hidden_size,
            output_size,
            weight_init_std,
        };
        build!(recipe, double, seed)
    }

    #[staticmethod]
    fn deep_conv(
        double: bool,
        seed: u64,
        input_dim: [usize; 3],
        filters: [Filters; 6],
        sizes: [usize; 2],
        dropout_ratio: f64,
    ) -> Result<Self> {
        let convolutions = filters.map(|filters| (filters.0, window(filters)));
        let [hidden_size, output_size] = sizes;
        let recipe =
            DeepConvNet { input_dim, convolutions, hidden_size, output_size, dropout_ratio };
        build!(recipe, double, seed)
    }

    #[staticmethod]
    fn sequential(
        double: bool,
        seed: u64,
        input_dim: Vec<usize>,
        layers: Vec<Block>,
        weight_decay_lambda: f64,
    ) -> Result<Self> {
        let recipe = Blocks { input: input_dim, layers, weight_decay: weight_decay_lambda };
        build!(recipe, double, seed)
    }

    fn params<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        with_net!(self, net => net.params(py))
    }

    fn predict<'py>(&self, x: &Bound<'py, PyAny>, train: bool) -> Result<Bound<'py, PyAny>> {
        with_net!(self, net => net.predict(x, train))
    }

    fn loss(&self, x: &Bound<'_, PyAny>, t: &Bound<'_, PyAny>, train: bool) -> Result<f64> {
        with_net!(self, net => net.loss(x, t, train))
    }

    fn gradient<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
    ) -> Result<(f64, Bound<'py, PyDict>)> {
        with_net!(self, net => net.gradient(x, t))
    }

    /// The derivatives by the elements `start` to `stop` of parameter number `index`.
    fn numerical_gradient<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
        index: usize,
        start: usize,
        stop: usize,
    ) -> Result<Bound<'py, PyAny>> {
        with_net!(self, net => net.numerical_gradient(x, t, index, start..stop))
    }

    /// One step of training on the samples of `step`, or on all; the loss before it.
    #[pyo3(signature = (x, t, optimizer, step=None, factor=1.0))]
    fn train_step(
        &self,
        x: &Bound<'_, PyAny>,
        t: &Bound<'_, PyAny>,
        optimizer: &Optimizer,
        step: Option<&Step>,
        factor: f64,
    ) -> Result<f64> {
        let rows = step.map(|step| step.0.indices.as_slice());
        with_net!(self, net => net.train_step(x, t, optimizer, rows, factor))
    }

    /// One step of training by a rule of `kasoku.optimizer`, whose `states` hold an array for each parameter; the loss before it.
    /// `None`, and nothing done, where the rule or an array is none that the kernels take.
    fn train_step_with(
        &self,
        x: &Bound<'_, PyAny>,
        t: &Bound<'_, PyAny>,
        rule: &str,
        numbers: Vec<f64>,
        states: Vec<Bound<'_, PyAny>>,
    ) -> Result<Option<f64>> {
        let Some(rule) = Rule::of(rule, &numbers) else { return Ok(None) };
        with_net!(self, net => net.train_step_with(x, t, rule, &states))
    }

    /// Everything that is saved, by name.
    fn state<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        with_net!(self, net => net.state(py))
    }

    /// Puts back what `state` gave, or the parameters alone.
    fn set_state(&self, state: &Bound<'_, PyDict>) -> Result<()> {
        with_net!(self, net => net.set_state(state))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, dtype: &str) -> Result<()> {
        let precision = dtype.parse()?;
        with_net!(self, net => net.read(py, |net| weights::save_as(net, &path, precision)))
    }

    fn load(&self, py: Python<'_>, path: PathBuf) -> Result<()> {
        with_net!(self, net => net.write(py, |net| weights::load(net, &path)))
    }

    /// How many steps of training it has taken: the key of its dropouts' masks.
    fn step(&self, py: Python<'_>) -> Result<u64> {
        with_net!(self, net => net.read(py, |net| Ok(net.step())))
    }

    fn set_step(&self, py: Python<'_>, step: u64) -> Result<()> {
        with_net!(self, net => net.read(py, |net| {
            net.set_step(step);
            Ok(())
        }))
    }

    /// Freezes the layers `start..stop`, or lets them learn again.
    fn freeze(&self, py: Python<'_>, start: usize, stop: usize, frozen: bool) -> Result<()> {
        with_net!(self, net => net.read(py, |net| match frozen {
            true => net.freeze(start..stop),
            false => net.unfreeze(start..stop),
        }))
    }

    /// The names of the frozen parameters.
    fn frozen(&self, py: Python<'_>) -> Result<Vec<String>> {
        with_net!(self, net => net.read(py, |net| {
            let frozen = net.parameters().into_iter().filter(|(_, parameter)| parameter.frozen);
            Ok(frozen.map(|(name, _)| name).collect())
        }))
    }

    /// Freezes the parameters of these names and no others.
    fn set_frozen(&self, py: Python<'_>, names: Vec<String>) -> Result<()> {
        with_net!(self, net => net.read(py, |net| {
            for (name, parameter) in net.parameters_mut() {
                parameter.freeze(names.contains(&name));
            }
            Ok(())
        }))
    }

    /// How many layers it has, those inside others not counted.
    fn layer_count(&self, py: Python<'_>) -> Result<usize> {
        with_net!(self, net => net.read(py, |net| Ok(net.layers().len())))
    }

    /// One line a layer.
    fn summary(&self, py: Python<'_>) -> Result<String> {
        with_net!(self, net => net.read(py, |net| Ok(net.to_string())))
    }

    /// How a batch is run.
    fn explain(&self, py: Python<'_>, samples: usize) -> Result<String> {
        with_net!(self, net => net.read(py, |net| net.explain(samples)))
    }

    /// The layers, with the names of their arrays in `state`.
    fn layers(&self, py: Python<'_>) -> Result<Vec<Layer>> {
        with_net!(self, net => net.read(py, |net| {
            Ok(net.describe()?.into_iter().map(Layer::from).collect())
        }))
    }

    #[getter]
    fn classes(&self) -> usize {
        with_net!(self, net => net.classes)
    }

    /// The names and shapes of the parameters, in order.
    #[getter]
    fn shapes<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyTuple>)>> {
        with_net!(self, net => net
            .parameters
            .iter()
            .map(|(name, shape)| Ok((name.clone(), PyTuple::new(py, shape)?)))
            .collect())
    }
}

fn mode<T: Float>(net: &Sequential<T>, train: bool) -> Mode {
    if train { net.train_mode() } else { Mode::Test }
}

impl<T: Ruled> Shared<T> {
    fn predict<'py>(&self, x: &Bound<'py, PyAny>, train: bool) -> Result<Bound<'py, PyAny>> {
        let samples = Samples::<T>::new(x, None)?;
        let batch = samples.batch()?;
        let y = self.read(x.py(), |net| net.predict_in(batch, mode(net, train)))?;
        Ok(y.into_pyarray(x.py()).into_any())
    }

    fn loss(&self, x: &Bound<'_, PyAny>, t: &Bound<'_, PyAny>, train: bool) -> Result<f64> {
        let samples = Samples::<T>::new(x, None)?;
        let batch = samples.batch()?;
        let target = Target::<T>::new(t, batch.shape()[0], self.classes, None)?;
        let loss =
            self.read(x.py(), |net| net.loss_in(batch, target.labels(), mode(net, train)))?;
        Ok(loss.as_f64())
    }

    fn gradient<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
    ) -> Result<(f64, Bound<'py, PyDict>)> {
        let samples = Samples::<T>::new(x, None)?;
        let batch = samples.batch()?;
        let target = Target::<T>::new(t, batch.shape()[0], self.classes, None)?;
        let (loss, gradients) = self.read(x.py(), |net| {
            let loss = net.gradient(batch, target.labels())?;
            Ok((loss, copies(net, |parameter| &parameter.grad)))
        })?;
        Ok((loss.as_f64(), self.dict(x.py(), &self.parameters, gradients)?))
    }

    fn numerical_gradient<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        t: &Bound<'py, PyAny>,
        index: usize,
        elements: std::ops::Range<usize>,
    ) -> Result<Bound<'py, PyAny>> {
        let samples = Samples::<T>::new(x, None)?;
        let batch = samples.batch()?;
        let target = Target::<T>::new(t, batch.shape()[0], self.classes, None)?;
        let size = self.parameters.get(index).map_or(0, |(_, shape)| shape.iter().product());
        if elements.end > size {
            return Err(Error::value(format!("element {} of {size}", elements.end)));
        }
        let gradient = self.read(x.py(), |net| {
            let mode = net.train_mode();
            let loss_at = |net: &mut Sequential<T>, element: usize, shift: f64| {
                let set = |net: &mut Sequential<T>, change: &dyn Fn(T) -> T| {
                    let mut parameters = net.parameters_mut();
                    let value = parameters[index].1.value.as_slice_mut();
                    let value = &mut value.expect("parameters are in standard layout")[element];
                    std::mem::replace(value, change(*value))
                };
                let saved = set(net, &|value| value + T::of(shift));
                let loss = net.loss_in(batch.clone(), target.labels(), mode);
                set(net, &|_| saved);
                loss
            };
            let derivative = |element| {
                let (right, left) = (loss_at(net, element, H)?, loss_at(net, element, -H)?);
                Ok((right - left) / T::of(H + H))
            };
            elements.map(derivative).collect::<kasoku_nn::Result<Vec<T>>>()
        })?;
        Ok(PyArray::from_vec(x.py(), gradient).into_any())
    }

    fn train_step(
        &self,
        x: &Bound<'_, PyAny>,
        t: &Bound<'_, PyAny>,
        optimizer: &Optimizer,
        rows: Option<&[usize]>,
        factor: f64,
    ) -> Result<f64> {
        let count = x.len()?;
        let samples = Samples::<T>::new(x, rows)?;
        let batch = samples.batch()?;
        let target = Target::<T>::new(t, count, self.classes, rows)?;
        let loss = self.write(x.py(), |net| {
            optimizer
                .with(factor, &self.parameters, |rule| net.train_step(batch, target.labels(), rule))
        })?;
        Ok(loss.as_f64())
    }

    fn train_step_with(
        &self,
        x: &Bound<'_, PyAny>,
        t: &Bound<'_, PyAny>,
        rule: Rule,
        states: &[Bound<'_, PyAny>],
    ) -> Result<Option<f64>> {
        let samples = Samples::<T>::new(x, None)?;
        let batch = samples.batch()?;
        let target = Target::<T>::new(t, batch.shape()[0], self.classes, None)?;
        let mut borrowed = Vec::new();
        for (name, shape) in &self.parameters {
            for state in states {
                let array = state.get_item(name).and_then(|array| Ok(InOut::<T>::new(&array)?));
                match array {
                    Ok(Some(array)) if array.shape() == shape => borrowed.push(array),
                    _ => return Ok(None),
                }
            }
        }
        let mut states: Vec<&mut [T]> =
            borrowed.iter_mut().map(InOut::slice_mut).collect::<Result<_>>()?;
        let count = states.len() / self.parameters.len().max(1);
        let loss = self.write(x.py(), |net| {
            let loss = net.gradient(batch, target.labels())?;
            for (index, (_, parameter)) in net.parameters_mut().into_iter().enumerate() {
                let state = &mut states[index * count..][..count];
                let Parameter { value, grad, frozen, .. } = parameter;
                if let (false, Some(p), Some(g)) = (*frozen, value.as_slice_mut(), grad.as_slice())
                {
                    rule.update(p, g, state)?;
                }
            }
            net.set_step(net.step() + 1);
            Ok(loss)
        })?;
        Ok(Some(loss.as_f64()))
    }

    fn state<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let arrays = self.read(py, |net| {
            Ok(net.state().into_iter().map(|(_, value)| value.clone()).collect())
        })?;
        self.dict(py, &self.state, arrays)
    }

    fn set_state(&self, state: &Bound<'_, PyDict>) -> Result<()> {
        let alone = state.len() == self.parameters.len();
        let shapes = if alone { &self.parameters } else { &self.state };
        let mut values = Vec::new();
        for ((name, shape), array) in shapes.iter().zip(check_names(state, shapes, "weights")?) {
            let input = Input::<T>::new(&array)?;
            check_shape(name, input.shape(), shape)?;
            values.push((name, input.slice()?.to_vec()));
        }
        self.write(state.py(), |net| {
            for (name, to) in net.state() {
                if let Some((_, from)) = values.iter().find(|(known, _)| **known == name) {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
            Ok(())
        })
    }
}
