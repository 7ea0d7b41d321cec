"""Chapter 6: six optimizers on the way down a long valley."""

import os
import sys

sys.path.append(os.pardir)
from collections import OrderedDict

import numpy as np
from common.optimizer import *

optimizers = OrderedDict()
optimizers["SGD"] = SGD(lr=0.95)
optimizers["Momentum"] = Momentum(lr=0.1)
optimizers["Nesterov"] = Nesterov(lr=0.1)
optimizers["AdaGrad"] = AdaGrad(lr=1.5)
optimizers["RMSprop"] = RMSprop(lr=0.1)
optimizers["Adam"] = Adam(lr=0.3)

for name, optimizer in optimizers.items():
    params = {"x": np.array(-7.0), "y": np.array(2.0)}
    for _ in range(30):
        grads = {"x": params["x"] / 10.0, "y": 2.0 * params["y"]}
        optimizer.update(params, grads)
    print(name, params["x"], params["y"])
