"""What an experiment is: the typed form of one entry of ``config/config.yaml``.

Declarations only: a run receives its whole spec, defaults filled in, as JSON.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=100)]
Factor = Annotated[float, Field(gt=0, le=10_000)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"{seeds} names a seed twice")
    return seeds


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1), AfterValidator(_different)
]


class Strict(BaseModel):
    """A model that rejects unknown keys, NaN, infinities, and `true` where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


# -- Models --------------------------------------------------------------------------------
# One class an architecture: its options. The network itself is in models/<name>.py.


class Dense(Strict):
    """One hidden layer of ReLU units: the network of Assignment 1."""

    name: Literal["dense"]
    hidden: int = Field(512, ge=1, le=65_536)


class ConvNet(Strict):
    """A plain stack of 3x3 convolutions with BatchNorm and max-pooling."""

    name: Literal["convnet"]
    stages: list[Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1)]] = Field(
        [[16, 32], [64, 64]],
        min_length=1,
        description="output channels of each stage's convolutions; a 2x2 max-pool ends a stage",
    )
    stem_kernel: Literal[3, 5] = Field(3, description="of the first convolution")
    stem_stride: Literal[1, 2] = Field(1, description="of the first convolution")
    dropout: Fraction = 0.0

    def last_side(self, side: int) -> int:
        """Pixels a side that are left of an image after the last pooling."""
        side = (side - 1) // self.stem_stride + 1
        return side >> len(self.stages)


class ResNet(Strict):
    """The ResNets of He et al. 2015: depth 6n+2 is the CIFAR family, 18 and 34 the ImageNet one."""

    name: Literal["resnet"]
    depth: int = Field(20, ge=8, le=1202)
    width: int = Field(16, ge=1, le=512, description="channels of the first stage")
    stem_stride: int = Field(1, ge=1, le=2, description="2 halves the image at once")

    @model_validator(mode="after")
    def _known_depth(self) -> Self:
        if self.depth not in (18, 34) and (self.depth - 2) % 6:
            raise ValueError("depth must be 18, 34 or 6n+2 (8, 14, 20, 26, 32, 44, 56, 110 ...)")
        return self


class EfficientNetLite0(Strict):
    """EfficientNet-Lite0 cut after a stage, with a linear head on the flattened features."""

    name: Literal["efficientnet_lite0"]
    weights: Literal["imagenet", "random"] = "imagenet"
    train: Literal["head", "all"] = "all"
    image_size: int = Field(32, ge=32, le=224, multiple_of=32, description="pixels a side, after resizing")
    cut: int = Field(5, ge=1, le=8, description="last stage kept: 0 is the stem, 8 the last one")
    train_last: int | None = Field(
        None, ge=1, le=8, description="train so many last stages beside the head; the others stay as they are"
    )

    @model_validator(mode="after")
    def _frozen_means_pretrained(self) -> Self:
        if self.train == "head" and self.weights == "random":
            raise ValueError("train: head needs weights: imagenet (a frozen random base learns nothing)")
        if self.train_last is None:
            return self
        if self.train == "head" or self.weights == "random":
            raise ValueError("train_last goes with train: all and weights: imagenet only")
        if self.train_last > self.cut:
            raise ValueError(
                f"train_last: {self.train_last} of the {self.cut + 1} stages up to cut leaves none frozen; "
                f"give at most {self.cut}, or leave it out to train all"
            )
        return self


class Staged(Strict):
    """Stages of blocks; each but the first halves the image."""

    depths: list[Annotated[int, Field(ge=1, le=64)]] = Field([2, 2, 2], min_length=1, max_length=4)
    widths: list[Annotated[int, Field(ge=1, le=2048)]] = Field([32, 64, 128], min_length=1, max_length=4)

    @model_validator(mode="after")
    def _same_stages(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError("depths and widths must name the same number of stages")
        return self


class RepVGG(Staged):
    """RepVGG (Ding et al. 2021): three branches in training, one 3x3 convolution in inference."""

    name: Literal["repvgg"]
    stem_stride: int = Field(1, ge=1, le=2, description="2 halves the image at once, as the paper does")


class Patched(Staged):
    """Stages behind a stem that cuts the image into patches."""

    patch: Literal[1, 2, 4] = 1

    def last_side(self, side: int) -> int:
        """Pixels a side that are left of an image in the last stage."""
        return side // self.patch >> (len(self.widths) - 1)


class FasterNet(Patched):
    """FasterNet (Chen et al. 2023): convolutions of a part of the channels."""

    name: Literal["fasternet"]
    widths: list[Annotated[int, Field(ge=8, le=2048)]] = Field([32, 64, 128], min_length=1, max_length=4)
    parts: int = Field(4, ge=1, le=8, description="one of so many parts of the channels is convolved")
    expansion: int = Field(2, ge=1, le=8, description="of the channels, between the 1x1 convolutions")
    features: int = Field(256, ge=8, le=4096, description="of the head, after pooling")


class ConvNeXtV2(Patched):
    """ConvNeXt V2 (Woo et al. 2023) with a stem and stages for 32x32 images."""

    name: Literal["convnextv2"]
    kernel: Literal[3, 5, 7] = 7
    drop_path: float = Field(0.0, ge=0, lt=1)
    grn: bool = Field(True, description="global response normalisation, the paper's own ingredient")


class Airbench(Strict):
    """airbench94's network (Jordan 2024): whitened patches, three blocks, made for fast training."""

    name: Literal["airbench"]
    widths: list[Annotated[int, Field(ge=8, le=2048)]] = Field([64, 256, 256], min_length=1, max_length=4)
    whiten: bool = Field(True, description="the first convolution whitens 2x2 patches, and stays")
    identity: bool = Field(True, description="convolutions start by handing their inputs on")

    def last_side(self, side: int) -> int:
        """Pixels a side that are left of an image after the last pooling."""
        return (side - 1) >> len(self.widths)


Model = Annotated[
    Dense | ConvNet | ResNet | EfficientNetLite0 | ConvNeXtV2 | RepVGG | FasterNet | Airbench,
    Field(discriminator="name"),
]

RESIZABLE = ("resnet", "convnextv2", "repvgg", "fasternet", "airbench")  # they end in a global pooling

# -- Recipes -------------------------------------------------------------------------------


class Lookahead(Strict):
    """Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1)."""

    k: int = Field(5, ge=1, le=1000, description="inner steps between two synchronisations")
    alpha: float = Field(0.5, gt=0, le=1, description="step size of the slow weights")


class EMA(Strict):
    """The exponential moving average of the weights along the way, in place of the last ones."""

    decay: float = Field(0.99, gt=0, lt=1, description="what a step leaves of the average")


class AnyOptimizer(Strict):
    """What every optimiser has."""

    lr: Rate = Field(description="peak learning rate; the schedule multiplies it")
    bias_factor: Factor = Field(1.0, description="of the learning rate, for biases and norms")
    weight_decay: float = Field(0.0, ge=0, le=1, description="not applied to biases and norms")
    lookahead: Lookahead | None = None


class SGD(AnyOptimizer):
    name: Literal["sgd"]
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True


class AdamW(AnyOptimizer):
    name: Literal["adamw"]


class RMSprop(AnyOptimizer):
    name: Literal["rmsprop"]
    alpha: float = Field(0.9, ge=0, lt=1, description="how much of the mean square a step keeps")


class Muon(AnyOptimizer):
    """Muon for convolutions, SGD for the rest; see optim/muon.py."""

    name: Literal["muon"]
    momentum: float = Field(0.9, ge=0, lt=1)
    matrix_factor: Factor = Field(1.0, description="of the learning rate, for the linear layers")


Optimizer = Annotated[SGD | AdamW | RMSprop | Muon, Field(discriminator="name")]

# The learning rate's factor over training; ``z`` runs from 0 to 1. See optim/schedules.py.
Warmup = Annotated[float, Field(ge=0, lt=1, description="fraction of training spent rising")]


class Plain(Strict):
    """A schedule without options."""

    name: Literal["constant", "cosine", "linear", "rex"]


class Step(Strict):
    name: Literal["step"]
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.5, 0.75], description="where it drops, as fractions of training"
    )
    gamma: float = Field(0.1, gt=0, lt=1, description="the drop")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones must be in increasing order, each once; got {self.milestones}")
        return self


class Exponential(Strict):
    name: Literal["exponential"]
    final: float = Field(0.01, gt=0, lt=1, description="the factor at the end")


class Cyclical(Strict):
    """Triangles (Smith 2017, arXiv 1506.01186)."""

    name: Literal["cyclical"]
    cycles: int = Field(2, ge=1, le=1000, description="over training")
    low: float = Field(0.1, ge=0, lt=1, description="the factor between triangles")
    shrink: float = Field(1.0, gt=0, le=1, description="each triangle's height; triangular2: 0.5")


class CosineRestarts(Strict):
    """SGDR (Loshchilov and Hutter 2017, arXiv 1608.03983)."""

    name: Literal["cosine-restarts"]
    cycles: int = Field(2, ge=1, le=1000, description="over training")
    growth: float = Field(1.0, ge=1, le=10, description="each cycle's length, of the one before")


class OneCycle(Strict):
    name: Literal["one-cycle", "triangle"]
    warmup: Warmup = 0.2


class WarmupStableDecay(Strict):
    name: Literal["warmup-stable-decay"]
    warmup: Warmup = 0.2
    decay: float = Field(0.2, gt=0, le=1, description="fraction of training spent falling")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.warmup + self.decay > 1:
            raise ValueError("warmup and decay together are longer than training")
        return self


class Plateau(Strict):
    """Drops when validation loss no longer improves."""

    name: Literal["plateau"]
    gamma: float = Field(0.1, gt=0, lt=1, description="the drop")
    patience: int = Field(2, ge=1, le=100, description="epochs without a better loss")


Schedule = Annotated[
    Plain | Step | Exponential | Cyclical | CosineRestarts | OneCycle | WarmupStableDecay | Plateau,
    Field(discriminator="name"),
]


class Augment(Strict):
    """Random changes of a training image. Zero or false switches one off."""

    flip: bool | Literal["alternating"] = Field(
        False, description="left-right: with probability 1/2, or each image in every other epoch"
    )
    translate: int = Field(0, ge=0, le=16, description="pixels at most, each way")
    border: Literal["zero", "reflect"] = Field("zero", description="translate: what comes in")
    rotate: float = Field(0.0, ge=0, le=180, description="degrees at most, each way")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="relative, each way")
    shear: float = Field(0.0, ge=0, lt=60, description="degrees at most, each way")
    cutout: int = Field(0, ge=0, le=32, description="side of a zeroed square, pixels")


class Budget(Strict):
    """Training time in place of epochs: what ``epochs`` of the reference experiment cost."""

    reference: str = Field(description="the experiment whose measured seconds are the budget")
    epochs: float | None = Field(None, gt=0, le=10_000, description="the reference's own unless given")


class Convergence(Strict):
    """Stop when validation loss has not improved for ``patience`` epochs."""

    patience: int = Field(5, ge=1, le=1000)
    min_delta: float = Field(0.0, ge=0, le=10, description="an improvement is larger than this")
    max_epochs: Epochs = 200


class Resize(Strict):
    """Train on images of another size until a fraction of training (Howard 2018)."""

    until: float = Field(gt=0, lt=1)
    pixels: int = Field(ge=16, le=512, description="a side")


class Recipe(Strict):
    epochs: Epochs | None = None
    epochs_of: str | None = Field(None, description="take the epochs of this experiment")
    budget: Budget | None = None
    until: Convergence | None = None
    batch_size: int = Field(128, ge=2, le=65_536)
    optimizer: Optimizer
    schedule: Schedule = Plain(name="constant")
    augment: Augment = Augment()
    ema: EMA | None = Field(None, description="the modern rival of Lookahead")
    precise_bn: bool = Field(
        False,
        description="measure BatchNorm's statistics anew for the last weights (as slow weights always do)",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    resize: list[Resize] = Field([], description="progressive resizing: from the start to the end")
    test_time_augmentation: bool = Field(
        False, description="test a second time, averaged over mirrored and shifted images"
    )
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "channels_last", "contiguous", "side_by_side", "blocked", "winograd"] = "auto"
    compile: bool = False
    cuda_graphs: bool | Literal["auto"] = Field(
        "auto", description="on a GPU: launch a whole training step by one call"
    )
    validate_every: Epochs = Field(1, description="epochs between two looks at the validation images")
    train_images: int | None = Field(
        None, ge=10, description="train on this many images only (the first of the fixed split)"
    )
    validation_images: int | None = Field(
        None, ge=10, description="so many for validation in place of the dataset's, the others are trained on"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [k for k in ("epochs", "epochs_of", "budget", "until") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of epochs, epochs_of, budget, until must be given, got {given or 'none'}"
            )
        if self.schedule.name == "plateau" and not self.until:
            raise ValueError(
                "schedule plateau needs until, for it waits for validation loss; give until or take another"
            )
        if self.until and self.schedule.name not in ("plateau", "constant"):
            raise ValueError("until (convergence) goes with schedule plateau or constant only")
        if self.ema and self.optimizer.lookahead:
            raise ValueError("ema and optimizer.lookahead exclude each other; take one")
        if self.until and self.validate_every > 1:
            raise ValueError("validate_every does not go with until, which looks after each epoch; remove it")
        if self.compile and self.cuda_graphs is True:
            raise ValueError("cuda_graphs does not go with compile; take one")
        if self.budget and self.resize:
            raise ValueError("resize does not go with budget: its calibration needs steps of one cost")
        ends = [resize.until for resize in self.resize]
        if ends != sorted(set(ends)):
            raise ValueError("resize: each until must lie above the one before")
        return self


SIDE = {"mnist": 28, "cifar10": 32}  # pixels
TRAIN_IMAGES = {"mnist": 60_000, "cifar10": 50_000}


Task = Literal[
    "1.1", "1.1-parts", "1.2", "1.3", "1.3-parts", "1.4", "1.5-more", "2.1.2", "2.1.3",
    "2.2", "2.2-whole", "2.3-trials", "2.3-budgets", "3", "3-more", "extra", "speedrun", "ablation",
]  # fmt: skip
AT, TRIAL = "-at-", "-trial-"  # in the names of what the contest makes of its methods
# What the default target makes; the rest is made on demand.
IN_ALL = tuple(task for task in get_args(Task) if task not in ("speedrun", "ablation"))


def check_stages(model: Model | None, side: int) -> None:
    """Raise `ValueError` where a network's stages leave no pixel of an image."""
    if hasattr(model, "last_side") and model.last_side(side) < 1:
        raise ValueError(
            f"model: its stages leave nothing of an image of {side}x{side} pixels; give it fewer stages"
        )


class Training(Strict):
    """What is trained on what, and how."""

    task: Task
    title: str = Field(min_length=1, max_length=120)
    dataset: Literal["mnist", "cifar10"]
    model: Model
    recipe: Recipe

    @model_validator(mode="after")
    def _fits_the_dataset(self) -> Self:
        augment = self.recipe.augment
        asked = self.dataset if self.task == "extra" else "mnist" if self.task.startswith("1.") else "cifar10"
        if self.dataset != asked:
            raise ValueError(
                f"task: {self.task} compares networks on {asked}, and this one is on {self.dataset}; take "
                "another task, or extra"
            )
        if self.dataset == "mnist" and augment.flip:
            raise ValueError("recipe.augment.flip: a mirrored digit is another sign; remove it for mnist")
        if self.dataset == "mnist" and self.recipe.test_time_augmentation:
            raise ValueError("recipe.test_time_augmentation: it mirrors digits; remove it for mnist")
        if self.frozen and augment != Augment():
            raise ValueError(
                "recipe.augment: a frozen base sees each image once (its features are cached); "
                "remove the augmentation or set model.train: all"
            )
        check_stages(self.model, min([SIDE[self.dataset], *(size.pixels for size in self.recipe.resize)]))
        if self.recipe.resize and self.model.name not in RESIZABLE:
            raise ValueError(
                f"recipe.resize: {self.model.name} takes images of one size; "
                f"remove it or use one of {', '.join(RESIZABLE)}"
            )
        return self

    @property
    def frozen(self) -> bool:
        """Whether only a head is trained, on features computed once."""
        return isinstance(self.model, EfficientNetLite0) and self.model.train == "head"


class Experiment(Training):
    """One experiment of the configuration: a training from each of its seeds."""

    seeds: Seeds


class Split(Strict):
    """How a dataset's images are divided, and whether only a slice of them is used."""

    validation: int = Field(5000, ge=10, description="images taken from train for validation")
    train_limit: int | None = Field(None, ge=20, description="use this many training images only")
    test_limit: int | None = Field(None, ge=10, description="use this many test images only")

    def of(self, recipe: Recipe) -> Self:
        """This split with the number of validation images that a recipe asks for, if it asks for one."""
        return self.model_copy(update={"validation": recipe.validation_images or self.validation})

    def left(self, dataset: str) -> int:
        """Images that are left to train on."""
        return min(self.train_limit or TRAIN_IMAGES[dataset], TRAIN_IMAGES[dataset]) - self.validation


class RunSpec(Training):
    """All that determines a run but its seed and the machine; `train.py` receives it as JSON."""

    name: str
    split: Split
    deterministic: bool
    tuned_by: list[str] = Field([], description="trials of which the best one's learning rate is taken")

    @property
    def is_trial(self) -> bool:
        """Whether it is run to choose a learning rate by: such a run never sees the test images."""
        return self.task == "2.3-trials"

    def at_rate(self, lr: float) -> Self:
        """The same with another peak learning rate."""
        optimizer = self.recipe.optimizer.model_copy(update={"lr": lr})
        return self.model_copy(update={"recipe": self.recipe.model_copy(update={"optimizer": optimizer})})


class FeatureSpec(Strict):
    """All that determines a frozen base's features, and nothing of what is trained on them."""

    name: str
    dataset: Literal["mnist", "cifar10"]
    model: EfficientNetLite0
    split: Split
    train_images: int | None
    deterministic: bool


class Workload(Strict):
    """What the benchmark trains; without a model, the input pipeline alone."""

    dataset: Literal["mnist", "cifar10"]
    model: Model | None = None
    batch_size: int = Field(128, ge=2, le=65_536)
    translate: int = Field(0, ge=0, le=16, description="random crop, pixels of padding")
    flip: bool = False
    compile: bool = False
    split: Split = Field(Split(), description="the dataset's, filled in")

    @model_validator(mode="after")
    def _fits_the_dataset(self) -> Self:
        check_stages(self.model, SIDE[self.dataset])
        return self
