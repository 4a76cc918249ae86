"""Recipes in words, from the specs that the records hold."""

from trainkit.record import RunRecord


def in_words(run: RunRecord) -> str:
    """How a run was trained, in one line, but for its length."""
    recipe = run.spec["recipe"]
    options = recipe["optimizer"]
    parts = [
        f"{optimizer(run)} at a peak rate of {run.learning_rate:.3g}",
        f"{recipe['schedule']['name']} schedule",
        f"batches of {run.batch_size}",
    ]
    if options.get("weight_decay"):
        parts.append(f"weight decay {options['weight_decay']:g}")
    if recipe.get("label_smoothing"):
        parts.append(f"label smoothing {recipe['label_smoothing']:g}")
    if options.get("lookahead"):
        parts.append("Lookahead")
    if recipe.get("ema"):
        parts.append("weights averaged (EMA)")
    if recipe.get("precise_bn"):
        parts.append("BatchNorm's statistics recomputed at the end")
    augment = recipe.get("augment", {})
    changes = [
        *(["flips"] if augment.get("flip") else []),
        *(f"{what} {augment[key]:g}" for key, what in CHANGES.items() if augment.get(key)),
    ]
    augmented = f"augmented by {', '.join(changes)}" if changes else "no augmentation"
    return f"{', '.join(parts)}; {augmented}"


def optimizer(run: RunRecord) -> str:
    """The optimiser as its papers spell it."""
    name = run.spec["recipe"]["optimizer"]["name"]
    return OPTIMIZERS.get(name, name)


OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW", "rmsprop": "RMSprop", "muon": "Muon"}
CHANGES = {
    "translate": "shifts in pixels up to",
    "cutout": "squares cut out, pixels a side",
    "rotate": "rotations in degrees up to",
    "scale": "scaling up to",
    "shear": "shear in degrees up to",
}
