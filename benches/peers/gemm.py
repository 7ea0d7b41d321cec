"""C = A·B through Python: kasoku beside NumPy (OpenBLAS) and, where installed, PyTorch (MKL).

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benches/peers/gemm.py
        [--threads 2] [--dtype float64] [--cold] [--json FILE]

Contenders take turns (A B … B A); a peer's ratio is its time over kasoku's, the median of the rounds: above 1, kasoku is faster.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
parser.add_argument("--rounds", type=int, default=30)
parser.add_argument("--cold", action="store_true", help="drive operands out of the caches first")
parser.add_argument("--json", type=Path)
arguments = parser.parse_args()

# Read when the libraries are loaded.
for variable in (
    "KASOKU_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
):
    os.environ[variable] = str(arguments.threads)
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    if variable in os.environ:
        print(f"{variable} is set and may slow OpenBLAS down")

import numpy as np  # noqa: E402

import kasoku.kernels  # noqa: E402
from kasoku._core.kernels import peak_flops  # noqa: E402

try:
    import torch

    torch.set_num_threads(arguments.threads)
except ImportError:
    torch = None

SQUARES = [32, 64, 100, 128, 256, 512, 1024, 2048]
TALL = [(57600, 30, 25), (78400, 16, 144)]
AFFINE = [(784, 50), (50, 10), (784, 100), (100, 100), (100, 10), (4320, 100), (1024, 50)]
BATCHES = [1, 32, 100, 1000]
BATCH_SECONDS = 300e-6
# Read and written before each call that is to find its caches cold: more than L2, and than most L3.
EVICTING_BYTES = 64 << 20
# Threads of OpenBLAS and MKL keep their core busy for up to a tenth of a second after each product, and whoever comes next
# pays for it; kasoku works alone for a while where a core is taken, until it has noticed. So with several threads each
# contender runs for so long before it is timed.
SETTLE_SECONDS = 0.3 if arguments.threads > 1 else 0.0


def shapes():
    """Which operands are transposed, and m, n, k."""
    for size in SQUARES:
        yield (False, False), (size, size, size)
    for size in TALL:
        yield (False, False), size
    for inputs, outputs in AFFINE:
        for batch in BATCHES:
            yield (False, False), (batch, outputs, inputs)
            yield (True, False), (inputs, outputs, batch)
            yield (False, True), (batch, inputs, outputs)


def contenders(turned, size):
    m, n, k = size
    random = np.random.default_rng(1)

    def operand(rows, columns, transposed):
        shape = (columns, rows) if transposed else (rows, columns)
        array = random.uniform(-1, 1, shape).astype(arguments.dtype)
        return array.T if transposed else array

    a, b = operand(m, k, turned[0]), operand(k, n, turned[1])
    results = {name: np.empty((m, n), arguments.dtype) for name in ("kasoku", "NumPy", "PyTorch")}
    runs = {
        "kasoku": lambda: kasoku.kernels.matmul(a, b, out=results["kasoku"]),
        "NumPy": lambda: np.matmul(a, b, out=results["NumPy"]),
    }
    if torch is not None:
        tensors = [torch.from_numpy(array) for array in (a, b, results["PyTorch"])]
        runs["PyTorch"] = lambda: torch.mm(tensors[0], tensors[1], out=tensors[2])
    for run in runs.values():
        run()
    for name in runs:
        np.testing.assert_allclose(results[name], results["NumPy"], rtol=1e-3, atol=1e-3)
    return runs


evicting = np.zeros(EVICTING_BYTES // 8) if arguments.cold else None


def batch_time(run, calls):
    if evicting is not None:
        np.add(evicting, 1, out=evicting)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def compare(runs):
    """The fastest batch of each contender in seconds a call, and the median of its time over kasoku's."""
    calls = {
        name: 1 if arguments.cold else max(1, round(BATCH_SECONDS / batch_time(run, 1)))
        for name, run in runs.items()
    }
    fastest = dict.fromkeys(runs, float("inf"))
    ratios = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        total = dict.fromkeys(runs, 0.0)
        for name in [*runs, *reversed(runs)]:
            settled = time.perf_counter() + SETTLE_SECONDS
            while time.perf_counter() < settled:
                runs[name]()
            seconds = batch_time(runs[name], calls[name])
            fastest[name] = min(fastest[name], seconds)
            total[name] += seconds
        for name in runs:
            ratios[name].append(total[name] / total["kasoku"])
    return {name: (fastest[name], statistics.median(ratios[name])) for name in runs}


def main():
    print(f"{arguments.dtype}, {arguments.threads} thread(s): GFLOP/s (time over kasoku's)")
    rows, peak = [], 0.0
    for turned, (m, n, k) in shapes():
        figures = compare(contenders(turned, (m, n, k)))
        peak = max(peak, peak_flops(arguments.dtype == "float64"))
        letters = "".join("T" if transposed else "N" for transposed in turned)
        flops = {who: 2.0 * m * n * k / seconds for who, (seconds, _) in figures.items()}
        row = " | ".join(
            f"{who} {1e-9 * flops[who]:.1f} ({ratio:.2f})" for who, (_, ratio) in figures.items()
        )
        print(f"{m}×{n}×{k} {letters} | {row}", flush=True)
        ratios = {who: ratio for who, (_, ratio) in figures.items()}
        rows.append({"size": [m, n, k], "turned": letters, "flops": flops, "ratios": ratios})
    if arguments.json:
        facts = {"dtype": arguments.dtype, "threads": arguments.threads, "peak_flops": peak}
        arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
