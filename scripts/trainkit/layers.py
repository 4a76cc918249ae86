"""The layers of the configuration: YAML files and the command line, laid over one another."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from trainkit.errors import StudyError

Layers = list[tuple[str, dict[str, Any]]]  # where each comes from, and what it says
EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


class _UniqueKeys(yaml.SafeLoader):
    """YAML that rejects a key given twice; plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node.value, str):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be a word", problem_mark=key_node.start_mark
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key_node.value!r} is given twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, shown: str) -> dict[str, Any]:
    """A YAML file's mapping; `StudyError` with the line where it cannot be read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except UnicodeDecodeError as error:
        raise StudyError(f"{shown}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise StudyError(
            f"{shown}: cannot be read ({error.strerror}); check its path and permissions"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise StudyError(f"{shown}{line}: {problem}; correct the YAML there") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise StudyError(f"{shown}: expected a mapping of keys, got {type(content).__name__}")
    return content


def as_typed(value: Any) -> str:
    """A value as it may have been typed on the command line; Snakemake keeps its words as they are."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_typed(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_typed, value)) + "]"
    return str(value)


def merge(base: Any, over: Any) -> Any:
    """Lay ``over`` on ``base``, table by table.

    A table with another ``name`` (a model, an optimiser, a schedule) takes the place of the old
    one as a whole, since the old one's options mean nothing to it.
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return base | {key: merge(base[key], value) if key in base else value for key, value in over.items()}


def numbers(value: Any, top: bool = False) -> Any:
    """Rates as people write them, ``1e-3``, as numbers: YAML 1.1 reads them as text without a point.

    At the ``top``, where no rates are, text stays as it is.
    """
    if isinstance(value, dict):
        return {k: each if top and isinstance(each, str) else numbers(each) for k, each in value.items()}
    if isinstance(value, list):
        return [numbers(each) for each in value]
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def at(value: Any, *keys: str) -> Any:
    """What lies below these keys of tables in tables that nobody has validated yet; else ``None``."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def origin_of(path: list, layers: Layers) -> str:
    """The last file that holds the longest part of a key's path."""
    best, depth = layers[0][0], 0
    for name, layer in layers:
        node, reached = layer, 0
        for part in path:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                break
            reached += 1
        if reached and reached >= depth:
            best, depth = name, reached
    return best


def suggest(word: str, known: Any, also: bool = True) -> str:
    """``; did you mean ...?`` or, ``also``, what there is, when nothing is near."""
    words = [str(each) for each in known]
    near = difflib.get_close_matches(str(word), words, n=1)  # YAML reads 2 as a number
    rest = f"; known: {', '.join(words)}" if also else ""
    return f"; did you mean {near[0]!r}?" if near else rest
