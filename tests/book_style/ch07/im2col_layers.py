"""Chapter 7: im2col, and convolution and pooling on small images."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.layers import Convolution, Pooling, Swish
from common.util import conv_output_size, im2col

np.random.seed(70)
for n in (1, 10):
    col = im2col(np.random.rand(n, 3, 7, 7), 5, 5, stride=1, pad=0)
    print(col.shape, col.dtype, col.sum())
print(conv_output_size(28, 5), conv_output_size(28, 3, stride=2, pad=1))

x = np.random.randn(2, 3, 8, 8)
conv = Convolution(np.random.randn(4, 3, 3, 3), np.random.randn(4), stride=1, pad=1)
pool = Pooling(2, 2, stride=2)
swish = Swish()
y = pool.forward(swish.forward(conv.forward(x)))
print(y.shape, y[0, 0])
dx = conv.backward(swish.backward(pool.backward(np.random.randn(*y.shape))))
print(dx.shape, dx[1, 2, 3], conv.dW[0, 0], conv.db)
