"""What a reader of the figures sees."""

from itertools import pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from trainkit import galleries
from trainkit.figures import task2
from trainkit.figures.style import log_x


def test_a_network_without_filters_on_the_image_says_so(tmp_path):
    save_file(
        {"0.weight": torch.zeros(4, 3, 1, 1), "1.weight": torch.zeros(2, 4)}, tmp_path / "model.safetensors"
    )
    figure = galleries.filters(SimpleNamespace(dataset="cifar10"), tmp_path)
    assert "no filters" in figure.axes[0].texts[0].get_text()
    plt.close(figure)


@pytest.mark.parametrize("highest", [3, 20, 49, 60, 1000])
def test_labels_of_a_logarithmic_axis_do_not_touch(highest):
    figure, ax = plt.subplots(1, 3, figsize=(10, 3.8))  # the narrowest axes that have one
    ax[0].plot([1, highest], [0, 1], "o")
    log_x(ax[0])
    figure.canvas.draw()
    low, high = ax[0].get_xlim()
    labels = [label for label in ax[0].get_xticklabels() if low <= label.get_position()[0] <= high]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    plt.close(figure)
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize(("name", "marked"), [("plateau", [5.5]), ("step", [5.5]), ("one-cycle", [])])
def test_a_drop_of_the_rate_is_marked_also_where_not_every_epoch_was_validated(name, marked):
    schedule = {"name": name}
    history = pd.DataFrame({"epoch": [2, 4, 6], "lr": [0.1, 0.1, 0.01]})
    columns = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
    other = history.assign(seed=1, lr=0.1)  # one seed's drop is marked, too
    results = SimpleNamespace(
        some_of_task=lambda *tasks: ["cifar10-resnet"],
        histories=lambda name: pd.concat([history.assign(seed=0), other]).assign(
            **dict.fromkeys(columns, 0.5)
        ),
        first=lambda name: SimpleNamespace(title="ResNet", spec={"recipe": {"schedule": schedule}}),
    )
    figure = task2.baselines_history(results)
    dotted = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_linestyle() == ":"]
    plt.close(figure)
    assert dotted == marked
