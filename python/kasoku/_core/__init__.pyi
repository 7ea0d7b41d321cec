from kasoku._core import dataset as dataset
from kasoku._core import functions as functions
from kasoku._core import kernels as kernels
from kasoku._core import layers as layers
from kasoku._core import networks as networks
from kasoku._core import optimizer as optimizer

__all__ = [
    "__version__",
    "dataset",
    "functions",
    "kernels",
    "layers",
    "networks",
    "optimizer",
]

__version__: str
