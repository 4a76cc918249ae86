"""What the reports say beside tables and figures: what they show and, in Snakemake's, what came out."""

from collections.abc import Callable

from trainkit import tables
from trainkit.answers import comparisons, contest, task3
from trainkit.results import MissingRunsError, Results, Rows, percent
from trainkit.seconds import in_words


def of_results(name: str, results: Results) -> tuple[str, str]:
    """The caption of a table or a figure in two parts: what it shows, and what came out."""
    shows, came_out = CAPTIONS[name]
    try:
        return shows, came_out(results)
    except MissingRunsError:
        return shows, "Left out of this study, or not finished."


def _accuracies(*tasks: str) -> Callable[[Results], str]:
    """Each experiment's accuracy with its training time, the highest first."""

    def said(results: Results) -> str:
        names = results.some_of_task(*tasks)
        names.sort(key=lambda name: -results.mean(name, "test_accuracy"))
        each = (
            f"{results.first(name).title}: {percent(results.interval(name, 'test_accuracy'))} after "
            f"{in_words(results.mean(name, 'seconds.train'))}"
            for name in names
        )
        return f"{'; '.join(each)}."

    return said


def _sorted_out(table: Callable[[Results], Rows], *questions: str) -> Callable[[Results], str]:
    """Which rows of a table differ from their reference; where it has several questions, of each."""

    def said(results: Results) -> str:
        rows = table(results)
        if not questions:
            return f"Against the reference: {comparisons.sorted_out(rows)}."
        found = {asked: comparisons.sorted_out(tables.task1.of_question(rows, asked)) for asked in questions}
        return " ".join(f"{asked[:1].upper()}{asked[1:]}: {words}." for asked, words in found.items())

    return said


def _schedules(results: Results) -> str:
    rows = tables.contest.equal_time(results)
    return f"{len(rows)} methods, each fitted to {in_words(rows[0]['budget_seconds'])} of training."


def _speedrun(results: Results) -> str:
    return " ".join(
        f"{results.first(name).title}: {percent(results.interval(name, 'test_accuracy'))} without test-time "
        f"augmentation, after {in_words(results.mean(name, 'seconds.train'))} of training."
        for name in results.some_of_task("speedrun")
    )


def _equal_time(results: Results) -> str:
    return contest.equal_time(tables.contest.equal_time(results))


def _rankings(results: Results) -> str:
    return task3.rankings(tables.task3.equal(results))


_MNIST = _accuracies(*tables.task1.MAIN)
_BASELINES = _accuracies("2.1.2", "2.1.3")
_NETWORKS = _accuracies("2.1.2", "2.1.3", "3")

# By the name of the table or figure: what it shows, and the function that says what came out. (Those that
# need more than records say it where they are made.)
CAPTIONS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "task1_mnist": (
        "All MNIST experiments: accuracies in percent, times in seconds, means over seeds with 95% "
        "intervals.",
        _MNIST,
    ),
    "task1_accuracy": (
        "Test accuracy of every MNIST experiment: mean over seeds (dot), 95% interval (line) and the seeds "
        "themselves (ticks).",
        _MNIST,
    ),
    "task1_history": (
        "Validation accuracy against training time: mean over seeds, with a band from the lowest seed to the "
        "highest. The frozen base's curve begins after the time for its features, which are computed once "
        "for all seeds.",
        _MNIST,
    ),
    "task1.1_parts": (
        "What each improvement of the dense network is worth, added alone to the baseline and left out of "
        "the improved recipe: paired differences in points of test accuracy (p-values, in the table, are "
        "corrected for their number).",
        _sorted_out(tables.task1.parts, "together", "alone", "without"),
    ),
    "task1.3_augmentation": (
        "The operations of the augmentation alone and together, against no augmentation at the same epochs "
        "on the same training images.",
        _sorted_out(tables.task1.augmentation),
    ),
    "task1.5_transfer": (
        "Frozen, fine-tuned and from random weights: trainable parameters, times, accuracies, and the "
        "paired difference to fine-tuning.",
        _sorted_out(tables.task1.transfer),
    ),
    "task1.5_more": (
        "Transfer learning looked into: paired differences to the reference that each row names, corrected "
        "for the number of comparisons of its question.",
        _sorted_out(tables.task1.more, "little data", "equal seconds", "trained stages", "input size"),
    ),
    "task1.5_little_data": (
        "Test accuracy against the number of training images: mean over seeds with its 95% interval. Batches "
        "and epochs differ between the points, not between the lines.",
        _sorted_out(tables.task1.more, "little data"),
    ),
    "task1.5_stages_and_size": (
        "Left: accuracy against how many of the last stages are trained beside the head. Right: a frozen "
        "base on images of several sizes. Mean over seeds with its 95% interval.",
        _sorted_out(tables.task1.more, "trained stages", "input size"),
    ),
    "task2.1_baselines": (
        "The shallow ConvNet and the ResNet: accuracy, training time, and whether validation says that "
        "training has converged.",
        _BASELINES,
    ),
    "task2.1_history": (
        "Training and validation history of the shallow ConvNet, trained until validation says that it has "
        "converged, and of the ResNet. Training accuracy is that on augmented images, as the network saw "
        "them.",
        _BASELINES,
    ),
    "task2.2_fast_training": (
        "Schedules, Lookahead and averages on one ResNet: final accuracy, training time, and seconds to a "
        "validation accuracy that all of them reach.",
        contest.soonest,
    ),
    "task2.2_whole": (
        "The ResNet of 2.1.3 on all training images by its own schedule and in other ways, against a "
        "constant rate on the same seeds.",
        _sorted_out(tables.task2.whole),
    ),
    "task2.2_accuracy_against_seconds": (
        "Validation accuracy against seconds of training, a panel a budget: mean over seeds, with a band "
        "from the lowest to the highest; dashed with Lookahead, dotted an average of the weights, if any.",
        contest.soonest,
    ),
    "task2.2_schedules": (
        "The learning rate over the training, drawn by the functions that the training itself uses.",
        _schedules,
    ),
    "task2.3_equal_time": (
        "The contest at equal measured seconds: accuracy, the seconds really used, and paired differences "
        "to the constant rate, corrected for their number.",
        _equal_time,
    ),
    "task2.3_differences": (
        "Each method's test accuracy minus that of the constant rate on the same seeds, with the 95% "
        "interval of the paired difference (blue: the schedule alone; orange: with Lookahead; green: "
        "averaged).",
        _equal_time,
    ),
    "task2.3_budgets": (
        "The contest at each budget: accuracies, ranks with their intervals, and paired differences to the "
        "constant rate of the same budget.",
        lambda results: " ".join(contest.over_budgets(results)),
    ),
    "task2.3_crossed": (
        "Each schedule with slow weights (Lookahead, an average) against the same schedule without, on "
        "paired seeds, and the mean over all schedules.",
        lambda results: " ".join(contest.slow_weights(results)),
    ),
    "task2.3_tuning": (
        "Every learning-rate trial: as many for each method, on validation images, and what they cost.",
        contest.tuning,
    ),
    "task3_architectures": (
        "The CIFAR-10 networks, each with its recipe: accuracy against parameters, multiply-adds and "
        "seconds of training.",
        _NETWORKS,
    ),
    "task3_history": (
        "Validation accuracy of the CIFAR-10 networks against seconds of training: mean over seeds, with a "
        "band from the lowest to the highest.",
        _NETWORKS,
    ),
    "task3_equal": (
        "ConvNeXt V2, RepVGG and FasterNet against the ResNet at equal parameters, at equal multiply-adds "
        "and at equal training seconds, on the same seeds; what misses its equality is said so.",
        _rankings,
    ),
    "task3_rankings": (
        "Test accuracy of four networks at equal parameters, multiply-adds and training seconds: the "
        "number is the rank of the mean, the line its 95% interval.",
        _rankings,
    ),
    "task3_ablation": (
        "ConvNeXt V2 without some of its ingredients, each against the whole network on the same seeds.",
        lambda results: " ".join(task3.ingredients(tables.task3.ablation(results))),
    ),
    "speedrun": (
        "Recipes that aim at 94% on CIFAR-10 in the shortest time on this machine, run by run: accuracy "
        "without and with test-time augmentation, and the seconds from a cold process to each.",
        _speedrun,
    ),
    "speedrun_ablation": (
        "The fastest recipe without each of its parts, at the same number of epochs, compared in "
        "validation accuracy.",
        _sorted_out(tables.speedrun.ablation),
    ),
}
