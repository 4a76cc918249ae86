"""The figures of tables and histories, by task. Each takes results and returns a matplotlib figure."""

from collections.abc import Callable

from matplotlib.figure import Figure

from trainkit.figures import contest, style, task1, task2, task3
from trainkit.results import MissingRunsError, Results

FIGURES: dict[str, dict[str, Callable[[Results], Figure]]] = {
    "task1": {
        "task1_accuracy": task1.accuracy,
        "task1_history": task1.history,
        "task1.1_parts": task1.parts,
        "task1.3_augmentation": task1.augmentation,
        "task1.5_little_data": task1.little_data,
        "task1.5_stages_and_size": task1.stages_and_size,
    },
    "task2": {
        "task2.1_history": task2.baselines_history,
        "task2.2_schedules": contest.learning_rates,
        "task2.2_accuracy_against_seconds": contest.accuracy_against_seconds,
        "task2.3_differences": contest.differences,
        "task2.3_budgets": contest.budgets,
        "task2.3_crossed": contest.crossed,
    },
    "task3": {"task3_architectures": task3.architectures, "task3_history": task3.history},
    "task3-equal-cost": {"task3_rankings": task3.rankings},
}


def drawn(draw: Callable[[Results], Figure], results: Results) -> Figure:
    """A figure; in its place, where its experiments were not run, a line that says so."""
    try:
        return draw(results)
    except MissingRunsError:
        return style.left_out()
