"""Chapter 7: convolution - ReLU - pool - affine - ReLU - affine - softmax."""

import os
import pickle
import sys

sys.path.append(os.pardir)
from collections import OrderedDict

import numpy as np
from common.gradient import numerical_gradient
from common.layers import *


class SimpleConvNet:
    def __init__(
        self,
        input_dim=(1, 28, 28),
        conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100,
        output_size=10,
        weight_init_std=0.01,
    ):
        filter_num, filter_size = conv_param["filter_num"], conv_param["filter_size"]
        pad, stride = conv_param["pad"], conv_param["stride"]
        size = (input_dim[1] - filter_size + 2 * pad) / stride + 1
        pooled = int(filter_num * (size / 2) * (size / 2))
        shapes = [
            (filter_num, input_dim[0], filter_size, filter_size),
            (pooled, hidden_size),
            (hidden_size, output_size),
        ]
        biases = [filter_num, hidden_size, output_size]
        self.params = {}
        for i in range(3):
            self.params[f"W{i + 1}"] = weight_init_std * np.random.randn(*shapes[i])
            self.params[f"b{i + 1}"] = np.zeros(biases[i])
        p = self.params
        self.layers = OrderedDict()
        self.layers["Conv1"] = Convolution(p["W1"], p["b1"], stride, pad)
        self.layers["Relu1"] = Relu()
        self.layers["Pool1"] = Pooling(pool_h=2, pool_w=2, stride=2)
        self.layers["Affine1"] = Affine(p["W2"], p["b2"])
        self.layers["Relu2"] = Relu()
        self.layers["Affine2"] = Affine(p["W3"], p["b3"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def accuracy(self, x, t, batch_size=100):
        if t.ndim != 1:
            t = np.argmax(t, axis=1)
        acc = 0.0
        for i in range(int(x.shape[0] / batch_size)):
            y = self.predict(x[i * batch_size : (i + 1) * batch_size])
            acc += np.sum(np.argmax(y, axis=1) == t[i * batch_size : (i + 1) * batch_size])
        return acc / x.shape[0]

    def _grads(self):
        layers = {1: "Conv1", 2: "Affine1", 3: "Affine2"}
        grads = {f"W{i}": self.layers[name].dW for i, name in layers.items()}
        return grads | {f"b{i}": self.layers[name].db for i, name in layers.items()}

    def numerical_gradient(self, x, t):
        return {
            key: numerical_gradient(lambda w: self.loss(x, t), self.params[key])
            for key in self.params
        }

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        return self._grads()

    def save_params(self, file_name="params.pkl"):
        with open(file_name, "wb") as f:
            pickle.dump(dict(self.params), f)

    def load_params(self, file_name="params.pkl"):
        with open(file_name, "rb") as f:
            params = pickle.load(f)
        for key, value in params.items():
            self.params[key] = value
        for i, key in enumerate(["Conv1", "Affine1", "Affine2"]):
            self.layers[key].W = self.params[f"W{i + 1}"]
            self.layers[key].b = self.params[f"b{i + 1}"]
