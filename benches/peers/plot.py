"""The picture of docs/benchmarks.md, from what the other scripts measured:

    pip install torch jax matplotlib
    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE sh -c '
        kasoku bench step --threads 2 --json > target/step.json
        python benches/peers/gemm.py --threads 1 --json target/gemm.json
        python benches/peers/plot.py target/step.json --gemm target/gemm.json --save docs/images/benchmarks.png'

On the left how many times kasoku's time each library takes for a step of training; on the right, where `--gemm` is given, the
share of the machine's peak that square matrix products reach.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Readable on white and on the dark theme's background alike: the picture has none of its own.
INK, GRID = "#7d8590", "#7d859055"
COLOURS = {
    "kasoku": "#e4572e",
    "NumPy": "#4f8fc9",
    "PyTorch": "#d6a400",
    "PyTorch, NHWC": "#a08bd3",
    "JAX": "#3fa66b",
}
TICKS = [0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100]


def milliseconds(number):
    return f"{number:,.{0 if number >= 100 else 1 if number >= 10 else 2}f} ms"


def steps(axes, found):
    """Bars of the ratios from kasoku's line at 1, a group a network."""
    (rows,) = found["tables"].values()
    peers = list(dict.fromkeys(who for row in rows for who in row["figures"]))[1:]
    height, ticks = 0.8 / len(peers), []
    most = max(figures["ratio"] for row in rows for figures in row["figures"].values())
    for at, row in enumerate(rows):
        present = [who for who in peers if who in row["figures"]]
        top = at - height * (len(present) - 1) / 2
        for number, who in enumerate(present):
            figures, y = row["figures"][who], top + number * height
            label = who if at == 0 else None
            length = figures["ratio"] - 1
            axes.barh(y, length, 0.9 * height, left=1, color=COLOURS[who], label=label)
            text = f"{figures['ratio']:.1f}×  {milliseconds(figures['ms'])}"
            x = max(figures["ratio"], 1) * 1.05
            axes.text(x, y, text, va="center", fontsize=7, color=INK)
        ours = next(iter(row["figures"].values()))["ms"]
        ticks.append(f"{row['name']}\nkasoku {milliseconds(ours)}")
    axes.axvline(1, color=COLOURS["kasoku"], linewidth=2, label="kasoku")
    axes.set(xscale="log", xlim=(0.7, 4 * most), yticks=range(len(rows)))
    axes.set_yticklabels(ticks)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick < 2 * most]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.invert_yaxis()
    threads, batch = found["machine"]["threads"], found["batch_size"]
    axes.set_title(f"A step of training, batch {batch}, {threads} thread(s)", fontsize=10)
    axes.set_xlabel("times kasoku's time: to the right of the line is slower")


def products(axes, found):
    """Lines of the share of the peak, by the size of square matrices."""
    rows = [row for row in found["rows"] if len(set(row["size"])) == 1 and row["turned"] == "NN"]
    rows = list({row["size"][0]: row for row in rows}.values())
    rows.sort(key=lambda row: row["size"])
    peak = found["peak_flops"] * found["threads"]
    for who in rows[0]["flops"]:
        sizes = [row["size"][0] for row in rows]
        shares = [row["flops"][who] / peak for row in rows]
        axes.plot(sizes, shares, "o-", color=COLOURS[who], markersize=4, label=who)
    axes.set(xscale="log", ylim=(0, 1.05), xlabel="m = n = k", ylabel="share of the peak")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.tick_params(axis="x", labelrotation=60)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    threads = found["threads"]
    axes.set_title(f"Matrix products, {found['dtype']}, {threads} thread(s)", fontsize=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", type=Path, help="what `kasoku bench step --json` printed")
    parser.add_argument("--gemm", type=Path, help="what `gemm.py --json` wrote")
    parser.add_argument("--save", type=Path, default=Path("docs/images/benchmarks.png"))
    arguments = parser.parse_args()
    plt.rcParams.update(
        {
            "font.size": 8,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
        }
    )
    widths = [1.5, 1] if arguments.gemm else [1]
    figure, grid = plt.subplots(
        1,
        len(widths),
        figsize=(9.5 if arguments.gemm else 6, 4.4),
        width_ratios=widths,
        layout="constrained",
        squeeze=False,
    )
    steps(grid[0, 0], json.loads(arguments.step.read_text()))
    if arguments.gemm:
        products(grid[0, 1], json.loads(arguments.gemm.read_text()))
    for axes in grid.flat:
        axes.grid(color=GRID, linewidth=0.6, axis="x" if axes is grid[0, 0] else "both")
        axes.legend(frameon=False, fontsize=7, loc="lower right")
    arguments.save.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.save, dpi=110, transparent=True)
    print(f"{arguments.save}: {arguments.save.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
