"""kasoku (加速): the layers of "Deep Learning from Scratch" on SIMD kernels in Rust.

``from kasoku.layers import *`` gives what ``from common.layers import *`` gave, many times faster.
Submodules are loaded when they are first used.
"""

from importlib import import_module as _import_module

from kasoku._core import __version__ as __version__

_SUBMODULES = frozenset(
    {
        "augmentation",
        "bench",
        "blocks",
        "cli",
        "dataset",
        "deep_layers",
        "functions",
        "gradient",
        "info",
        "kernels",
        "layers",
        "multi_layer_net",
        "multi_layer_net_extend",
        "networks",
        "onnx",
        "optimizer",
        "plot",
        "train",
        "trainer",
        "util",
        "weights",
    }
)

# The swap's module is `overlay`: a submodule named `install` would hide the function.
_ATTRIBUTES = {
    "Trainer": "trainer",
    "install": "overlay",
    "load_ipython_extension": "overlay",
    "status": "overlay",
    "uninstall": "overlay",
    "unload_ipython_extension": "overlay",
}


def __getattr__(name: str) -> object:
    if name in _ATTRIBUTES:
        return getattr(_import_module(f"{__name__}.{_ATTRIBUTES[name]}"), name)
    if name in _SUBMODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *_ATTRIBUTES, *_SUBMODULES})
