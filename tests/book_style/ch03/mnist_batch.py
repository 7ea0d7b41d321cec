"""Chapter 3: MNIST through a network of random weights, in batches."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.functions import sigmoid, softmax
from dataset.mnist import load_mnist

(x_train, t_train), (x_test, t_test) = load_mnist(normalize=False, flatten=True)
print(x_train.shape, x_train.dtype, t_train.shape, t_train.dtype, t_train[:10])
(x_train, t_train), (x_test, t_test) = load_mnist(flatten=False, one_hot_label=True)
print(x_train.shape, x_train.dtype, t_train.shape, t_train.dtype, t_train[0])
(_, _), (x, t) = load_mnist(normalize=True, flatten=True)

np.random.seed(3)
W1, W2, W3 = (0.1 * np.random.randn(*shape) for shape in ((784, 50), (50, 100), (100, 10)))
batch_size = 100
correct = 0
for i in range(0, len(x), batch_size):
    x_batch = x[i : i + batch_size]
    y = softmax(sigmoid(sigmoid(x_batch.dot(W1)).dot(W2)).dot(W3))
    correct += np.sum(np.argmax(y, axis=1) == t[i : i + batch_size])
print(y[0])
print("Accuracy:" + str(float(correct) / len(x)))
