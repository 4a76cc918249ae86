"""Where the time of a run goes."""

from pydantic import BaseModel


def digits(seconds: float) -> str:
    """As many digits as people need: ``0.027``, ``4.2``."""
    return f"{seconds:.1f}" if seconds >= 0.95 or not seconds else f"{seconds:.2g}"


def in_words(seconds: float) -> str:
    return f"{digits(seconds)} s"


class RunSeconds(BaseModel):
    """Seconds of a run: ``total`` is the whole process, the rest its parts.

    ``load`` is from its start, imports included, until its trainer is ready; ``compile`` the warm-up that
    takes each shape once (`Trainer.warm_up`), and torch.compile where the recipe asks for it.
    ``evaluate_tta`` is what the second test, with test-time augmentation, cost; ``checkpoint`` what
    writing checkpoints did. Those of a training that was killed and went on add up, but for what came
    after its last checkpoint. ``features`` is what computing a frozen base's features of the training
    images cost, once for all seeds; it is not part of ``total``.
    """

    load: float
    compile: float
    train: float
    evaluate: float
    evaluate_tta: float = 0.0
    checkpoint: float = 0.0
    total: float
    features: float = 0.0
