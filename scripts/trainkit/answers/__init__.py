"""The report's sentences, made of tables and records: they say no more than these support."""

from trainkit.answers import contest, schedules, task1, task3

__all__ = ["contest", "schedules", "task1", "task3"]
