"""The layers and operations of the book one by one, and its networks from layer objects, beside the same elsewhere.

    pip install torch
    python benches/peers/layers.py [operations|drop-in] [--threads 2] [--only Convolution] [--quick] [--json FILE]

`operations`, float32, batch 100, beside PyTorch in both memory formats: convolutions with their share of the machine's peak, the
others with that of a copy of as many bytes as they must move, both measured in the same process; im2col and col2im beside
NumPy's. `drop-in`, `--batch 1 10 100 1000`: a gradient and update of whole networks by layer objects, in float64 and in float32,
and layers one by one in float64, beside NumPy as the book writes it, in float64. Without either, both. In turns, as
`kasoku.bench` tells.
"""

import argparse
import json
import sys
from pathlib import Path

import operations

from kasoku.bench import layers, step
from kasoku.bench.turns import FULL, LEGEND, QUICK, again_with_threads, take

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("what", nargs="?", choices=["operations", "drop-in"])
parser.add_argument("--threads", type=int, help="of every library")
parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100, 1000], help="of drop-in")
parser.add_argument("--only", default="", help="rows whose name has this")
parser.add_argument("--quick", action="store_true", help="fewer rounds")
parser.add_argument("--json", type=Path)


def tables(arguments):
    """Titles, and rows that are measured as they are taken."""
    budget, only = QUICK if arguments.quick else FULL, arguments.only
    if arguments.what != "drop-in":
        for title, cases in (
            ("Convolutions, batch 100, float32", operations.convolutions()),
            ("Bound by memory, float32", operations.by_memory()),
            ("Column matrices, batch 100, float64", operations.columns()),
        ):
            yield title, operations.rows(cases, budget, only)
    if arguments.what != "operations":
        for batch in arguments.batch:
            for dtype in ("float64", "float32"):
                title = f"Step by layer objects, batch {batch}, {dtype} (NumPy's float64)"
                yield title, step.rows_by_layers(batch, budget, only, dtype)
            title = f"Layers, both ways, batch {batch}, float64"
            yield title, layers.rows(batch, budget, only)


def main():
    arguments = parser.parse_args()
    status = again_with_threads(arguments.threads, sys.argv)
    if status is not None:
        return status
    print(LEGEND)
    found = take(tables(arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
