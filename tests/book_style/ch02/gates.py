"""Chapter 2: gates from perceptrons, and XOR from two layers of them."""

import numpy as np


def perceptron(w, b):
    return lambda *x: int(np.sum(np.array(x) * np.array(w)) + b > 0)


AND = perceptron([0.5, 0.5], -0.7)
NAND = perceptron([-0.5, -0.5], 0.7)
OR = perceptron([0.5, 0.5], -0.2)


def XOR(x1, x2):
    return AND(NAND(x1, x2), OR(x1, x2))


for gate in (AND, NAND, OR, XOR):
    print([gate(x1, x2) for x1 in (0, 1) for x2 in (0, 1)])
