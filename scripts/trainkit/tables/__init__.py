"""The study's tables by name. Each takes results and returns rows."""

from collections.abc import Callable

from trainkit.results import Results, Rows
from trainkit.tables import contest, speedrun, task1, task2, task3

TABLES: dict[str, Callable[[Results], Rows]] = {
    "task1_mnist": task1.main,
    "task1.5_transfer": task1.transfer,
    "task1.1_parts": task1.parts,
    "task1.3_augmentation": task1.augmentation,
    "task1.5_more": task1.more,
    "task2.1_baselines": task2.baselines,
    "task2.2_fast_training": contest.fast_training,
    "task2.2_whole": task2.whole,
    "task2.3_equal_time": contest.equal_time,
    "task2.3_budgets": contest.budgets,
    "task2.3_crossed": contest.crossed,
    "task2.3_tuning": contest.tuning,
    "task3_architectures": task3.architectures,
    "task3_equal": task3.equal,
    "task3_ablation": task3.ablation,
    "speedrun": speedrun.runs,
    "speedrun_ablation": speedrun.ablation,
}
