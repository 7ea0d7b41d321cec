"""``kasoku bench``: kasoku beside NumPy and other libraries, in the same run on this machine.

Contenders take turns, A B … B A, each after a rest and a moment of work (:mod:`kasoku.bench.turns`). Milliseconds are those of
a contender's fastest measurement; ratios are medians over the rounds. NumPy's side is :mod:`kasoku._numpy_reference`.
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator

from kasoku import info
from kasoku.bench import inference, layers, step
from kasoku.bench.turns import FULL, LEGEND, QUICK, Row, again_with_threads, take

#: They stand for other processors than this one: OpenBLAS may be slower by them.
_FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def _tables(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[Row]]]:
    """What was asked for: titles and rows, which are measured as they are taken."""
    arguments = options.batch_size, QUICK if options.quick else FULL, options.only
    match options.what:
        case "step":
            yield "Training step, float32 (NumPy's float64)", step.rows(*arguments)
        case "inference":
            yield "Prediction, float32 (NumPy's float64)", inference.rows(*arguments)
        case _:
            yield "Layers, forward + backward, float64", layers.rows(*arguments)
            yield "Training step by layer objects, float64", step.rows_by_layers(*arguments)
            whole = step.rows(*arguments, peers=("NumPy",))
            yield "Training step of kasoku.networks, float32", whole


def main(options: argparse.Namespace) -> int:
    command = ["-m", "kasoku", "bench", *([options.what] if options.what else [])]
    command += ["--batch-size", str(options.batch_size), "--threads", str(options.threads)]
    command += ["--only", options.only, *["--quick"] * options.quick, *["--json"] * options.json]
    status = again_with_threads(options.threads, command)
    if status is not None:
        return status
    facts = info.info()
    if not options.json:
        print(
            f"{facts['cpu']}, {facts['cores']} cores; kasoku {facts['kasoku']} ({facts['instruction set']}, "
            f"{facts['threads']} threads), NumPy {facts['numpy']}; batches of {options.batch_size}\n{LEGEND}"
        )
        for name in _FOREIGN:
            if name in os.environ:
                print(f"{name} is set and may slow NumPy down")
    tables = take(_tables(options), quiet=options.json)
    if options.json:
        print(
            json.dumps(
                {"machine": facts, "batch_size": options.batch_size, "tables": tables}, indent=2
            )
        )
    return 0
