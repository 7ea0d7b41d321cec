"""The fully connected network of chapter 6, as the book's ``common.multi_layer_net``."""

from collections import OrderedDict

import numpy as np

from kasoku.gradient import numerical_gradient
from kasoku.layers import *
from kasoku.layers import Affine, Relu, Sigmoid, SoftmaxWithLoss


class MultiLayerNet:
    """Affine layers with an activation between them.

    activation: 'relu' or 'sigmoid'. weight_init_std: the standard deviation of the weights, or 'relu' or 'he' for √(2/n),
    or 'sigmoid' or 'xavier' for √(1/n), n being a layer's inputs. weight_decay_lambda: λ of the loss's ½·λ·ΣW².
    """

    def __init__(
        self,
        input_size,
        hidden_size_list,
        output_size,
        activation="relu",
        weight_init_std="relu",
        weight_decay_lambda=0,
    ):
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        self.params = {}
        self._init_weight(weight_init_std)

        activation_layer = {"sigmoid": Sigmoid, "relu": Relu}[activation]
        self.layers = OrderedDict()
        for idx in range(1, self.hidden_layer_num + 1):
            self.layers[f"Affine{idx}"] = self._affine(idx)
            self.layers[f"Activation_function{idx}"] = activation_layer()
        idx = self.hidden_layer_num + 1
        self.layers[f"Affine{idx}"] = self._affine(idx)
        self.last_layer = SoftmaxWithLoss()

    def _affine(self, idx):
        return Affine(self.params[f"W{idx}"], self.params[f"b{idx}"])

    def _init_weight(self, weight_init_std):
        sizes = [self.input_size, *self.hidden_size_list, self.output_size]
        for idx in range(1, len(sizes)):
            scale = _scale(weight_init_std, sizes[idx - 1])
            self.params[f"W{idx}"] = scale * np.random.randn(sizes[idx - 1], sizes[idx])
            self.params[f"b{idx}"] = np.zeros(sizes[idx])

    def _numbers(self):
        """The numbers of the affine layers, from 1."""
        return range(1, self.hidden_layer_num + 2)

    def predict(self, x):
        """The scores of each sample, (N, output_size)."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        """The loss, weight decay included; t holds labels or is one-hot."""
        y = self.predict(x)
        return self.last_layer.forward(y, t) + self._weight_decay()

    def _weight_decay(self):
        decay = 0
        if self.weight_decay_lambda != 0:  # 0·Σ is 0
            for idx in self._numbers():
                W = self.params[f"W{idx}"]
                decay += 0.5 * self.weight_decay_lambda * np.sum(W**2)
        return decay

    def accuracy(self, x, t):
        """The share of samples whose highest score is their label's, from 0 to 1."""
        return _accuracy(self.predict(x), t)

    def numerical_gradient(self, x, t):
        """The gradients by central differences, keyed like params."""
        return {
            key: numerical_gradient(lambda _: self.loss(x, t), self.params[key])
            for key in self._keys()
        }

    def _keys(self):
        return [f"{name}{idx}" for idx in self._numbers() for name in "Wb"]

    def gradient(self, x, t):
        """The gradients by backpropagation, keyed like params."""
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        return self._gradients()

    def _gradients(self):
        grads = {}
        for idx in self._numbers():
            affine = self.layers[f"Affine{idx}"]
            dW = affine.dW
            if self.weight_decay_lambda != 0:
                dW = dW + self.weight_decay_lambda * affine.W
            grads[f"W{idx}"] = dW
            grads[f"b{idx}"] = affine.db
        return grads


def _scale(weight_init_std, inputs):
    name = str(weight_init_std).lower()
    if name in ("relu", "he"):
        return np.sqrt(2.0 / inputs)
    if name in ("sigmoid", "xavier"):
        return np.sqrt(1.0 / inputs)
    return weight_init_std


def _accuracy(y, t):
    labels = np.argmax(t, axis=1) if t.ndim != 1 else t
    return np.sum(np.argmax(y, axis=1) == labels) / float(y.shape[0])
