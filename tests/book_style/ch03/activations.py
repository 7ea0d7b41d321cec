"""Chapter 3: the activation functions, and softmax that does not overflow."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.functions import *

x = np.arange(-5.0, 5.0, 1.0)
for function in (identity_function, step_function, sigmoid, sigmoid_grad, relu, relu_grad):
    y = function(x)
    print(function.__name__, y.dtype, y)

print(sigmoid(np.array([-1.0, 1.0, 2.0])))
print(sigmoid(0.5), relu(-2.0))
y = softmax(np.array([1010, 1000, 990]))
print(y, np.sum(y))
print(softmax(np.array([[0.3, 2.9, 4.0], [0.1, 0.2, 0.3]])))
