"""Task 2.1: the baselines' histories."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainkit.figures.style import curve
from trainkit.results import Results


def baselines_history(results: Results) -> Figure:
    """Training and validation history of the baselines: loss above, accuracy below."""
    names = results.some_of_task("2.1.2", "2.1.3")
    figure, axes = plt.subplots(
        2, len(names), figsize=(4.6 * len(names), 6), sharex="col", sharey="row", squeeze=False
    )
    for column, name in enumerate(names):
        history = results.histories(name)
        for row, (kind, scale) in enumerate((("loss", 1), ("accuracy", 100))):
            ax = axes[row, column]
            curve(ax, history, "epoch", f"train_{kind}", "training (augmented images)", scale)
            curve(ax, history, "epoch", f"val_{kind}", "validation", scale, ls="--")
        dropped = drops(results, name)
        for epoch in dropped:
            axes[1, column].axvline(epoch - 0.5, color="0.6", lw=1, ls=":")
        axes[0, column].set_title(results.first(name).title, fontsize=11)
        axes[1, column].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes[1, column].set_xlabel("epoch (dotted: a seed's learning rate drops)" if dropped else "epoch")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("accuracy, %")
    axes[0, 0].legend(fontsize=9)
    return figure


def drops(results: Results, name: str) -> list[int]:
    """The epochs in which a seed's learning rate fell at once; none where its schedule is a smooth one."""
    if results.first(name).spec["recipe"]["schedule"]["name"] not in ("plateau", "step"):
        return []
    history = results.histories(name).sort_values(["seed", "epoch"])
    fell = history.lr < history.groupby("seed").lr.shift()
    return sorted(set(history.epoch[fell]))
