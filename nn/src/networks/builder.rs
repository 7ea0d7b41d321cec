use ndarray::ArrayD;

use super::Sequential;
use crate::init::{WeightInit, WeightRng};
use crate::layers::{
    Affine, AveragePooling, BatchNormalization, Convolution, Dropout, Flatten, Layer, MaxPooling,
    Relu, Sigmoid, Statistics, Tanh,
};
use crate::{Element, Error, Result, kernels};
use kernels::conv::Window;

/// The share of the running statistics that batch normalisation keeps at each step.
const BATCH_NORM_MOMENTUM: f64 = 0.9;

/// A [`Sequential`] in the making: each layer is sized by what comes before it. The first error is kept for
/// [`SequentialBuilder::build`].
#[derive(Debug)]
pub struct SequentialBuilder<T: Element> {
    layers: Vec<Box<dyn Layer<T>>>,
    input: Vec<usize>,
    /// The shape of one sample after the layers so far, or what went wrong.
    shape: Result<Vec<usize>>,
    rng: WeightRng,
    seed: u64,
    weight_decay: f64,
    dropouts: u32,
}

impl<T: Element> SequentialBuilder<T> {
    pub(super) fn new(input: &[usize], seed: u64) -> Self {
        Self {
            layers: Vec::new(),
            input: input.to_vec(),
            shape: Ok(input.to_vec()),
            rng: WeightRng::new(seed),
            seed,
            weight_decay: 0.0,
            dropouts: 0,
        }
    }

    /// Adds a layer of any kind.
    pub fn layer(self, layer: impl Layer<T> + 'static) -> Self {
        self.add(|_, _| Ok(layer))
    }

    /// Adds the layer that `make` makes for its input.
    fn add<L: Layer<T> + 'static>(
        mut self,
        make: impl FnOnce(&[usize], &mut WeightRng) -> Result<L>,
    ) -> Self {
        self.shape = self.shape.and_then(|input| {
            let layer = make(&input, &mut self.rng)?;
            let output = layer.output_shape(&input)?;
            self.layers.push(Box::new(layer));
            Ok(output)
        });
        self
    }

    /// Fully connected to `outputs` outputs, bias 0.
    pub fn affine(self, outputs: usize, init: WeightInit) -> Self {
        self.add(|input, rng| {
            let inputs = input.iter().product();
            let w = rng.normal(&[inputs, outputs], init.std(inputs));
            Affine::new(w, ArrayD::zeros(vec![outputs]))
        })
    }

    /// A convolution with `filters` filters of the window's size, bias 0.
    pub fn convolution(self, filters: usize, window: Window, init: WeightInit) -> Self {
        self.add(|input, rng| {
            let &[channels, ..] = input else {
                return Err(Error::shape("Convolution", input, "(channels, height, width)"));
            };
            let [height, width] = window.size;
            let std = init.std(channels * window.area());
            let w = rng.normal(&[filters, channels, height, width], std);
            Convolution::new(w, ArrayD::zeros(vec![filters]), window)
        })
    }

    /// Max-pooling.
    pub fn max_pooling(self, window: Window) -> Self {
        self.layer(MaxPooling::new(window))
    }

    /// Average-pooling.
    pub fn average_pooling(self, window: Window) -> Self {
        self.layer(AveragePooling::new(window))
    }

    /// max(0, x).
    pub fn relu(self) -> Self {
        self.layer(Relu::new())
    }

    /// 1/(1 + e⁻ˣ).
    pub fn sigmoid(self) -> Self {
        self.layer(Sigmoid::new())
    }

    /// tanh x.
    pub fn tanh(self) -> Self {
        self.layer(Tanh::new())
    }

    /// Samples as vectors.
    pub fn flatten(self) -> Self {
        self.layer(Flatten::new())
    }

    /// Dropout of a share `ratio`.
    pub fn dropout(mut self, ratio: f64) -> Self {
        let number = self.dropouts;
        self.dropouts += 1;
        self.add(|_, _| Dropout::new(ratio, number))
    }

    /// Batch normalisation.
    pub fn batch_normalization(self, statistics: Statistics) -> Self {
        self.add(|input, _| {
            let channels = match statistics {
                Statistics::PerFeature => input.iter().product(),
                Statistics::PerChannel => input.first().copied().unwrap_or(0),
            };
            Ok(BatchNormalization::new(channels, statistics, BATCH_NORM_MOMENTUM))
        })
    }

    /// The penalty ½·λ·ΣW² on the loss.
    pub fn weight_decay(self, lambda: f64) -> Self {
        Self { weight_decay: lambda, ..self }
    }

    /// The network.
    ///
    /// # Errors
    /// What the first layer that does not fit its input says.
    pub fn build(self) -> Result<Sequential<T>> {
        self.shape?;
        Ok(Sequential::new(self.layers, self.input, self.weight_decay, self.seed))
    }
}
