"""The trainer in plain NumPy."""

import numpy as np

from common.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop


class Trainer:
    def __init__(
        self,
        network,
        x_train,
        t_train,
        x_test,
        t_test,
        epochs=20,
        mini_batch_size=100,
        optimizer="SGD",
        optimizer_param={"lr": 0.01},  # noqa: B006
        evaluate_sample_num_per_epoch=None,
        verbose=True,
    ):
        self.network = network
        self.verbose = verbose
        self.data = (x_train, t_train, x_test, t_test)
        self.batch_size = mini_batch_size
        self.sample_num = evaluate_sample_num_per_epoch
        optimizers = {
            "sgd": SGD,
            "momentum": Momentum,
            "nesterov": Nesterov,
            "adagrad": AdaGrad,
            "rmsprpo": RMSprop,
            "adam": Adam,
        }
        self.optimizer = optimizers[optimizer.lower()](**optimizer_param)
        self.train_size = x_train.shape[0]
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = 0
        self.current_epoch = 0
        self.train_loss_list = []
        self.train_acc_list = []
        self.test_acc_list = []

    def train_step(self):
        x_train, t_train, x_test, t_test = self.data
        mask = np.random.choice(self.train_size, self.batch_size)
        x_batch, t_batch = x_train[mask], t_train[mask]
        grads = self.network.gradient(x_batch, t_batch)
        self.optimizer.update(self.network.params, grads)
        loss = self.network.loss(x_batch, t_batch)
        self.train_loss_list.append(loss)
        if self.verbose:
            print("train loss:" + str(loss))
        if self.current_iter % self.iter_per_epoch == 0:
            self.current_epoch += 1
            n = self.sample_num
            train_acc = self.network.accuracy(x_train[:n], t_train[:n])
            test_acc = self.network.accuracy(x_test[:n], t_test[:n])
            self.train_acc_list.append(train_acc)
            self.test_acc_list.append(test_acc)
            if self.verbose:
                print(
                    "=== epoch:" + str(self.current_epoch),
                    "train acc:" + str(train_acc),
                    "test acc:" + str(test_acc) + " ===",
                    sep=", ",
                )
        self.current_iter += 1

    def train(self):
        for _ in range(self.max_iter):
            self.train_step()
        test_acc = self.network.accuracy(self.data[2], self.data[3])
        if self.verbose:
            print("=============== Final Test Accuracy ===============")
            print("test acc:" + str(test_acc))
