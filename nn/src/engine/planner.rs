//! From layers to the operations of a segment in lanes, and where in a group's memory everything lies.

use super::gradients::{self, Places};
use super::plan::{Input, Kind, Op, Pool, Span};
use crate::kernels::conv::Window;
use crate::kernels::lanes::{Convolution, Normalization, Pooling};
use crate::layers::{Chain, Layer, Operation, Statistics, leaves};
use crate::{Element, Result};

/// Hands out the memory of a group.
#[derive(Debug, Clone, Copy)]
struct Layout {
    lanes: usize,
    end: usize,
}

impl Layout {
    /// Every span begins at a cache line: 64 bytes.
    fn span(&mut self, shape: &[usize; 3]) -> Span {
        let (start, len) = (self.end, shape.iter().product::<usize>() * self.lanes);
        self.end += len.next_multiple_of(16);
        Span { start, len }
    }
}

/// The layers that have not been planned yet, and the shape that arrives there.
pub(super) struct Ahead<'a, T> {
    pub(super) layers: &'a [Box<dyn Layer<T>>],
    pub(super) at: usize,
    pub(super) shape: [usize; 3],
    /// Of the operation that begins.
    pub(super) name: String,
}

impl<'a, T: Element> Ahead<'a, T> {
    /// From layer `first` on, at which samples of shape `input` arrive; `None` where it is no convolution.
    pub(super) fn from_convolution(
        layers: &'a [Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
    ) -> Option<Self> {
        let convolves = matches!(layers[first].operation(), Operation::Convolution(..));
        let (true, &[channels, height, width]) = (convolves, input) else { return None };
        Some(Self { layers, at: first, shape: [channels, height, width], name: String::new() })
    }

    /// Takes the next layer if `wanted` knows what to do with it.
    pub(super) fn take<R>(&mut self, wanted: impl Fn(Operation) -> Option<R>) -> Result<Option<R>> {
        let Some(layer) = self.layers.get(self.at) else { return Ok(None) };
        let Some(found) = wanted(layer.operation()) else { return Ok(None) };
        let output = layer.output_shape(&self.shape)?;
        let Ok(shape) = output.try_into() else { return Ok(None) };
        let plus = if self.name.is_empty() { "" } else { " + " };
        self.name = format!("{}{plus}{}", self.name, layer.name());
        self.shape = shape;
        self.at += 1;
        Ok(Some(found))
    }

    /// Filters and window of the next layer, if it is a convolution.
    pub(super) fn take_convolution(&mut self) -> Result<Option<(usize, Window)>> {
        self.take(|operation| match operation {
            Operation::Convolution(filters, window) => Some((filters, window)),
            _ => None,
        })
    }

    pub(super) fn take_relu(&mut self) -> Result<bool> {
        Ok(self.take(|operation| (operation == Operation::Relu).then_some(()))?.is_some())
    }

    /// Whether the next layer is batch normalisation of channels.
    fn take_normalization(&mut self) -> Result<bool> {
        let per_channel = |operation| match operation {
            Operation::BatchNormalization(Statistics::PerChannel, _) => Some(()),
            _ => None,
        };
        Ok(self.take(per_channel)?.is_some())
    }

    /// Whether the next layer contains branches, whose output is one of images.
    fn take_branches(&mut self) -> Result<bool> {
        let branches = |operation| match operation {
            Operation::Residual | Operation::Concat => Some(()),
            _ => None,
        };
        Ok(self.take(branches)?.is_some())
    }

    fn take_max_pooling(&mut self, layout: &mut Layout) -> Result<Option<Pool>> {
        let before = self.shape;
        let window = self.take(|operation| match operation {
            Operation::MaxPooling(window) => Some(window),
            _ => None,
        })?;
        let Some(window) = window else { return Ok(None) };
        let pooling = Pooling::new::<T>(before, window)?;
        let planes = [before, self.shape].map(|[_, height, width]| height * width * layout.lanes);
        Ok(Some(Pool { pooling, index: layout.span(&self.shape), planes }))
    }
}

/// What passes between operations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) span: Span,
    /// The layers of the network before it.
    pub(super) after: usize,
    /// The value that it is a part of, and the elements before it there: branches write where they are joined.
    pub(super) whole: Option<(usize, usize)>,
}

/// Where the layers being planned belong: to the network itself, or inside one of its layers.
#[derive(Default)]
struct Within {
    layer: Option<usize>,
    /// For the names of operations.
    prefix: String,
}

/// The branches of a layer, and what arrives at each of them.
struct Branches<'a, T: Element> {
    chains: Vec<&'a Chain<T>>,
    /// The layer of the network that they are inside of.
    layer: usize,
    prefix: String,
    value: usize,
    shape: [usize; 3],
}

/// A segment in the making.
#[derive(Debug)]
pub(super) struct Planner {
    layout: Layout,
    ops: Vec<Op>,
    values: Vec<Value>,
    filters_len: usize,
    gradient_len: usize,
    normalized: Vec<usize>,
    /// The next layer among the network's leaves.
    leaf: usize,
}

/// What a [`Planner`] decided, in the words of [`super::plan::Plan`].
pub(super) struct Planned {
    pub(super) ops: Vec<Op>,
    /// The layer after the segment.
    pub(super) end: usize,
    pub(super) output_shape: Vec<usize>,
    pub(super) group_len: usize,
    pub(super) output: Span,
    pub(super) places: Places,
    pub(super) filters_len: usize,
    pub(super) gradient_len: usize,
    pub(super) normalized: Vec<usize>,
}

impl Planner {
    /// The segment that begins with layer `first`, if there is one.
    pub(super) fn plan<T: Element>(
        layers: &[Box<dyn Layer<T>>],
        first: usize,
        input: &[usize],
        lanes: usize,
    ) -> Result<Option<Planned>> {
        let begins = matches!(
            layers[first].operation(),
            Operation::Convolution(..) | Operation::Residual | Operation::Concat
        );
        let (true, &[channels, height, width]) = (begins, input) else { return Ok(None) };
        let shape = [channels, height, width];
        let mut layout = Layout { lanes, end: 0 };
        let value = Value { span: layout.span(&shape), after: first, whole: None };
        let mut planner = Self {
            layout,
            ops: Vec::new(),
            values: vec![value],
            filters_len: 0,
            gradient_len: 0,
            normalized: Vec::new(),
            leaf: leaves(&layers[..first]).len(),
        };
        let mut ahead = Ahead { layers, at: first, shape, name: String::new() };
        let last = planner.chain(&Within::default(), &mut ahead, 0, None)?;
        let Self { layout, mut ops, values, filters_len, gradient_len, normalized, .. } = planner;
        if !ops.iter().any(|op| matches!(op.kind, Kind::Convolution { .. })) {
            return Ok(None);
        }
        let places = gradients::place(&mut ops, &values, last);
        Ok(Some(Planned {
            ops,
            end: ahead.at,
            output_shape: ahead.shape.to_vec(),
            group_len: layout.end,
            output: values[last].span,
            places,
            filters_len,
            gradient_len,
            normalized,
        }))
    }

    /// Plans the layers ahead, at which `value` arrives, as far as possible; gives what comes out. The end of the layers is
    /// written to `target`, where there is one.
    fn chain<T: Element>(
        &mut self,
        within: &Within,
        ahead: &mut Ahead<'_, T>,
        mut value: usize,
        target: Option<usize>,
    ) -> Result<usize> {
        while let Some(layer) = ahead.layers.get(ahead.at) {
            let next = match layer.operation() {
                Operation::Residual | Operation::Concat => {
                    self.container(within, ahead, value, target)?
                }
                _ => self.operation(within, ahead, value, target)?,
            };
            let Some(next) = next else { break };
            value = next;
        }
        Ok(value)
    }

    /// The next layer, with those that are fused with it.
    fn operation<T: Element>(
        &mut self,
        within: &Within,
        ahead: &mut Ahead<'_, T>,
        value: usize,
        target: Option<usize>,
    ) -> Result<Option<usize>> {
        let (first, before) = (ahead.at, ahead.shape);
        ahead.name.clear();
        let (mut relu, mut flops) = (false, 0.0);
        let kind = if let Some((filters, window)) = ahead.take_convolution()? {
            let plan = Box::new(Convolution::new::<T>(before, filters, window)?);
            flops = plan.flops();
            if plan.is_winograd() {
                ahead.name.push_str(" (Winograd)");
            }
            let gradient = self.gradient_len;
            self.gradient_len += plan.geometry().weight_len() + filters;
            let filters = Span { start: self.filters_len, len: plan.filters_len() };
            self.filters_len += filters.len;
            relu = ahead.take_relu()?;
            let pool = ahead.take_max_pooling(&mut self.layout)?;
            relu |= pool.is_some() && !relu && ahead.take_relu()?;
            Kind::Convolution { plan, pool, filters, gradient }
        } else if let Some(pool) = ahead.take_max_pooling(&mut self.layout)? {
            Kind::MaxPooling(pool)
        } else if ahead.take_relu()? {
            Kind::Relu
        } else if ahead.take_normalization()? {
            relu = ahead.take_relu()?;
            self.normalized.push(before[0]);
            Kind::Normalization(Normalization::new::<T>(before)?, self.normalized.len() - 1)
        } else {
            let window = ahead.take(|operation| match operation {
                Operation::AveragePooling(window) => Some(window),
                _ => None,
            })?;
            let Some(window) = window else { return Ok(None) };
            Kind::AveragePooling(Pooling::new::<T>(before, window)?)
        };
        let op = self.push(within, ahead, first, kind, value, target);
        (op.relu, op.flops) = (relu, flops);
        Ok(Some(op.value))
    }

    /// The next layer, one that contains others; `None`, and all as it was, where one of those cannot be planned.
    fn container<T: Element>(
        &mut self,
        within: &Within,
        ahead: &mut Ahead<'_, T>,
        value: usize,
        target: Option<usize>,
    ) -> Result<Option<usize>> {
        let (first, shape, mark) = (ahead.at, ahead.shape, self.mark());
        let layer = &ahead.layers[first];
        ahead.name.clear();
        if !ahead.take_branches()? {
            return Ok(None);
        }
        let (chains, prefix) = (layer.chains(), within.prefix.clone());
        let layer_number = within.layer.unwrap_or(first);
        let inside = Branches { chains, layer: layer_number, prefix, value, shape };
        let planned = match layer.operation() {
            Operation::Residual => self.residual(within, ahead, &inside, target)?,
            _ => self.concat(ahead, &inside, target)?,
        };
        if planned.is_none() {
            self.back_to(mark);
            (ahead.at, ahead.shape) = (first, shape);
        }
        Ok(planned)
    }

    /// A [`crate::layers::Residual`], which `ahead` has passed: its body, its shortcut, and their sum.
    fn residual<T: Element>(
        &mut self,
        within: &Within,
        ahead: &mut Ahead<'_, T>,
        inside: &Branches<'_, T>,
        target: Option<usize>,
    ) -> Result<Option<usize>> {
        let [body, shortcut] = inside.chains[..] else { return Ok(None) };
        let Some(body) = self.branch(inside, "body", body, None)? else { return Ok(None) };
        let shortcut = match shortcut.layers() {
            [] => Some(inside.value),
            _ => self.branch(inside, "shortcut", shortcut, None)?,
        };
        let Some(shortcut) = shortcut else { return Ok(None) };
        // The ReLU is a leaf, the layer itself is none.
        let first_leaf = ahead.at;
        let relu = ahead.take_relu()?;
        let kind = Kind::Sum(self.input(shortcut));
        let op = self.push(within, ahead, first_leaf, kind, body, target);
        (op.layer, op.relu) = (inside.layer, relu);
        Ok(Some(op.value))
    }

    /// A [`crate::layers::Concat`], which `ahead` has passed: its branches, which write next to each other.
    fn concat<T: Element>(
        &mut self,
        ahead: &Ahead<'_, T>,
        inside: &Branches<'_, T>,
        target: Option<usize>,
    ) -> Result<Option<usize>> {
        let after = inside.layer + 1;
        let joined = match target {
            Some(target) if ahead.at == ahead.layers.len() => target,
            _ => self.value(ahead.shape, after),
        };
        let Value { span, whole, .. } = self.values[joined];
        let (root, offset) = whole.unwrap_or((joined, 0));
        let mut end = 0;
        for (index, chain) in inside.chains.iter().enumerate() {
            let shape = chain.output_shape(&inside.shape)?;
            let len = shape.iter().product::<usize>() * self.layout.lanes;
            let part = Span { start: span.start + end, len };
            self.values.push(Value { span: part, after, whole: Some((root, offset + end)) });
            end += len;
            let (name, target) = (format!("branch {}", index + 1), self.values.len() - 1);
            if self.branch(inside, &name, chain, Some(target))?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(joined))
    }

    /// Plans all of a branch; `None` where that cannot be done, or there is nothing in it.
    fn branch<T: Element>(
        &mut self,
        inside: &Branches<'_, T>,
        name: &str,
        chain: &Chain<T>,
        target: Option<usize>,
    ) -> Result<Option<usize>> {
        let (layers, prefix) = (chain.layers(), format!("{}{name}: ", inside.prefix));
        let within = Within { layer: Some(inside.layer), prefix };
        let mut ahead = Ahead { layers, at: 0, shape: inside.shape, name: String::new() };
        let value = self.chain(&within, &mut ahead, inside.value, target)?;
        Ok((!layers.is_empty() && ahead.at == layers.len()).then_some(value))
    }

    /// A new value.
    fn value(&mut self, shape: [usize; 3], after: usize) -> usize {
        let span = self.layout.span(&shape);
        self.values.push(Value { span, after, whole: None });
        self.values.len() - 1
    }

    /// A value as the input of an operation; the places of gradients come later.
    fn input(&self, value: usize) -> Input {
        let Value { span, after, .. } = self.values[value];
        Input { value, span, dx: Span::default(), sum: None, after }
    }

    /// Adds the operation of the layers from `first` to where `ahead` stands now.
    fn push<T: Element>(
        &mut self,
        within: &Within,
        ahead: &mut Ahead<'_, T>,
        first: usize,
        kind: Kind,
        input: usize,
        target: Option<usize>,
    ) -> &mut Op {
        let leaf = self.leaf;
        self.leaf += ahead.at - first;
        let value = match target {
            Some(target) if ahead.at == ahead.layers.len() => target,
            _ => self.value(ahead.shape, within.layer.map_or(ahead.at, |layer| layer + 1)),
        };
        self.ops.push(Op {
            masked: matches!(kind, Kind::Convolution { pool: Some(_), .. }),
            kind,
            layer: within.layer.unwrap_or(first),
            leaf,
            name: format!("{}{}", within.prefix, ahead.name),
            input: self.input(input),
            value,
            output: self.values[value].span,
            dy: Span::default(),
            shape: ahead.shape,
            relu: false,
            masks_input: false,
            flops: 0.0,
        });
        let last = self.ops.len() - 1;
        &mut self.ops[last]
    }

    /// What [`Planner::back_to`] goes back to.
    fn mark(&self) -> Mark {
        Mark {
            layout: self.layout,
            lens: [self.ops.len(), self.values.len(), self.normalized.len()],
            filters_len: self.filters_len,
            gradient_len: self.gradient_len,
            leaf: self.leaf,
        }
    }

    /// Forgets what has been planned since.
    fn back_to(&mut self, mark: Mark) {
        let [ops, values, normalized] = mark.lens;
        self.ops.truncate(ops);
        self.values.truncate(values);
        self.normalized.truncate(normalized);
        self.layout = mark.layout;
        self.filters_len = mark.filters_len;
        self.gradient_len = mark.gradient_len;
        self.leaf = mark.leaf;
    }
}

/// How far a [`Planner`] has come.
struct Mark {
    layout: Layout,
    lens: [usize; 3],
    filters_len: usize,
    gradient_len: usize,
    leaf: usize,
}
