"""Chapter 6: weight decay and dropout against overfitting, by the Trainer."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import SGD
from common.trainer import Trainer
from common.util import percent

np.random.seed(62)
x = np.random.rand(400, 30)
t = np.argmax(x[:, :4], axis=1)
x_train, t_train, x_test, t_test = x[:100], t[:100], x[100:], t[100:]

for weight_decay_lambda in (0, 0.1):
    network = MultiLayerNet(
        input_size=30,
        hidden_size_list=[20] * 4,
        output_size=4,
        weight_decay_lambda=weight_decay_lambda,
    )
    optimizer = SGD(lr=0.1)
    for _ in range(60):
        mask = np.random.choice(100, 20)
        optimizer.update(network.params, network.gradient(x_train[mask], t_train[mask]))
    print(weight_decay_lambda, network.loss(x_train, t_train), network.accuracy(x_test, t_test))

network = MultiLayerNetExtend(
    input_size=30,
    hidden_size_list=[20] * 3,
    output_size=4,
    use_dropout=True,
    dropout_ration=0.2,
)
trainer = Trainer(
    network,
    x_train,
    t_train,
    x_test,
    t_test,
    epochs=4,
    mini_batch_size=20,
    optimizer="sgd",
    optimizer_param={"lr": 0.1},
    verbose=True,
)
trainer.train()
print(len(trainer.train_loss_list), trainer.train_acc_list, trainer.test_acc_list)
print("acc", percent(trainer.test_acc_list[-1]))
