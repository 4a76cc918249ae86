"""Task 1: MNIST."""

from trainkit.results import Results, Row, Rows, against, correct, summary

MAIN = ("1.1", "1.2", "1.3", "1.4")
BASELINE, IMPROVED = "mnist-dense-baseline", "mnist-dense-improved"
FINETUNED, WITHOUT = "mnist-transfer-finetuned", "-without-"


def main(results: Results) -> Rows:
    """The experiments that the points 1.1 to 1.4 name."""
    names = results.of_task(*MAIN)
    return [{"task": results.first(name).task, **summary(results, name)} for name in names]


def transfer(results: Results) -> Rows:
    """Frozen, fine-tuned and scratch side by side, each against the fine-tuned one."""
    rows = []
    for name in results.of_task("1.4"):
        run = results.first(name)
        row = summary(results, name) | {
            "features_seconds": run.seconds.features,
            "seconds_per_epoch": results.mean(name, "seconds.train") / run.epochs,
            "multiply_adds": run.multiply_adds,
        }
        rows.append(row | against(results, name, FINETUNED))
    return correct(rows, FINETUNED)


def parts(results: Results) -> Rows:
    """1.1: the improved recipe against the baseline; each of its parts alone; and the recipe without each.

    The first is the question that the point asks, so that what takes it apart is no comparison of its family.
    """
    names = results.of_task("1.1-parts")
    without = [name for name in names if WITHOUT in name]
    alone = [name for name in names if name not in without]
    together = [IMPROVED] if names else []
    return [
        *_compared(results, "together", BASELINE, together),
        *_compared(results, "alone", BASELINE, alone),
        *_compared(results, "without", IMPROVED, without),
    ]


def augmentation(results: Results) -> Rows:
    """1.3: each operation of the augmentation against none, at the same epochs and images."""
    return _compared(results, "augmentation", "mnist-augment-none", results.of_task("1.3-parts"))


def more(results: Results) -> Rows:
    """1.5: little data, equal seconds, trained stages and input size, a comparison each.

    What a run belongs to is read from its spec.
    """
    groups: dict[str, list[str]] = {}
    for name in results.of_task("1.5-more"):
        groups.setdefault(_kind(results.first(name).spec), []).append(name)
    tuned = {
        results.first(name).train_images: name
        for name in groups.get("little data", [])
        if _is_finetuned(results.first(name).spec["model"])
    }
    little: Rows = []
    for name in groups.get("little data", []):
        little += _rows(results, "little data", tuned.get(results.first(name).train_images), [name])
    rows = correct(little, None)  # one question, asked at several numbers of images: one family
    for name in groups.get("equal seconds", []):
        reference = results.first(name).spec["recipe"]["budget"]["reference"]
        rows += _compared(results, "equal seconds", reference, [name])
    # A frozen base trains no stage; on images of another size it is of the last question.
    stages, sizes, frozen = groups.get("trained stages", []), [], None
    for name in groups.get("frozen", []):
        run = results.first(name)
        reference = tuned.get(run.train_images)
        own_size = results.first(reference).spec["model"]["image_size"] if reference else None
        if run.spec["model"]["image_size"] == own_size:
            stages, frozen = [name, *stages], name
        else:
            sizes.append(name)
    reference = tuned.get(results.first(stages[0]).train_images) if stages else None
    rows += _compared(results, "trained stages", reference, stages)
    return rows + _compared(results, "input size", frozen, sizes)


def of_question(rows: Rows, question: str) -> Rows:
    return [row for row in rows if row["question"] == question]


def _kind(spec: Row) -> str:
    model = spec["model"]
    if spec["recipe"]["budget"]:
        return "equal seconds"
    if model.get("train") == "head":
        return "frozen"
    return "trained stages" if model.get("train_last") else "little data"


def _is_finetuned(model: Row) -> bool:
    return model.get("weights") == "imagenet" and model["train"] == "all" and not model["train_last"]


def _compared(results: Results, question: str, reference: str | None, names: list[str]) -> Rows:
    """Rows of one question, the reference first, corrected for the number of its comparisons."""
    if not names:
        return []
    if reference in results.runs:
        names = [reference, *(name for name in names if name != reference)]
    return correct(_rows(results, question, reference, names), reference)


def _rows(results: Results, question: str, reference: str | None, names: list[str]) -> Rows:
    return [
        {"question": question, **summary(results, name), **_facts(results, name), "reference": reference}
        | against(results, name, reference)
        | _images(results, name, reference)
        for name in names
    ]


def _facts(results: Results, name: str) -> Row:
    run = results.first(name)
    return {
        "train_images": run.train_images,
        "steps": results.mean(name, "steps"),
        "features_seconds": run.seconds.features,
        "budget_seconds": run.budget_seconds,
        "image_size": run.spec["model"].get("image_size"),
        "trained_stages": _trained_stages(run.spec["model"]),
    }


def _trained_stages(model: Row) -> int | None:
    """How many of a pretrained base's stages (its stem is one) are trained."""
    if "cut" not in model:
        return None
    return 0 if model["train"] == "head" else model["train_last"] or model["cut"] + 1


def _images(results: Results, name: str, reference: str | None) -> Row:
    """A sign test against the reference over the test images."""
    if reference not in results.runs or name == reference:
        return {}
    found = results.disagreement(name, reference)
    return {"images_won": found.only_a, "images_lost": found.only_b, "p_mcnemar": found.p}
