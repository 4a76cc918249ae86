"""The report's sentences, made of tables and records: they say no more than these support."""

from trainkit.answers import comparisons, contest, recipes, schedules, task3

__all__ = ["comparisons", "contest", "recipes", "schedules", "task3"]
