"""The swap without editing: the book's ``common`` and ``dataset`` run on kasoku as they are imported.

``kasoku.install()`` (or ``%load_ext kasoku``, or ``kasoku run SCRIPT``) puts a finder in front of Python's own. Where the book's
folders are on the path, its modules are loaded as ever and the names that kasoku has replace theirs; what else they define
is kept. Where they are not, kasoku's modules stand in for them.
"""

import functools
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

import kasoku

#: The book's modules, and kasoku's that take over from them.
MODULES = {
    f"common.{name}": f"kasoku.{name}"
    for name in (
        "functions",
        "gradient",
        "layers",
        "multi_layer_net",
        "multi_layer_net_extend",
        "optimizer",
        "trainer",
        "util",
    )
} | {"dataset.mnist": "kasoku.dataset.mnist"}

PACKAGES = frozenset(name.partition(".")[0] for name in MODULES)


@dataclass(frozen=True)
class Status:
    """What runs on kasoku: ``modules`` says of each of the book's modules who provides it. Its text is a table."""

    installed: bool
    dtype: str
    modules: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        state = f"installed, {self.dtype}" if self.installed else "not installed"
        lines = [f"{name:<30} {provider}" for name, provider in self.modules.items()]
        return "\n".join([f"kasoku {kasoku.__version__}: {state}", *lines])

    __repr__ = __str__


class _Overlay(Loader):
    """Runs the book's own module, where there is one, and lays kasoku's names over it."""

    def __init__(self, name: str, original: Loader | None, dtype: np.dtype) -> None:
        self.name = name
        self.original = original
        self.dtype = dtype

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.original.create_module(spec) if self.original else None

    def exec_module(self, module: ModuleType) -> None:
        ours = import_module(MODULES[self.name])
        if self.original is None:
            module.__doc__ = ours.__doc__
            module.__dict__.update(_public(ours))
        else:
            self.original.exec_module(module)
        names = _in_precision(_own(ours), self.dtype)
        module.__dict__.update(
            {
                name: value
                for name, value in names.items()
                # A reader's own Residual, which the book does not have, stays.
                if name not in module.__dict__ or value.__module__ != "kasoku.deep_layers"
            }
        )


class _Package(Loader):
    """An empty package, in place of the book's folder."""

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = f"The book's package {module.__name__}, by kasoku."


class _Finder(MetaPathFinder):
    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in MODULES and name not in PACKAGES:
            return None
        original = self._original(name, path, target)
        if name in PACKAGES:
            return None if original else ModuleSpec(name, _Package(), is_package=True)
        if original is None or original.loader is None:
            return ModuleSpec(name, _Overlay(name, None, self.dtype), origin=MODULES[name])
        original.loader = _Overlay(name, original.loader, self.dtype)
        return original

    def _original(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        """What Python would find without us."""
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


def install(dtype: Any = "float64", *, quiet: bool = False) -> None:
    """Makes the book's modules run on kasoku from their next import on, and says so in one line on stderr.

    ``dtype`` 'float64' gives the book's numbers; 'float32' makes the book's networks (``common.multi_layer_net`` and
    ``common.multi_layer_net_extend``) and one-hot labels single precision, which is faster. A module imported before keeps
    running on NumPy, and a warning names it. Calling it again changes ``dtype``.

    Raises ValueError for another dtype.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}, expected float32 or float64")
    early = [name for name in MODULES if name in sys.modules and not _overlaid(name)]
    finder = _installed()
    if finder is not None:
        finder.dtype = dtype
    else:
        sys.meta_path.insert(0, _Finder(dtype))
    if early:
        warnings.warn(
            f"{', '.join(early)} was imported before kasoku and still runs on NumPy: restart Python (or the "
            "notebook's kernel) and load kasoku first",
            RuntimeWarning,
            stacklevel=2,
        )
    if not quiet:
        from kasoku._core import kernels

        names = ", ".join(name.partition(".")[2] for name in MODULES if name.startswith("common."))
        print(
            f"kasoku {kasoku.__version__} takes over common.{{{names}}} and dataset.mnist "
            f"({dtype}, {kernels.instruction_set()}, {kernels.num_threads()} threads)",
            file=sys.stderr,
        )


def uninstall() -> None:
    """Undoes :func:`install`: the book's modules are its own again at their next import.

    Names that were imported from them before stay kasoku's.
    """
    finder = _installed()
    if finder is not None:
        sys.meta_path.remove(finder)
    for name in [*MODULES, *PACKAGES]:
        if _overlaid(name):
            del sys.modules[name]
            package, _, child = name.rpartition(".")
            if package in sys.modules and hasattr(sys.modules[package], child):
                delattr(sys.modules[package], child)


def status() -> Status:
    """Which of the book's modules run on kasoku."""
    finder = _installed()
    return Status(
        installed=finder is not None,
        dtype=str(finder.dtype) if finder else "float64",
        modules={name: _provider(name, finder is not None) for name in MODULES},
    )


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext kasoku``: :func:`install`."""
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext kasoku``: :func:`uninstall`."""
    uninstall()


def _installed() -> _Finder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)


def _loader(name: str) -> Any:
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)


def _overlaid(name: str) -> bool:
    return isinstance(_loader(name), _Overlay | _Package)


def _provider(name: str, installed: bool) -> str:
    loader = _loader(name)
    if isinstance(loader, _Overlay):
        over = f" over {sys.modules[name].__file__}" if loader.original else ""
        return MODULES[name] + over
    if name in sys.modules:
        when = ", imported before kasoku" if installed else ""
        return f"its own ({getattr(sys.modules[name], '__file__', None)}{when})"
    return f"{MODULES[name]}, once it is imported" if installed else "not imported"


def _public(module: ModuleType) -> dict[str, Any]:
    """What ``from module import *`` gives."""
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def _own(module: ModuleType) -> dict[str, Any]:
    """The functions and classes of a module of kasoku, those it has from another one included."""
    own = _public(module).items()
    return {
        name: value
        for name, value in own
        if not isinstance(value, ModuleType)
        and str(getattr(value, "__module__", "")).startswith("kasoku.")
    }


def _in_precision(names: dict[str, Any], dtype: np.dtype) -> dict[str, Any]:
    """The names as they are, or (float32) with networks and labels in single precision."""
    if dtype == np.float64:
        return names
    make = dict.fromkeys(_NETWORKS, _single) | {"load_mnist": _single_labels}
    return {name: make[name](value) if name in make else value for name, value in names.items()}


#: The book's networks, and kasoku's modules that have them.
_NETWORKS = {
    name: f"kasoku.{module}"
    for name, module in (
        ("MultiLayerNet", "multi_layer_net"),
        ("MultiLayerNetExtend", "multi_layer_net_extend"),
    )
}


def __getattr__(name: str) -> Any:
    """The networks in single precision, by the names that pickles know them by."""
    if name in _NETWORKS:
        return _single(getattr(import_module(_NETWORKS[name]), name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _single(network: type) -> type:
    """The network with parameters in single precision."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        network.__init__(self, *args, **kwargs)
        doubles = self.params
        singles = {id(value): value.astype(np.float32) for value in doubles.values()}
        self.params = {name: singles[id(value)] for name, value in doubles.items()}
        for layer in self.layers.values():
            for name, value in list(vars(layer).items()):
                if id(value) in singles:
                    setattr(layer, name, singles[id(value)])

    body = {"__init__": functools.wraps(network.__init__)(__init__), "__doc__": network.__doc__}
    return type(network.__name__, (network,), body | {"__module__": __name__})


@functools.cache
def _single_labels(load_mnist: Any) -> Any:
    """``load_mnist`` with one-hot labels in single precision."""

    @functools.wraps(load_mnist)
    def load(*args: Any, **kwargs: Any) -> Any:
        pairs = load_mnist(*args, **kwargs)
        return tuple((x, t.astype(np.float32) if t.ndim == 2 else t) for x, t in pairs)

    return load
