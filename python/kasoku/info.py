"""What kasoku runs on."""

import argparse
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

import kasoku
from kasoku._core import kernels


def _processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def info() -> dict[str, object]:
    """The machine, what kasoku uses of it, and versions."""
    return {
        "kasoku": kasoku.__version__,
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "instruction set": kernels.instruction_set(),
        "instruction sets": kernels.instruction_sets(),
        "threads": kernels.num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "matplotlib": _version("matplotlib"),
        "tqdm": _version("tqdm"),
    }


def main(options: argparse.Namespace) -> int:
    facts = info()
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name:<17} {'not installed' if text is None else text}")
    return 0
