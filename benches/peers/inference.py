"""Predictions of the book's five networks, a batch and one sample, float32: kasoku beside NumPy (the book's way, float64) and
ONNX Runtime, which runs what `to_onnx` wrote. It is `kasoku bench inference`; what it measures and how: `kasoku.bench`.

    pip install onnx onnxruntime
    python benches/peers/inference.py [--threads 2] [--only Deep] [--batch-size 100] [--quick] [--json]
"""

import sys

from kasoku.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "inference", *sys.argv[1:]]))
