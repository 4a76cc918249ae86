"""What a reader of the figures sees."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest

from trainkit.figures.style import log_x


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
