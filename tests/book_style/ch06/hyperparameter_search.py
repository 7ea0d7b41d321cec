"""Chapter 6: a random search for the learning rate and the weight decay."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.trainer import Trainer
from common.util import shuffle_dataset

np.random.seed(64)
x = np.random.rand(250, 20)
t = np.argmax(x[:, :3], axis=1)
x, t = shuffle_dataset(x, t)
x_val, t_val, x_train, t_train = x[:50], t[:50], x[50:], t[50:]

results = {}
for _ in range(3):
    weight_decay = 10 ** np.random.uniform(-8, -4)
    lr = 10 ** np.random.uniform(-2, -0.5)
    network = MultiLayerNet(20, [15, 15], 3, weight_decay_lambda=weight_decay)
    trainer = Trainer(
        network,
        x_train,
        t_train,
        x_val,
        t_val,
        epochs=3,
        mini_batch_size=20,
        optimizer="adam",
        optimizer_param={"lr": lr},
        verbose=False,
    )
    trainer.train()
    results[f"lr:{lr}, weight decay:{weight_decay}"] = trainer.test_acc_list
for key, accuracies in sorted(results.items(), key=lambda item: item[1][-1], reverse=True):
    print(key, "val acc:", accuracies)
