"""Chapter 4: losses, numerical derivatives, and descent along them."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.functions import cross_entropy_error, sum_squared_error
from common.gradient import numerical_gradient, numerical_gradient_2d

t = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
y = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
print(sum_squared_error(y, t), cross_entropy_error(y, t))
batch = np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]])
print(cross_entropy_error(batch, np.array([1, 0, 0])))


def function_2(x):
    return np.sum(x**2)


for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
    print(numerical_gradient(function_2, np.array(point)))
print(numerical_gradient_2d(function_2, np.array([[1.0, 2.0], [3.0, -1.0]])))

x = np.array([-3.0, 4.0])
for _ in range(100):
    x -= 0.1 * numerical_gradient(function_2, x)
print(np.round(x, 9))
