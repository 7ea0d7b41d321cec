"""The command ``kasoku``: run, train, export, bench, info."""

import argparse
import io
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import kasoku

NETWORKS = ("simple", "deep", "mlp", "two-layer")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kasoku",
        description="The networks of 'Deep Learning from Scratch', many times faster.",
    )
    parser.add_argument("--version", action="version", version=f"kasoku {kasoku.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser(
        "run",
        help="run a script of the book, unmodified, on kasoku",
        description="Runs SCRIPT as Python would, with the book's `common` and `dataset` on kasoku.",
    )
    run.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        default="float64",
        help="float64 gives the book's numbers (default); float32 is faster",
    )
    run.add_argument("-q", "--quiet", action="store_true", help="do not say what was taken over")
    run.add_argument("script", metavar="SCRIPT")
    run.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS")

    train = commands.add_parser(
        "train",
        help="train one of the book's networks on digits",
        description="Trains a network of the book on MNIST, or on digits that need no file.",
    )
    train.add_argument("--network", choices=NETWORKS, default="simple")
    train.add_argument(
        "--epochs", type=_positive, help="default: 4 for deep, 5 for mlp and two-layer, else 3"
    )
    train.add_argument("--batch-size", type=_positive, default=100)
    train.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    train.add_argument(
        "--schedule",
        choices=("cosine", "constant"),
        default="cosine",
        help="the learning rate over time: down to 0 along half a cosine (default), or always the same",
    )
    train.add_argument(
        "--lr",
        type=float,
        help="learning rate, at the start (default: the book's, but 0.003 for adam and adamw along a cosine)",
    )
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--threads", type=_positive, help="threads (default: one a core)")
    train.add_argument(
        "--data",
        default="auto",
        metavar="auto|mnist|synthetic|DIR",
        help="MNIST, digits drawn by kasoku, or the folder of MNIST's four files; auto (default): MNIST where it can be had",
    )
    train.add_argument("--samples", type=_positive, help="train on so many images (default: all)")
    train.add_argument("--save", metavar="FILE", help="weights: .safetensors, .npz or .pkl")
    train.add_argument(
        "--plot",
        default="kasoku-train.png",
        metavar="FILE",
        help="curves and filters (default: %(default)s; needs matplotlib)",
    )

    export = commands.add_parser(
        "export",
        help="write trained weights as an ONNX model",
        description="Writes a network of the book with its trained weights as an ONNX model, which ONNX Runtime and others run.",
    )
    export.add_argument("--onnx", required=True, metavar="FILE", help="the model (needs onnx)")
    export.add_argument("--network", choices=NETWORKS, default="simple")
    export.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="what `train --save` wrote, or the book's .pkl",
    )
    export.add_argument(
        "--softmax", action="store_true", help="end in probabilities instead of scores"
    )

    bench = commands.add_parser(
        "bench",
        help="measure layers and networks beside NumPy and others on this machine",
        description="kasoku beside NumPy in the same run, in turns: layers and whole training steps. `bench step` and `bench "
        "inference` measure the five networks of the book beside what else is installed: PyTorch and JAX, ONNX Runtime.",
    )
    bench.add_argument(
        "what",
        nargs="?",
        choices=("step", "inference"),
        help="one step of training, or predictions",
    )
    bench.add_argument("--batch-size", type=_positive, default=100)
    bench.add_argument(
        "--threads", type=_positive, help="threads of every library (default: one a core)"
    )
    bench.add_argument("--only", default="", metavar="NAME", help="rows whose name has NAME")
    bench.add_argument("--quick", action="store_true", help="fewer rounds: within a minute")
    bench.add_argument("--json", action="store_true", help="JSON instead of a table")

    info = commands.add_parser("info", help="CPU, instruction set, threads, versions")
    info.add_argument("--json", action="store_true", help="JSON instead of a table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command of ``argv`` (the process's, where None) and returns its exit status."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "run":
            return run(options.script, options.args, dtype=options.dtype, quiet=options.quiet)
        if getattr(options, "threads", None):
            from kasoku._core import kernels

            kernels.set_num_threads(options.threads)
        if options.command == "train":
            from kasoku import train

            return train.main(options)
        if options.command == "export":
            return export(options.network, options.weights, options.onnx, softmax=options.softmax)
        if options.command == "bench":
            from kasoku import bench

            return bench.main(options)
        from kasoku import info

        return info.main(options)
    except KeyboardInterrupt:
        if options.command == "run":
            raise
        print("\nstopped", file=sys.stderr)
        return 130


def export(network: str, weights: str, path: str, *, softmax: bool = False) -> int:
    """Writes the network of that name with the weights of a file to ``path``, as an ONNX model."""
    from kasoku import train

    built = train.build(network, seed=0)
    try:
        built.load_params(weights)
        model = built.to_onnx(path, softmax=softmax)
    except (ImportError, OSError, ValueError, pickle.UnpicklingError) as error:
        print(f"kasoku export: {error}", file=sys.stderr)
        return 1
    (x,), (y,) = model.graph.input, model.graph.output
    axes = x.type.tensor_type.shape.dim
    shape = ", ".join(axis.dim_param or str(axis.dim_value) for axis in axes)
    size = Path(path).stat().st_size
    print(f"{type(built).__name__}: {path}, {size:,} bytes, from {x.name} ({shape}) to {y.name}")
    return 0


def run(script: str, args: Sequence[str], *, dtype: str = "float64", quiet: bool = False) -> int:
    """Runs ``script`` as ``python script args`` would, with kasoku in place of the book's modules.

    The folder above the script's comes last on the path: that is where the book's packages are, whatever the current folder.
    """
    path = Path(script)
    try:
        with io.open_code(str(path.absolute())) as file:
            source = file.read()
    except OSError as error:
        print(f"kasoku run: cannot open {script!r}: {error.strerror}", file=sys.stderr)
        return 2
    folder = path.resolve().parent
    # Python put its own folder there (or, with -m, the current one).
    sys.path[:1] = [str(folder)]
    sys.path.append(str(folder.parent))
    sys.argv = [script, *args]
    kasoku.install(dtype, quiet=quiet)
    module = ModuleType("__main__")
    module.__file__ = str(path.absolute())
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    return 0
