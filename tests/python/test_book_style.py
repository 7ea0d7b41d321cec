"""Scripts in the book's style, a folder a chapter, print the same numbers on kasoku as on plain NumPy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BOOK = Path(__file__).resolve().parents[1] / "book_style"
SCRIPTS = sorted(path.relative_to(BOOK).as_posix() for path in BOOK.glob("ch0*/*.py"))
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf", re.IGNORECASE)


def start(arguments, folder, **environment):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    with process:
        out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out, error


def same(ours, theirs):
    """Whether two texts differ in the digits after the sixth of their numbers only; accuracies by 0.2 points at most."""
    assert NUMBER.sub("#", ours).split() == NUMBER.sub("#", theirs).split()
    for mine, line in zip(ours.splitlines(), theirs.splitlines(), strict=True):
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (mine, line)]
        tolerance = 2e-3 if "acc" in line.lower() else 1e-9
        np.testing.assert_allclose(*numbers, rtol=1e-6, atol=tolerance, err_msg=line)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script, request):
    path = BOOK / script
    environment = {}
    if "load_mnist" in path.read_text():
        environment["KASOKU_DATA"] = str(request.getfixturevalue("mnist_folder"))
    # Side by side, to take half as long.
    numpy = start([path.name], path.parent, **environment)
    kasoku = start(["-m", "kasoku", "run", path.name], path.parent, **environment)
    (theirs, _), (ours, said) = finish(numpy), finish(kasoku)
    same(ours, theirs)
    assert said.startswith("kasoku ")
    assert said.count("\n") == 1, said


def test_numbers_that_differ_are_noticed():
    same("loss 1.2345678", "loss 1.2345679")
    for ours, theirs in (("loss 1.2345", "loss 1.2346"), ("acc 0.91", "acc 0.92"), ("a 1", "b 1")):
        with pytest.raises(AssertionError):
            same(ours, theirs)
