"""Chapter 8: a few steps of the deep network, and its answers in half precision."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.trainer import Trainer
from deep_convnet import DeepConvNet

np.random.seed(80)
x = np.random.rand(60, 1, 28, 28).astype(np.float32)
t = np.random.randint(0, 10, 60)
network = DeepConvNet()
trainer = Trainer(
    network,
    x,
    t,
    x[:20],
    t[:20],
    epochs=2,
    mini_batch_size=20,
    optimizer="Adam",
    optimizer_param={"lr": 0.001},
    evaluate_sample_num_per_epoch=20,
)
trainer.train()
y = network.predict(x[:5])
print(y.dtype, y[0])

x = x.astype(np.float16)
for param in network.params.values():
    param[...] = param.astype(np.float16)
print("acc", network.accuracy(x, t, batch_size=20))
