"""The book's files of weights: pickled dicts of NumPy arrays, read without running what is in them.

A pickle is a program. :func:`load_pickle` reads one with an unpickler that makes NumPy arrays and plain containers of them and
nothing else: whatever else the file names is an error before it runs.
"""

import contextlib
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = ["load_pickle", "save_pickle"]


def load_pickle(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays in ``path`` by name, as the book's ``pickle.load`` gives them.

    Raises pickle.UnpicklingError where the pickle names anything but NumPy's arrays, ValueError where it is damaged or no dict
    of arrays of numbers.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            arrays = _Unpickler(file).load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"{path}: damaged pickle: {error}") from error
    if not isinstance(arrays, dict):
        raise ValueError(f"{path}: expected a dict of arrays by name, got {type(arrays).__name__}")
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: {name!r} is no array by its name")
    return arrays


def save_pickle(path: str | os.PathLike[str], arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Writes ``arrays`` to ``path`` as the book does; beside it first, then renamed when whole.

    Raises OSError where it cannot be written; a file that was there is untouched then.
    """
    with _replacing(Path(path)) as file:
        pickle.dump({name: np.asarray(array) for name, array in arrays.items()}, file, protocol=4)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` once it is written."""
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # As open() would have made it: mkstemp lets the owner alone read.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


class _Callable:
    """A function that a pickle may call but not change."""

    __slots__ = ()


#: Stands for the class numpy.ndarray: a pickle may name it but not call it.
_NDARRAY = _Callable()


class _Reconstruct(_Callable):
    def __call__(self, subtype: Any, shape: tuple[int, ...], dtype: bytes) -> npt.NDArray[Any]:
        if subtype is not _NDARRAY or shape != (0,):
            raise pickle.UnpicklingError("an array that is no plain NumPy array")
        return np.ndarray.__new__(np.ndarray, (0,), "b")


class _FromBuffer(_Callable):
    def __call__(
        self, buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str
    ) -> npt.NDArray[Any]:
        return np.frombuffer(buffer, dtype).reshape(shape, order=order).copy(order)


class _Scalar(_Callable):
    def __call__(self, dtype: np.dtype, value: bytes) -> Any:
        return np.frombuffer(value, dtype, count=1)[0]


class _Encode(_Callable):
    """How bytes are written by the protocols before 3."""

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes in {encoding!r}")
        return text.encode("latin1")


class _Dtype(_Callable):
    def __call__(self, code: str, align: bool = False, copy: bool = True) -> np.dtype:
        # A copy: the pickle sets its byte order.
        dtype = np.dtype(code, False, True) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {code!r}, expected numbers")
        return dtype


_ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Encode(),
    ("numpy", "dtype"): _Dtype(),
    ("numpy", "ndarray"): _NDARRAY,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _Reconstruct()),
            ("multiarray", "scalar", _Scalar()),
            ("numeric", "_frombuffer", _FromBuffer()),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the pickle wants {module}.{name}: only dicts of NumPy arrays are read"
            ) from None
