//! The engine: how a network is run, planned for each batch size.
//!
//! Layers run one after another, each over the whole batch. Where convolutions follow each other, their shapes known beforehand,
//! the engine does better: the samples lie in lanes ([`crate::kernels::lanes`]), a few of them go through all the convolutions
//! while they are in cache, activations and pooling are part of the convolution before them, branches write where they are joined,
//! and the memory is there from the first step on. Predictions have channels in lanes instead, where there are enough of them. Affine layers take a few samples
//! through all of them likewise, in rows. Everything else, layers of one's own among it, runs by itself. docs/engine.md tells the
//! story. The layers stay the oracle: the tests hold both to each other.

mod channels;
mod folded;
mod gradients;
mod normalized;
mod plan;
mod planner;
mod rows;
mod run;
mod versioned;

use std::fmt::{self, Display, Write};
use std::ops::Range;

use crate::functions::Labels;
use crate::kernels::lanes;
use crate::layers::{Layer, Mode, SoftmaxWithLoss, learns};
use crate::networks::Batch;
use crate::tensor::{Recycled, contiguous, elements, elements_mut};
use crate::{Element, Error, Result, Tensor};
use plan::Plan;
use run::Memory;
pub(crate) use versioned::Versioned;

/// Plans that are kept: the batch of an epoch and its last, smaller one, for training and for testing.
const KEPT: usize = 4;
/// Channels go into the lanes of a prediction where they fill at least so many of those that samples would, and samples would not
/// get further.
const FILLED: f64 = 0.75;

/// The plans of a network, by batch size, and the memory they need.
#[derive(Debug)]
pub(crate) struct Engine<T> {
    /// Whether anything is planned at all.
    on: bool,
    planned: Vec<Planned<T>>,
}

#[derive(Debug)]
struct Planned<T> {
    samples: usize,
    /// Of the instruction set it is for.
    lanes: usize,
    /// Whether for predictions, after which nobody goes back.
    predicts: bool,
    segments: Vec<Segment<T>>,
}

/// Layers that follow each other.
#[derive(Debug)]
enum Segment<T> {
    /// Each by itself.
    Layers(Range<usize>),
    /// All of them together.
    Fused(Box<Fused<T>>),
}

/// A segment whose layers run together, and the arrays that pass between it and its neighbours.
#[derive(Debug)]
struct Fused<T> {
    way: Way<T>,
    /// The shape of a sample that arrives.
    input_shape: Vec<usize>,
    /// The last input, where the way back needs it and it is not the network's.
    x: Option<Tensor<T>>,
    outputs: Recycled<T>,
    input_gradients: Recycled<T>,
}

/// How layers run together.
#[derive(Debug)]
enum Way<T> {
    /// Channels in lanes.
    Channels(Box<channels::Plan>, channels::Memory<T>),
    /// Samples in lanes.
    Lanes(Box<Plan>, Memory<T>),
    /// Samples in rows.
    Rows(Box<rows::Plan>, rows::Memory<T>),
}

/// Which ways may be taken.
#[derive(Clone, Copy)]
struct Ways {
    /// Whether for predictions.
    predicts: bool,
    lanes: bool,
    channels: bool,
    rows: bool,
}

impl<T: Element> Fused<T> {
    fn new(way: Way<T>, input_shape: Vec<usize>) -> Self {
        let (outputs, input_gradients) = (Recycled::default(), Recycled::default());
        Self { way, input_shape, x: None, outputs, input_gradients }
    }

    fn layers(&self) -> &Range<usize> {
        match &self.way {
            Way::Channels(plan, _) => &plan.layers,
            Way::Lanes(plan, _) => &plan.layers,
            Way::Rows(plan, _) => &plan.layers,
        }
    }

    /// The shape that a sample has afterwards.
    fn output_shape(&self) -> &[usize] {
        match &self.way {
            Way::Channels(plan, _) => &plan.output_shape,
            Way::Lanes(plan, _) => &plan.output_shape,
            Way::Rows(plan, _) => &plan.output_shape,
        }
    }

    fn forward(
        &mut self,
        layers: &mut [Box<dyn Layer<T>>],
        version: u64,
        mode: Mode,
        x: &Batch<'_, T>,
    ) -> Result<Tensor<T>> {
        let y_shape = shape(x.shape()[0], self.output_shape());
        let mut y = self.outputs.take(&y_shape);
        let (x, to) = (x.elements(), elements_mut(&mut y));
        match &mut self.way {
            Way::Channels(plan, memory) => channels::forward(plan, layers, version, memory, x, to)?,
            Way::Lanes(plan, memory) => run::forward(plan, layers, memory, mode, x, to)?,
            Way::Rows(plan, memory) => rows::forward(plan, layers, version, memory, mode, x, to)?,
        }
        self.outputs.keep(&y);
        Ok(y)
    }

    /// The gradient by the input of so many samples, to be written; none where no layer before this segment learns.
    fn input_gradient(&mut self, samples: usize, first: usize) -> Option<Tensor<T>> {
        let wanted = self.layers().start > first;
        wanted.then(|| self.input_gradients.take(&shape(samples, &self.input_shape)))
    }

    /// The gradient by the input; none where no layer before this segment learns. `batch` is the network's input.
    fn backward(
        &mut self,
        layers: &mut [Box<dyn Layer<T>>],
        batch: &Batch<'_, T>,
        dy: Tensor<T>,
        first: usize,
    ) -> Result<Option<Tensor<T>>> {
        let dy = contiguous(dy);
        let mut dx = self.input_gradient(dy.shape()[0], first);
        let (dy, to) = (elements(&dy), dx.as_mut().map_or(&mut [][..], elements_mut));
        match &mut self.way {
            Way::Channels(..) => return Err(Error::NoForward("Sequential")),
            Way::Lanes(plan, memory) => run::backward(plan, layers, memory, dy, first, to)?,
            Way::Rows(plan, memory) => {
                let x = self.x.as_ref().map_or_else(|| batch.elements(), elements);
                rows::backward(plan, layers, memory, x, dy, first, to)?
            }
        }
        if let Some(dx) = &dx {
            self.input_gradients.keep(dx);
        }
        Ok(dx)
    }

    /// Of the network's last segment, its samples in rows: the loss of a batch x, and what [`Fused::backward`] gives.
    fn step(
        &mut self,
        layers: &mut [Box<dyn Layer<T>>],
        mode: Mode,
        x: &Batch<'_, T>,
        labels: &Labels<'_, T>,
        first: usize,
    ) -> Result<(T, Option<Tensor<T>>)> {
        let mut dx = self.input_gradient(x.shape()[0], first);
        let Way::Rows(plan, memory) = &mut self.way else {
            return Err(Error::NoForward("Sequential"));
        };
        let loss = labels.with_target(|target| {
            let dx = dx.as_mut().map_or(&mut [][..], elements_mut);
            let step = rows::Step { mode, x: x.elements(), target, first, dx };
            rows::step(plan, layers, memory, step)
        })?;
        if let Some(dx) = &dx {
            self.input_gradients.keep(dx);
        }
        Ok((loss, dx))
    }
}

impl<T> Display for Fused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Channels(plan, _) => plan.fmt(f),
            Way::Lanes(plan, _) => plan.fmt(f),
            Way::Rows(plan, _) => plan.fmt(f),
        }
    }
}

impl<T: Element> Engine<T> {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, planned: Vec::new() }
    }

    /// How the segment that begins with layer `at` runs: convolutions with samples in lanes or channels, of those ways that may be
    /// taken the better one; affine layers with samples in rows. `None` for other layers.
    fn way(
        layers: &[Box<dyn Layer<T>>],
        at: usize,
        input: &[usize],
        samples: usize,
        ways: Ways,
    ) -> Result<Option<Way<T>>> {
        if ways.rows
            && let Some(plan) = rows::Plan::new(layers, at, input, samples, ways.predicts)?
        {
            return Ok(Some(Way::Rows(Box::new(plan), Default::default())));
        }
        let by_samples = match ways.lanes {
            true => Plan::new(layers, at, input, samples)?,
            false => None,
        };
        let by_channels = match ways.channels {
            true => channels::Plan::new(layers, at, input, samples)?,
            false => None,
        };
        let is_better = |plan: &channels::Plan| match &by_samples {
            Some(other) => {
                plan.layers.end >= other.layers.end
                    && plan.utilisation() >= FILLED * other.utilisation()
            }
            None => true,
        };
        Ok(match by_channels.filter(is_better) {
            Some(plan) => Some(Way::Channels(Box::new(plan), Default::default())),
            None => by_samples.map(|plan| Way::Lanes(Box::new(plan), Memory::default())),
        })
    }

    /// The layers cut into segments, for `samples` samples of shape `input`.
    fn cut(
        &self,
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
        predicts: bool,
    ) -> Result<Vec<Segment<T>>> {
        let lanes = lanes::count::<T>()?;
        let ways = Ways {
            predicts,
            // Lanes that no sample fills are computed all the same: up to half of them the layers are faster.
            lanes: self.on && 2 * samples > lanes,
            channels: self.on && predicts && lanes > 1,
            rows: self.on && samples >= rows::BLOCK,
        };
        if !(ways.lanes || ways.channels || ways.rows) {
            return Ok(vec![Segment::Layers(0..layers.len())]);
        }
        let mut segments = Vec::new();
        let (mut shape, mut at, mut alone) = (input.to_vec(), 0, 0);
        while at < layers.len() {
            match Self::way(layers, at, &shape, samples, ways)? {
                Some(way) => {
                    segments.extend((alone < at).then_some(Segment::Layers(alone..at)));
                    let fused = Fused::new(way, shape);
                    (at, alone) = (fused.layers().end, fused.layers().end);
                    shape = fused.output_shape().to_vec();
                    segments.push(Segment::Fused(Box::new(fused)));
                }
                None => {
                    shape = layers[at].output_shape(&shape)?;
                    at += 1;
                }
            }
        }
        segments.extend((alone < at).then_some(Segment::Layers(alone..at)));
        Ok(segments)
    }

    /// How a batch of `samples` samples of shape `input` is run, planned at the first one of its size.
    fn plan(
        &mut self,
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
        predicts: bool,
    ) -> Result<&mut [Segment<T>]> {
        let lanes = lanes::count::<T>()?;
        let known = |planned: &Planned<T>| {
            (planned.samples, planned.lanes, planned.predicts) == (samples, lanes, predicts)
        };
        // The last used comes first.
        match self.planned.iter().position(known) {
            Some(at) => self.planned[..=at].rotate_right(1),
            None => {
                let segments = self.cut(layers, input, samples, predicts)?;
                self.planned.truncate(KEPT - 1);
                self.planned.insert(0, Planned { samples, lanes, predicts, segments });
            }
        }
        Ok(&mut self.planned[0].segments)
    }

    /// The output of a batch of samples of shape `input`, row by row in memory.
    pub(crate) fn forward(
        &mut self,
        layers: &mut Versioned<T>,
        input: &[usize],
        batch: &Batch<'_, T>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let predicts = mode == Mode::Test;
        let (version, layers) = match predicts {
            true => layers.for_prediction(),
            false => (0, &mut layers[..]),
        };
        let segments = self.plan(layers, input, batch.shape()[0], predicts)?;
        Ok(forward(segments, layers, version, mode, batch)?.into_tensor())
    }

    /// The loss, as `loss` takes it, of a batch of samples of shape `input`; leaves the gradients in the parameters of the layers from
    /// the first that learns on.
    pub(crate) fn gradient(
        &mut self,
        layers: &mut [Box<dyn Layer<T>>],
        input: &[usize],
        batch: &Batch<'_, T>,
        labels: &Labels<'_, T>,
        mode: Mode,
        loss: &mut SoftmaxWithLoss<T>,
    ) -> Result<T> {
        let first = layers.iter().position(|layer| learns(&**layer)).unwrap_or(layers.len());
        let segments = self.plan(layers, input, batch.shape()[0], false)?;
        if let Some((Segment::Fused(last), before)) = segments.split_last_mut()
            && last.layers().end > first
            && let Way::Rows(..) = last.way
        {
            let x = forward(before, layers, 0, mode, batch)?;
            let (loss, dx) = last.step(layers, mode, &x, labels, first)?;
            if let Some(dx) = dx {
                backward(before, layers, batch, dx, first)?;
            }
            return Ok(loss);
        }
        let scores = forward(segments, layers, 0, mode, batch)?.into_tensor();
        let value = loss.forward(scores, labels)?;
        backward(segments, layers, batch, loss.backward(labels)?, first)?;
        Ok(value)
    }

    /// How a batch of `samples` samples is run, for people.
    pub(crate) fn explain(
        &self,
        layers: &[Box<dyn Layer<T>>],
        input: &[usize],
        samples: usize,
    ) -> Result<String> {
        let text = |predicts| -> Result<String> {
            let mut text = String::new();
            for segment in self.cut(layers, input, samples, predicts)? {
                match segment {
                    Segment::Layers(range) => {
                        let names: Vec<_> =
                            layers[range].iter().map(|layer| layer.name()).collect();
                        let _ = writeln!(text, "layer by layer: {}", names.join(", "));
                    }
                    Segment::Fused(fused) => {
                        let _ = write!(text, "{fused}");
                    }
                }
            }
            Ok(text)
        };
        let (training, prediction) = (text(false)?, text(true)?);
        if training == prediction {
            return Ok(training);
        }
        Ok(format!("to learn:\n{training}\nto predict:\n{prediction}"))
    }
}

/// The output of a batch; in training, keeps what [`backward`] needs.
fn forward<'a, T: Element>(
    segments: &mut [Segment<T>],
    layers: &mut [Box<dyn Layer<T>>],
    version: u64,
    mode: Mode,
    batch: &Batch<'a, T>,
) -> Result<Batch<'a, T>> {
    let mut x = batch.clone();
    for (number, segment) in segments.iter_mut().enumerate() {
        let y = match segment {
            Segment::Layers(range) => layers[range.clone()]
                .iter_mut()
                .try_fold(x.into_tensor(), |x, layer| layer.forward(x, mode))?,
            Segment::Fused(fused) => {
                let y = fused.forward(layers, version, mode, &x)?;
                let is_kept =
                    number > 0 && mode != Mode::Test && matches!(fused.way, Way::Rows(..));
                fused.x = is_kept.then(|| x.into_tensor());
                y
            }
        };
        x = Batch::Tensor(contiguous(y));
    }
    Ok(x)
}

/// From the gradient by the output of the last forward pass, which was one of training, of `batch`, to those by the parameters. Layers
/// before `first`, the first that learns, get none.
fn backward<T: Element>(
    segments: &mut [Segment<T>],
    layers: &mut [Box<dyn Layer<T>>],
    batch: &Batch<'_, T>,
    mut dout: Tensor<T>,
    first: usize,
) -> Result<()> {
    for segment in segments.iter_mut().rev() {
        match segment {
            Segment::Layers(range) => {
                for index in range.clone().rev() {
                    if index < first {
                        return Ok(());
                    }
                    if index == first {
                        return layers[index].backward_parameters(dout);
                    }
                    dout = layers[index].backward(dout)?;
                }
            }
            Segment::Fused(fused) => {
                if fused.layers().end <= first {
                    return Ok(());
                }
                match fused.backward(layers, batch, dout, first)? {
                    Some(dx) => dout = dx,
                    None => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// The shape of a batch of samples of a shape.
fn shape(samples: usize, sample: &[usize]) -> Vec<usize> {
    [&[samples], sample].concat()
}
