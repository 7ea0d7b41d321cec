//! Parameter updates: one fused pass over the parameters, their gradients and the rule's state.
//!
//! `p` are parameters, `g` their gradients, the other slices the rule's state, zeros before the first
//! update. Every rule has a `weight_decay` λ: λ·p is added to the gradient (the gradient of
//! ½·λ·p²), except in [`AdamW`], which decays the parameter itself. Every `update` gives
//! [`Error::Length`] where its slices differ in length, and writes nothing then.
//!
//! What is too small to be seen beside `epsilon` is taken to be 0. The running means of a weight that gets no gradient any more (its
//! ReLU is dead, its sample learnt by heart) decay to denormal numbers otherwise, which never reach 0 and each of which costs a CPU
//! a hundred cycles: Adam came to take 6 times as long.

use pulp::Simd;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::map::{Map, map};
use crate::simd::Vector;

/// g + λ·p.
#[inline(always)]
fn decayed<T: Element, S: Simd>(
    simd: S,
    weight_decay: T,
    p: Vector<T, S>,
    g: Vector<T, S>,
) -> Vector<T, S> {
    // Not where λ is 0: 0·∞ would be NaN.
    if weight_decay == T::zero() { g } else { Vector::splat(simd, weight_decay).mul_add(p, g) }
}

/// Below which a gradient, or a mean of them, is lost beside `epsilon`: 2⁻⁵⁶ of f32, whose square is a normal number, and so is a
/// hundredth of a percent of that. Where epsilon is so small itself that it hides nothing, 0.
fn least<T: Element>(epsilon: T) -> T {
    match epsilon.as_f64() >= 1e-10 {
        true => T::min_positive_value().sqrt() * T::of(128.0),
        false => T::zero(),
    }
}

/// Below which a velocity moves nothing: 2⁻¹⁰⁰ of f32.
fn least_velocity<T: Element>() -> T {
    T::min_positive_value() * T::of(f64::from(1 << 26))
}

/// x, or 0 where it is smaller than `least`.
#[inline(always)]
fn settled<T: Element, S: Simd>(simd: S, x: Vector<T, S>, least: T) -> Vector<T, S> {
    x.abs().lt(Vector::splat(simd, least)).select(Vector::zero(simd), x)
}

/// The same of a mean of squares.
#[inline(always)]
fn settled_square<T: Element, S: Simd>(simd: S, x: Vector<T, S>, least: T) -> Vector<T, S> {
    x.lt(Vector::splat(simd, least * least)).select(Vector::zero(simd), x)
}

/// Stochastic gradient descent: p ← p − lr·g (chapter 6).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd<T> {
    /// The learning rate.
    pub lr: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> Sgd<T> {
    /// One step.
    pub fn update(&self, p: &mut [T], g: &[T]) -> Result<()> {
        map("Sgd::update", self, [("p", p)], [("g", g)])
    }
}

impl<T: Element> Map<T, 1, 1> for Sgd<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p]: [Vector<T, S>; 1],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 1] {
        let g = decayed(simd, self.weight_decay, p, g);
        [p - Vector::splat(simd, self.lr) * g]
    }
}

/// Momentum: v ← momentum·v − lr·g, p ← p + v (chapter 6; Polyak 1964).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Momentum<T> {
    /// The learning rate.
    pub lr: T,
    /// The share of the velocity that is kept.
    pub momentum: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> Momentum<T> {
    /// One step; `v` is the velocity.
    pub fn update(&self, p: &mut [T], g: &[T], v: &mut [T]) -> Result<()> {
        map("Momentum::update", self, [("p", p), ("v", v)], [("g", g)])
    }
}

impl<T: Element> Map<T, 2, 1> for Momentum<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, v]: [Vector<T, S>; 2],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 2] {
        let g = decayed(simd, self.weight_decay, p, g);
        let step = Vector::splat(simd, self.lr) * g;
        let v = settled(simd, Vector::splat(simd, self.momentum) * v - step, least_velocity());
        [p + v, v]
    }
}

/// Nesterov's accelerated gradient: v ← momentum·v − lr·g, p ← p + momentum·v − lr·g with the new v,
/// which is the book's p + momentum²·v − (1 + momentum)·lr·g with the old one (its library's
/// `Nesterov`; Bengio et al., "Advances in Optimizing Recurrent Networks", 2012).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nesterov<T> {
    /// The learning rate.
    pub lr: T,
    /// The share of the velocity that is kept.
    pub momentum: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> Nesterov<T> {
    /// One step; `v` is the velocity.
    pub fn update(&self, p: &mut [T], g: &[T], v: &mut [T]) -> Result<()> {
        map("Nesterov::update", self, [("p", p), ("v", v)], [("g", g)])
    }
}

impl<T: Element> Map<T, 2, 1> for Nesterov<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, v]: [Vector<T, S>; 2],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 2] {
        let momentum = Vector::splat(simd, self.momentum);
        let g = decayed(simd, self.weight_decay, p, g);
        let step = Vector::splat(simd, self.lr) * g;
        let v = settled(simd, momentum * v - step, least_velocity());
        [p + (momentum * v - step), v]
    }
}

/// AdaGrad: h ← h + g², p ← p − lr·g/(√h + epsilon) (chapter 6; Duchi et al. 2011).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaGrad<T> {
    /// The learning rate.
    pub lr: T,
    /// Added to the root; 1e-7 in the book.
    pub epsilon: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> AdaGrad<T> {
    /// One step; `h` is the sum of squared gradients.
    pub fn update(&self, p: &mut [T], g: &[T], h: &mut [T]) -> Result<()> {
        map("AdaGrad::update", self, [("p", p), ("h", h)], [("g", g)])
    }
}

impl<T: Element> Map<T, 2, 1> for AdaGrad<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, h]: [Vector<T, S>; 2],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 2] {
        let g = decayed(simd, self.weight_decay, p, g);
        let g = settled(simd, g, least(self.epsilon));
        let h = g.mul_add(g, h);
        let root = h.sqrt() + Vector::splat(simd, self.epsilon);
        [p - Vector::splat(simd, self.lr) * g / root, h]
    }
}

/// RMSprop: h ← decay_rate·h + (1 − decay_rate)·g², p ← p − lr·g/(√h + epsilon) (the book's library;
/// Tieleman and Hinton 2012).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp<T> {
    /// The learning rate.
    pub lr: T,
    /// The share of h that is kept.
    pub decay_rate: T,
    /// Added to the root; 1e-7 in the book.
    pub epsilon: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> RmsProp<T> {
    /// One step; `h` is the running mean of squared gradients.
    pub fn update(&self, p: &mut [T], g: &[T], h: &mut [T]) -> Result<()> {
        map("RmsProp::update", self, [("p", p), ("h", h)], [("g", g)])
    }
}

impl<T: Element> Map<T, 2, 1> for RmsProp<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, h]: [Vector<T, S>; 2],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 2] {
        let splat = |x| Vector::splat(simd, x);
        let least = least(self.epsilon);
        let g = settled(simd, decayed(simd, self.weight_decay, p, g), least);
        let h = splat(self.decay_rate).mul_add(h, splat(T::one() - self.decay_rate) * g * g);
        let h = settled_square(simd, h, least);
        let root = h.sqrt() + splat(self.epsilon);
        [p - splat(self.lr) * g / root, h]
    }
}

/// AdaDelta: h ← ρ·h + (1 − ρ)·g², Δ = √(d + epsilon)/√(h + epsilon)·g, d ← ρ·d + (1 − ρ)·Δ²,
/// p ← p − lr·Δ, with ρ = decay_rate (Zeiler 2012, where lr is 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaDelta<T> {
    /// The learning rate; 1 in the paper.
    pub lr: T,
    /// ρ, the share of h and d that is kept.
    pub decay_rate: T,
    /// Added under both roots; 1e-6 in the paper.
    pub epsilon: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> AdaDelta<T> {
    /// One step; `h` and `d` are the running means of squared gradients and squared steps.
    pub fn update(&self, p: &mut [T], g: &[T], h: &mut [T], d: &mut [T]) -> Result<()> {
        map("AdaDelta::update", self, [("p", p), ("h", h), ("d", d)], [("g", g)])
    }
}

impl<T: Element> Map<T, 3, 1> for AdaDelta<T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, h, d]: [Vector<T, S>; 3],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 3] {
        let splat = |x| Vector::splat(simd, x);
        let (keep, rest) = (splat(self.decay_rate), splat(T::one() - self.decay_rate));
        let epsilon = splat(self.epsilon);
        let least = least(self.epsilon);
        let g = settled(simd, decayed(simd, self.weight_decay, p, g), least);
        let h = settled_square(simd, keep.mul_add(h, rest * g * g), least);
        let step = (d + epsilon).sqrt() / (h + epsilon).sqrt() * g;
        let d = settled_square(simd, keep.mul_add(d, rest * step * step), least);
        [p - splat(self.lr) * step, h, d]
    }
}

/// Adam, as in the book: m ← m + (1 − beta1)·(g − m), v ← v + (1 − beta2)·(g² − v),
/// p ← p − lr_t·m/(√v + epsilon) with the bias correction folded into
/// lr_t = lr·√(1 − beta2ᵗ)/(1 − beta1ᵗ) (chapter 6; Kingma and Ba 2015, section 2's efficient order).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam<T> {
    /// The learning rate.
    pub lr: T,
    /// The share of m that is kept.
    pub beta1: T,
    /// The share of v that is kept.
    pub beta2: T,
    /// Added to the root; 1e-7 in the book.
    pub epsilon: T,
    /// λ, added to the gradient as λ·p.
    pub weight_decay: T,
}

impl<T: Element> Adam<T> {
    /// Step number `step`, from 1; `m` and `v` are the running means of gradients and their squares.
    ///
    /// # Errors
    /// Also [`Error::Argument`] where `step` is 0.
    pub fn update(&self, step: u64, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) -> Result<()> {
        const OP: &str = "Adam::update";
        let [correct1, correct2] = bias_corrections(OP, step, self.beta1, self.beta2)?;
        let lr = T::of(self.lr.as_f64() * correct2.sqrt() / correct1);
        let rule = AdamStep { rule: self, lr, least: least(self.epsilon) };
        map(OP, &rule, [("p", p), ("m", m), ("v", v)], [("g", g)])
    }
}

/// 1 − betaᵗ for both betas.
fn bias_corrections<T: Element>(
    op: &'static str,
    step: u64,
    beta1: T,
    beta2: T,
) -> Result<[f64; 2]> {
    if step == 0 {
        let value = step.to_string();
        return Err(Error::Argument { op, name: "step", value, expected: "1 or more" });
    }
    Ok([beta1, beta2].map(|beta| 1.0 - beta.as_f64().powf(step as f64)))
}

/// The running means of Adam and AdamW.
#[inline(always)]
fn moments<T: Element, S: Simd>(
    simd: S,
    [beta1, beta2]: [T; 2],
    least: T,
    [g, m, v]: [Vector<T, S>; 3],
) -> [Vector<T, S>; 2] {
    let rest = |beta| Vector::splat(simd, T::one() - beta);
    let g = settled(simd, g, least);
    let (m, v) = (rest(beta1).mul_add(g - m, m), rest(beta2).mul_add(g * g - v, v));
    [settled(simd, m, least), settled_square(simd, v, least)]
}

struct AdamStep<'a, T> {
    rule: &'a Adam<T>,
    lr: T,
    /// Of gradients and their means.
    least: T,
}

impl<T: Element> Map<T, 3, 1> for AdamStep<'_, T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, m, v]: [Vector<T, S>; 3],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 3] {
        let Adam { beta1, beta2, epsilon, weight_decay, .. } = *self.rule;
        let g = decayed(simd, weight_decay, p, g);
        let [m, v] = moments(simd, [beta1, beta2], self.least, [g, m, v]);
        let root = v.sqrt() + Vector::splat(simd, epsilon);
        [p - Vector::splat(simd, self.lr) * m / root, m, v]
    }
}

/// AdamW: m and v as in [`Adam`], then p ← p − lr·λ·p and
/// p ← p − lr·(m/(1 − beta1ᵗ))/(√(v/(1 − beta2ᵗ)) + epsilon) (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW<T> {
    /// The learning rate.
    pub lr: T,
    /// The share of m that is kept.
    pub beta1: T,
    /// The share of v that is kept.
    pub beta2: T,
    /// Added to the root; 1e-8 in the paper.
    pub epsilon: T,
    /// λ, the decay of the parameter itself, times lr.
    pub weight_decay: T,
}

impl<T: Element> AdamW<T> {
    /// Step number `step`, from 1; `m` and `v` are the running means of gradients and their squares.
    ///
    /// # Errors
    /// Also [`Error::Argument`] where `step` is 0.
    pub fn update(&self, step: u64, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) -> Result<()> {
        const OP: &str = "AdamW::update";
        let [correct1, correct2] = bias_corrections(OP, step, self.beta1, self.beta2)?;
        let rule = AdamWStep {
            rule: self,
            keep: T::one() - self.lr * self.weight_decay,
            lr: T::of(self.lr.as_f64() / correct1),
            inv_root: T::of(correct2.sqrt().recip()),
            least: least(self.epsilon),
        };
        map(OP, &rule, [("p", p), ("m", m), ("v", v)], [("g", g)])
    }
}

struct AdamWStep<'a, T> {
    rule: &'a AdamW<T>,
    /// 1 − lr·λ.
    keep: T,
    /// lr/(1 − beta1ᵗ).
    lr: T,
    /// 1/√(1 − beta2ᵗ).
    inv_root: T,
    /// Of gradients and their means.
    least: T,
}

impl<T: Element> Map<T, 3, 1> for AdamWStep<'_, T> {
    #[inline(always)]
    fn map<S: Simd>(
        &self,
        simd: S,
        [p, m, v]: [Vector<T, S>; 3],
        [g]: [Vector<T, S>; 1],
    ) -> [Vector<T, S>; 3] {
        let splat = |x| Vector::splat(simd, x);
        let AdamW { beta1, beta2, epsilon, .. } = *self.rule;
        let [m, v] = moments(simd, [beta1, beta2], self.least, [g, m, v]);
        let root = splat(self.inv_root).mul_add(v.sqrt(), splat(epsilon));
        [p * splat(self.keep) - splat(self.lr) * m / root, m, v]
    }
}
