"""Chapter 1: arrays, broadcasting, and the points of a sine curve."""

import numpy as np

A = np.array([[1, 2], [3, 4]])
B = np.array([10, 20])
print(A * B)
print(A.dot(B), A.shape, A.dtype)

X = np.array([[51, 55], [14, 19], [0, 4]]).flatten()
print(X[X > 15], X[np.array([0, 2, 4])])

x = np.arange(0, 6, 0.5)
print(np.sin(x))
