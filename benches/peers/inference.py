"""Predictions of the two convolutional networks, float32: kasoku beside ONNX Runtime, which runs what `to_onnx` wrote.

    pip install onnx onnxruntime
    python benches/peers/inference.py [--threads 2] [--seconds 4]

Batches of 100 and of 1. The two take turns of 0.1 s, and rest before each, since the threads of the one go on waiting for a while
on the cores of the other; the first tenth of a turn is not counted. Figures are the least, ratios medians of the turns' medians.
"""

import argparse
import os
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seconds", type=float, default=4.0, help="for each network and batch")
arguments = parser.parse_args()
os.environ["KASOKU_NUM_THREADS"] = str(arguments.threads)

import numpy as np  # noqa: E402 -- after the environment
import onnxruntime  # noqa: E402

from kasoku.networks import DeepConvNet, SimpleConvNet  # noqa: E402

TURN_SECONDS = 0.1
REST_SECONDS = 0.1


def turn(predict, x):
    """Seconds of the predictions of a turn, without its first tenth."""
    time.sleep(REST_SECONDS)
    start = time.perf_counter()
    while time.perf_counter() - start < TURN_SECONDS / 10:
        predict(x)
    seconds, start = [], time.perf_counter()
    while time.perf_counter() - start < TURN_SECONDS:
        begin = time.perf_counter()
        predict(x)
        seconds.append(time.perf_counter() - begin)
    return seconds


def onnx_runtime(network):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    model = network.to_onnx().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def main():
    print(f"float32, {arguments.threads} thread(s); milliseconds")
    print(f"{'':<26}{'kasoku':>10}{'ONNX Runtime':>14}{'ratio':>8}")
    for make in (DeepConvNet, SimpleConvNet):
        network = make()
        peer = onnx_runtime(network)
        for batch in (100, 1):
            x = np.random.default_rng(1).random((batch, 1, 28, 28), dtype=np.float32)
            np.testing.assert_allclose(peer(x), network.predict(x), rtol=1e-4, atol=1e-5)
            ours, theirs, ratios = [], [], []
            start = time.perf_counter()
            while time.perf_counter() - start < arguments.seconds:
                mine, its = turn(network.predict, x), turn(peer, x)
                ours += mine
                theirs += its
                ratios.append(statistics.median(its) / statistics.median(mine))
            name = f"{make.__name__}, batch {batch}"
            least = f"{1e3 * min(ours):>10.3f}{1e3 * min(theirs):>14.3f}"
            print(f"{name:<26}{least}{statistics.median(ratios):>7.2f}×")


if __name__ == "__main__":
    main()
