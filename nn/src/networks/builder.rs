use ndarray::ArrayD;

use super::Sequential;
use crate::init::{WeightInit, WeightRng};
use crate::layers::{
    Affine, AveragePooling, BatchNormalization, Chain, Concat, Convolution, Dropout, Flatten,
    GlobalAveragePooling, Layer, LocalResponseNormalization, MaxPooling, Relu, Residual, Sigmoid,
    Statistics, Tanh,
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

    /// Adds a layer whose numbers may have been refused when it was made: `builder.try_layer(Dropout::new(ratio, 7))`.
    pub fn try_layer(self, layer: Result<impl Layer<T> + 'static>) -> Self {
        self.add(|_, _| layer)
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

    /// The mean of each channel.
    pub fn global_average_pooling(self) -> Self {
        self.layer(GlobalAveragePooling::new())
    }

    /// Local response normalisation with AlexNet's numbers.
    pub fn local_response_normalization(self) -> Self {
        self.layer(LocalResponseNormalization::alex_net())
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

    /// What the layers of `body` give, added to their input, whose shape they must keep.
    pub fn residual(self, body: impl FnOnce(Self) -> Self) -> Self {
        self.residual_with(body, |shortcut| shortcut)
    }

    /// What the layers of `body` give, added to what those of `shortcut` give: a 1×1 convolution, say, where the body changes the
    /// shape.
    pub fn residual_with(
        self,
        body: impl FnOnce(Self) -> Self,
        shortcut: impl FnOnce(Self) -> Self,
    ) -> Self {
        let (builder, body) = self.chain(body);
        let (builder, shortcut) = builder.chain(shortcut);
        builder.add(|_, _| Ok(Residual::new(body?, shortcut?)))
    }

    /// Branches side by side, their outputs joined along the channels.
    ///
    /// ```
    /// use kasoku_nn::init::WeightInit::He;
    /// use kasoku_nn::kernels::conv::Window;
    /// use kasoku_nn::networks::Sequential;
    ///
    /// let network = Sequential::<f32>::builder(&[12, 14, 14], 1)
    ///     .concat(|branches| {
    ///         branches
    ///             .branch(|chain| chain.convolution(8, Window::new(1, 1), He).relu())
    ///             .branch(|chain| {
    ///                 let chain = chain.convolution(6, Window::new(1, 1), He).relu();
    ///                 chain.convolution(12, Window::new(3, 3).pad(1), He).relu()
    ///             })
    ///     })
    ///     .global_average_pooling()
    ///     .affine(10, He)
    ///     .build()?;
    /// assert_eq!(network.layers()[0].output_shape(&[12, 14, 14])?, [20, 14, 14]);
    /// # Ok::<(), kasoku_nn::Error>(())
    /// ```
    pub fn concat(self, branches: impl FnOnce(Branches<T>) -> Branches<T>) -> Self {
        let Branches { builder, chains } = branches(Branches { builder: self, chains: Vec::new() });
        builder.add(|_, _| Concat::new(chains.into_iter().collect::<Result<_>>()?))
    }

    /// The layers that `build` adds to a chain which begins where this one ends. They share its random numbers and the numbers of
    /// its dropouts, so that no two layers have the same.
    fn chain(mut self, build: impl FnOnce(Self) -> Self) -> (Self, Result<Chain<T>>) {
        let Ok(shape) = &self.shape else { return (self, Ok(Chain::new(Vec::new()))) };
        let begin = Ok(shape.clone());
        let (layers, shape) = (std::mem::take(&mut self.layers), self.shape);
        let built = build(Self { shape: begin, ..self });
        let chain = built.shape.map(|_| Chain::new(built.layers));
        (Self { layers, shape, ..built }, chain)
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

/// The branches of a [`SequentialBuilder::concat`] in the making.
#[derive(Debug)]
pub struct Branches<T: Element> {
    builder: SequentialBuilder<T>,
    chains: Vec<Result<Chain<T>>>,
}

impl<T: Element> Branches<T> {
    /// Adds a branch of the layers that `build` adds to the input.
    pub fn branch(
        mut self,
        build: impl FnOnce(SequentialBuilder<T>) -> SequentialBuilder<T>,
    ) -> Self {
        let (builder, chain) = self.builder.chain(build);
        self.chains.push(chain);
        Self { builder, ..self }
    }
}
