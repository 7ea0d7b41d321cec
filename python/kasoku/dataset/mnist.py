"""The book's ``load_mnist``: parsed and checked in Rust, found or fetched, kept for the next call."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from kasoku._core import dataset as _core
from kasoku.dataset import Pairs, _formed

__all__ = ["load_mnist"]

#: The images and labels of a folder, as bytes.
_loaded: dict[Path, Any] = {}


def load_mnist(normalize: bool = True, flatten: bool = True, one_hot_label: bool = False) -> Pairs:
    """MNIST: ((x_train, t_train), (x_test, t_test)), 60,000 and 10,000 images of digits and what they are.

    normalize: float32 of 0 to 1 instead of uint8 of 0 to 255.
    flatten: (N, 784) instead of (N, 1, 28, 28).
    one_hot_label: (N, 10) float64 instead of labels (N,) uint8.

    The four files, with or without .gz, are looked for in the book's ``dataset`` folder (beside the script or one folder up,
    or the same seen from the current folder), the folder that the environment variable KASOKU_DATA names, and the user's
    cache; if none has them they are downloaded into the cache.

    Raises FileNotFoundError, which says where to put the files, where they are nowhere and cannot be downloaded; ValueError
    where a file is damaged or not MNIST's.
    """
    folder = _find()
    if folder not in _loaded:
        _loaded[folder] = _core.load(folder)
    form = (normalize, flatten, one_hot_label)
    train, test = _loaded[folder]
    return _formed(*train, *form), _formed(*test, *form)


def _folders() -> list[Path]:
    """Where the book's script would look: the folder of its ``dataset`` package."""
    package = sys.modules.get("dataset")
    folders = [Path(path) for path in getattr(package, "__path__", [])]
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    for base in ([Path(script).resolve().parent] if script else []) + [Path.cwd()]:
        folders += [base / "dataset", base.parent / "dataset"]
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _find() -> Path:
    folders = _folders()
    try:
        return Path(_core.find([folder for folder in folders if folder.is_dir()]))
    except FileNotFoundError as error:
        cache = _core.cache_folder()
        place = os.environ.get("KASOKU_DATA") or cache or folders[0]
        if cache is not None:
            try:
                _download(cache)
                return Path(cache)
            except OSError as failed:
                reason = f" The download failed: {failed}."
        else:
            reason = ""
        raise FileNotFoundError(
            f"MNIST is not on this machine.{reason} Put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
            f"t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into {place}, name another folder in KASOKU_DATA, "
            "or use digits that need no file: kasoku.dataset.load_digits_synthetic(), kasoku train --data synthetic"
        ) from error


def _download(folder: str) -> None:
    """Fetches the four files; in a thread of its own, so that Ctrl-C is heard while the network is silent."""
    shown = sys.stderr.isatty()
    ended: list[BaseException | None] = []

    def progress(file: str, done: int, total: int | None) -> None:
        if shown:
            share = f" of {total / 1e6:.1f}" if total else ""
            print(f"\r\033[K{file}: {done / 1e6:.1f}{share} MB", end="", file=sys.stderr)

    def fetch() -> None:
        try:
            _core.download(folder, progress)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    print(f"MNIST is fetched into {folder} (11 MB, once)", file=sys.stderr)
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if shown:
        print(file=sys.stderr)
    if ended[0] is not None:
        raise ended[0]
