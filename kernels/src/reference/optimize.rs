//! Twins of [`mod@crate::optimize`]: each rule, one parameter at a time.

use crate::element::Element;
use crate::optimize::{AdaDelta, AdaGrad, Adam, AdamW, Momentum, Nesterov, RmsProp, Sgd};

/// [`Sgd::update`] by the definition.
pub fn sgd<T: Element>(rule: &Sgd<T>, p: &mut [T], g: &[T]) {
    for (p, &g) in p.iter_mut().zip(g) {
        let g = g + rule.weight_decay * *p;
        *p -= rule.lr * g;
    }
}

/// [`Momentum::update`] by the definition.
pub fn momentum<T: Element>(rule: &Momentum<T>, p: &mut [T], g: &[T], v: &mut [T]) {
    for ((p, &g), v) in p.iter_mut().zip(g).zip(v) {
        let g = g + rule.weight_decay * *p;
        *v = rule.momentum * *v - rule.lr * g;
        *p += *v;
    }
}

/// [`Nesterov::update`] by the definition.
pub fn nesterov<T: Element>(rule: &Nesterov<T>, p: &mut [T], g: &[T], v: &mut [T]) {
    for ((p, &g), v) in p.iter_mut().zip(g).zip(v) {
        let g = g + rule.weight_decay * *p;
        *p += rule.momentum * rule.momentum * *v;
        *p -= (T::one() + rule.momentum) * rule.lr * g;
        *v = rule.momentum * *v - rule.lr * g;
    }
}

/// [`AdaGrad::update`] by the definition.
pub fn adagrad<T: Element>(rule: &AdaGrad<T>, p: &mut [T], g: &[T], h: &mut [T]) {
    for ((p, &g), h) in p.iter_mut().zip(g).zip(h) {
        let g = g + rule.weight_decay * *p;
        *h += g * g;
        *p -= rule.lr * g / (h.sqrt() + rule.epsilon);
    }
}

/// [`RmsProp::update`] by the definition.
pub fn rmsprop<T: Element>(rule: &RmsProp<T>, p: &mut [T], g: &[T], h: &mut [T]) {
    for ((p, &g), h) in p.iter_mut().zip(g).zip(h) {
        let g = g + rule.weight_decay * *p;
        *h = rule.decay_rate * *h + (T::one() - rule.decay_rate) * g * g;
        *p -= rule.lr * g / (h.sqrt() + rule.epsilon);
    }
}

/// [`AdaDelta::update`] by the definition.
pub fn adadelta<T: Element>(rule: &AdaDelta<T>, p: &mut [T], g: &[T], h: &mut [T], d: &mut [T]) {
    let rest = T::one() - rule.decay_rate;
    for (((p, &g), h), d) in p.iter_mut().zip(g).zip(h).zip(d) {
        let g = g + rule.weight_decay * *p;
        *h = rule.decay_rate * *h + rest * g * g;
        let step = (*d + rule.epsilon).sqrt() / (*h + rule.epsilon).sqrt() * g;
        *d = rule.decay_rate * *d + rest * step * step;
        *p -= rule.lr * step;
    }
}

/// [`Adam::update`] by the definition.
pub fn adam<T: Element>(rule: &Adam<T>, step: u64, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
    let (beta1, beta2) = (rule.beta1.as_f64(), rule.beta2.as_f64());
    let correction = (1.0 - beta2.powf(step as f64)).sqrt() / (1.0 - beta1.powf(step as f64));
    let lr = T::of(rule.lr.as_f64() * correction);
    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g + rule.weight_decay * *p;
        *m += (T::one() - rule.beta1) * (g - *m);
        *v += (T::one() - rule.beta2) * (g * g - *v);
        *p -= lr * *m / (v.sqrt() + rule.epsilon);
    }
}

/// [`AdamW::update`] by the definition.
pub fn adamw<T: Element>(
    rule: &AdamW<T>,
    step: u64,
    p: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
) {
    let correct1 = T::of(1.0 - rule.beta1.as_f64().powf(step as f64));
    let correct2 = T::of(1.0 - rule.beta2.as_f64().powf(step as f64));
    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        *m += (T::one() - rule.beta1) * (g - *m);
        *v += (T::one() - rule.beta2) * (g * g - *v);
        *p -= rule.lr * rule.weight_decay * *p;
        *p -= rule.lr * (*m / correct1) / ((*v / correct2).sqrt() + rule.epsilon);
    }
}
