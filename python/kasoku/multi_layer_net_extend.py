"""The fully connected network with batch normalisation and dropout of chapter 6, as the book's
``common.multi_layer_net_extend``.
"""

from collections import OrderedDict

import numpy as np

from kasoku.gradient import numerical_gradient
from kasoku.layers import *
from kasoku.layers import BatchNormalization, Dropout, Relu, Sigmoid, SoftmaxWithLoss
from kasoku.multi_layer_net import MultiLayerNet, _accuracy


class MultiLayerNetExtend(MultiLayerNet):
    """MultiLayerNet whose hidden layers may have batch normalisation before the activation and dropout after it.

    ``dropout_ration`` and ``dropout_ratio`` are the book's two spellings of one argument.
    """

    def __init__(
        self,
        input_size,
        hidden_size_list,
        output_size,
        activation="relu",
        weight_init_std="relu",
        weight_decay_lambda=0,
        use_dropout=False,
        dropout_ration=0.5,
        use_batchnorm=False,
        *,
        dropout_ratio=None,
    ):
        if dropout_ratio is not None:
            dropout_ration = dropout_ratio
        self.use_dropout = use_dropout
        self.use_batchnorm = use_batchnorm
        super().__init__(
            input_size,
            hidden_size_list,
            output_size,
            activation,
            weight_init_std,
            weight_decay_lambda,
        )
        activation_layer = {"sigmoid": Sigmoid, "relu": Relu}[activation]
        self.layers = OrderedDict()
        for idx, size in enumerate(hidden_size_list, start=1):
            self.layers[f"Affine{idx}"] = self._affine(idx)
            if use_batchnorm:
                self.params[f"gamma{idx}"] = np.ones(size)
                self.params[f"beta{idx}"] = np.zeros(size)
                self.layers[f"BatchNorm{idx}"] = BatchNormalization(
                    self.params[f"gamma{idx}"], self.params[f"beta{idx}"]
                )
            self.layers[f"Activation_function{idx}"] = activation_layer()
            if use_dropout:
                self.layers[f"Dropout{idx}"] = Dropout(dropout_ration)
        idx = self.hidden_layer_num + 1
        self.layers[f"Affine{idx}"] = self._affine(idx)
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        """The scores of each sample, (N, output_size)."""
        for key, layer in self.layers.items():
            if "Dropout" in key or "BatchNorm" in key:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x, t, train_flg=False):
        """The loss, weight decay included; t holds labels or is one-hot."""
        y = self.predict(x, train_flg)
        return self.last_layer.forward(y, t) + self._weight_decay()

    def accuracy(self, X, T):
        """The share of samples whose highest score is their label's, from 0 to 1."""
        return _accuracy(self.predict(X, train_flg=False), T)

    def numerical_gradient(self, X, T):
        """The gradients by central differences, keyed like params, in training mode as in the book."""
        return {
            key: numerical_gradient(lambda _: self.loss(X, T, train_flg=True), self.params[key])
            for key in self._keys()
        }

    def _keys(self):
        """Layer by layer, as in the book: W1, b1, gamma1, beta1, W2, …"""
        keys = []
        for idx in range(1, self.hidden_layer_num + 2):
            normalised = self.use_batchnorm and idx <= self.hidden_layer_num
            names = ("W", "b", "gamma", "beta") if normalised else ("W", "b")
            keys += [f"{name}{idx}" for name in names]
        return keys

    def gradient(self, x, t):
        """The gradients by backpropagation, keyed like params."""
        self.loss(x, t, train_flg=True)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        grads = self._gradients()
        if self.use_batchnorm:
            for idx in range(1, self.hidden_layer_num + 1):
                layer = self.layers[f"BatchNorm{idx}"]
                grads[f"gamma{idx}"] = layer.dgamma
                grads[f"beta{idx}"] = layer.dbeta
        return {key: grads[key] for key in self._keys()}
