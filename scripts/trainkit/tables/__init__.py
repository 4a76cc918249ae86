"""The study's tables by name. Each takes results and returns rows."""

from collections.abc import Callable

from trainkit.results import Results, Rows
from trainkit.tables import speedrun, task1, task2, task3

TABLES: dict[str, Callable[[Results], Rows]] = {
    "task1_mnist": task1.mnist,
    "task1.5_transfer": task1.transfer,
    "task1.1_parts": task1.parts,
    "task1.3_augmentation": task1.augmentation,
    "task1.5_more": task1.more,
    "task2.1_baselines": task2.baselines,
    "task2.2_fast_training": task2.fast_training,
    "task2.3_equal_time": task2.equal_time,
    "task3_architectures": task3.architectures,
    "task3_more": task3.more,
    "speedrun": speedrun.runs,
    "speedrun_ablation": speedrun.ablation,
}
