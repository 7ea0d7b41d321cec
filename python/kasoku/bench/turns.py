"""Contenders measured in turns, so that what slows the machine down slows all of them."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kasoku._core import kernels

Work = Callable[[], Any]

#: Seconds between two turns: OpenBLAS's threads wait awake for 0.1 s after a product of NumPy's, on a core that the next
#: contender's then do not get. Others' do the same for a shorter time.
_REST = 0.15

#: Seconds of work before a turn counts: a core that rested takes tens of milliseconds to get up to its speed.
_WARM = 0.1

#: Seconds of a turn that count, and of one measurement in it: shorter work is repeated.
_TURN, _MEASUREMENT = 0.05, 200e-6

#: What the libraries ask for their number of threads when they are loaded; the last is XLA's.
_VARIABLES = (
    "KASOKU_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",
)


@dataclass(frozen=True)
class Budget:
    """How long a row may take: seconds, and the fewest and most rounds."""

    seconds: float
    fewest: int
    most: int


FULL, QUICK = Budget(8.0, 7, 50), Budget(1.5, 3, 15)


@dataclass
class Figures:
    """One contender's: milliseconds of its fastest measurement, and its time over the first contender's, the median of the
    rounds: above 1, the first is faster."""

    ms: float
    ratio: float


@dataclass
class Row:
    """One comparison. The floor, where there is one, is what the machine needs for it at least."""

    name: str
    figures: dict[str, Figures]
    floor_ms: float | None = None

    @property
    def share(self) -> float | None:
        """The floor's share of the first contender's time."""
        first = next(iter(self.figures.values()))
        return None if self.floor_ms is None else self.floor_ms / first.ms


def _seconds(work: Work, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def _repeat(work: Work, calls: int, seconds: float) -> list[float]:
    """Measurements for so many seconds, one at least."""
    end = time.perf_counter() + seconds
    found = [_seconds(work, calls)]
    while time.perf_counter() < end:
        found.append(_seconds(work, calls))
    return found


def compare(
    name: str,
    contenders: Mapping[str, Work],
    budget: Budget = FULL,
    floor: Callable[[], float] | None = None,
) -> Row:
    """Measures the contenders in turns, A B … B A; ``floor`` gives the seconds of the floor and is asked in each round."""
    calls = {}
    for who, work in contenders.items():
        work()
        calls[who] = max(1, round(_MEASUREMENT / max(_seconds(work, 1), 1e-9)))
    fastest = dict.fromkeys(contenders, float("inf"))
    ratios: dict[str, list[float]] = {who: [] for who in contenders}
    floors, order, rounds = [], list(contenders), 0
    end = time.perf_counter() + budget.seconds
    while rounds < budget.fewest or (rounds < budget.most and time.perf_counter() < end):
        took = {}
        for who in order:
            time.sleep(_REST)
            _repeat(contenders[who], calls[who], _WARM)
            turn = _repeat(contenders[who], calls[who], _TURN)
            fastest[who] = min(fastest[who], *turn)
            took[who] = statistics.median(turn)
        if floor is not None:
            floors.append(floor())
        first = took[next(iter(contenders))]
        for who in contenders:
            ratios[who].append(took[who] / first)
        order.reverse()
        rounds += 1
    figures = {
        who: Figures(1e3 * fastest[who], statistics.median(ratios[who])) for who in contenders
    }
    return Row(name, figures, 1e3 * min(floors) if floors else None)


def arithmetic(flops: float, double: bool = False) -> Callable[[], float]:
    """The floor of so many floating-point operations: each of kasoku's threads at the peak of its core."""
    return lambda: flops / (kernels.num_threads() * kernels.peak_flops(double))


def header(title: str, row: Row, width: int = 46) -> str:
    """The heads of the columns, for rows like this one."""
    floor = "" if row.floor_ms is None else "floor".rjust(9)
    return title.ljust(width) + floor + "".join(who.rjust(19) for who in row.figures)


def line(row: Row, like: Row, width: int = 46) -> str:
    """A row under the header of ``like``: milliseconds; of the first contender also the floor's share of them, of the others
    how many times the first one's they are."""
    text = row.name.ljust(width)
    if like.floor_ms is not None:
        text += ("" if row.floor_ms is None else f"{row.floor_ms:.3f}").rjust(9)
    for number, who in enumerate(like.figures):
        cell = ""
        if found := row.figures.get(who):
            cell, share = f"{found.ms:.3f}", row.share
            if number or share is not None:
                cell += f" ({f'{found.ratio:.2f}×' if number else f'{share:.0%}'})".rjust(10)
        text += cell.rjust(19)
    return text


#: What the figures of a table mean.
LEGEND = "milliseconds (kasoku: the floor's share of them; others: times kasoku's)"


def take(
    tables: Iterable[tuple[str, Iterable[Row]]], quiet: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Takes the rows of titled tables, which are measured as they are taken, prints them unless ``quiet``, and returns them as
    JSON has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for title, rows in tables:
        seen, first = found.setdefault(title, []), None
        for row in rows:
            if first is None:
                first = row
                if not quiet:
                    print(f"\n{header(title, row)}")
            if not quiet:
                print(line(row, first), flush=True)
            seen.append(asdict(row))
    return found


def again_with_threads(threads: int | None, command: Sequence[str]) -> int | None:
    """Runs ``python command`` with so many threads for every library and returns its exit status; None where this process
    has them already, or where ``threads`` is None."""
    if threads is None:
        return None
    wanted = dict.fromkeys(_VARIABLES, str(threads))
    if wanted.items() <= os.environ.items():
        return None
    return subprocess.call([sys.executable, *command], env={**os.environ, **wanted})
