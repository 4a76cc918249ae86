"""The contest of task 2.2: what is made of its methods, beside what the configuration writes."""

from typing import Annotated, Any

from pydantic import Field

from trainkit.errors import StudyError
from trainkit.layers import Layers, at, merge, suggest
from trainkit.spec import AT, TRIAL, Name, Seeds, Strict


class FurtherBudget(Strict):
    """A further budget of the contest: every method once more, for another time."""

    scale: float = Field(gt=0, le=100, description="of the methods' own budget")
    seeds: Seeds | None = Field(None, description="the method's unless given")


class Trials(Strict):
    """How every method of the contest gets its learning rate: as many trials for each, by one rule."""

    factors: list[Annotated[float, Field(gt=0, le=1000)]] = Field(
        min_length=1, description="of the method's own learning rate; a trial of each, from each seed"
    )
    scale: float = Field(gt=0, le=1, description="of the methods' own budget, each trial")
    seeds: Seeds = Field(description="others than the contest's")


class Contest(Strict):
    """What is made of each experiment of task 2.2, all of them methods at one budget."""

    crossed: dict[Name, dict[str, Any] | None] = Field(
        {}, description="each method once more with this laid over it; null leaves one out"
    )
    budgets: dict[Name, FurtherBudget | None] = Field({}, description="beside the methods' own")
    trials: Trials | None = None


def contestants(
    experiments: dict[str, Any], written: dict[str, Any], contest: Contest, left_out: set[str]
) -> dict[str, Any]:
    """What the contest makes of its methods: crossed ones, their trials, and further budgets.

    An entry of the same name that is ``written`` in the configuration lies over what is made.
    """
    made: dict[str, Any] = {}

    def make(name: str, base: dict, over: dict, title: str) -> None:
        over = over | {"title": f"{base.get('title')}{title}"}
        made[name] = merge(merge(base, over), written.get(name, {}))

    methods = [n for n, e in experiments.items() if e.get("task") == "2.2" and n not in left_out]
    for name in methods:
        for label, over in contest.crossed.items():
            if over is not None and not _is_crossed(experiments[name]):
                over = dict(over)
                make(f"{name}-{label}", experiments[name], over, f" + {over.pop('title', label)}")
    for name in [*methods, *made]:
        base = made.get(name) or experiments[name]
        length, rate = at(base, "recipe", "budget", "epochs"), at(base, "recipe", "optimizer", "lr")
        if name in left_out or not isinstance(length, int | float) or not isinstance(rate, int | float):
            continue  # the mistake, if it is one, is explained where the method is validated

        for label, budget in contest.budgets.items():
            if budget is not None:
                over = {
                    "task": "2.3-budgets",
                    "recipe": {"budget": {"epochs": round(length * budget.scale, 3)}},
                }
                over |= {"seeds": budget.seeds} if budget.seeds else {}
                make(f"{name}{AT}{label}", base, over, f", {label}")
        for factor in contest.trials.factors if contest.trials else ():
            lr = float(f"{rate * factor:.6g}")
            recipe = {
                "budget": {"epochs": round(length * contest.trials.scale, 3)},
                "optimizer": {"lr": lr},
            }
            over = {"task": "2.3-trials", "seeds": contest.trials.seeds, "recipe": recipe}
            make(f"{name}{TRIAL}{factor:g}", base, over, f", trial at {factor:g} times its rate")
    return made


def refuse_idle_nulls(layers: Layers, experiments: dict[str, Any], contest: Contest) -> None:
    """Raise `StudyError` for a null of the user's that leaves nothing out: a name in it is mistyped."""
    given, own = layers[-1]
    below = merge(layers[0][1], layers[1][1])
    for keys in (("experiments",), ("contest", "crossed"), ("contest", "budgets")):
        entries = at(own, *keys)
        nulls = (
            [name for name, entry in entries.items() if entry is None] if isinstance(entries, dict) else []
        )
        names = at(below, *keys) or {}
        if nulls and keys == ("experiments",):
            names = experiments | contestants(experiments, {}, contest, set())
        for name in nulls:
            if name not in names:
                raise StudyError(
                    f"{given}: {'.'.join(keys)}.{name}: null leaves nothing out{suggest(name, names)}"
                )


def adjusted_in_vain(layers: Layers, experiments: dict[str, Any]) -> set[str]:
    """Contestants that the project's own files adjust, and the user does not.

    Where the user's layer changes the contest so that they are not made, adjusting them is no mistake.
    """
    own = at(layers[-1][1], "experiments") or {}
    below = merge(layers[0][1], layers[1][1])
    made = contestants(experiments, {}, Contest.model_validate(below.get("contest") or {}), set())
    return {name for name in made if name in experiments and name not in own}


def _is_crossed(entry: dict[str, Any]) -> bool:
    """Whether a method has slow weights itself."""
    return bool(at(entry, "recipe", "ema") or at(entry, "recipe", "optimizer", "lookahead"))
