"""Training steps of the book's five networks, float32: kasoku beside NumPy (the book's way, float64), PyTorch in both memory
formats and JAX, whichever are installed. It is `kasoku bench step`; what it measures and how: `kasoku.bench`.

    pip install torch jax
    python benches/peers/step.py [--threads 2] [--only Deep] [--batch-size 100] [--quick] [--json]
"""

import sys

from kasoku.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "step", *sys.argv[1:]]))
