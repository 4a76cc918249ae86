"""The digest of the code that a program runs: what it imports, by meaning, not by bytes.

Comments, docstrings and layout do not count: editing them must not retrain anything.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from trainkit.errors import StudyError
from trainkit.files import write_json

SCRIPTS = Path(__file__).resolve().parent.parent
# These only check the configuration and hand it on: what they say reaches a run as its spec.
DECLARATIONS = {f"trainkit/{name}.py" for name in ("spec", "config", "layers", "contestants", "digest")}


@functools.cache
def code_digest(*programs: str) -> str:
    """SHA-256 (first 16 hex digits) of programs below ``scripts/`` and all they import there."""
    todo, seen = [SCRIPTS / program for program in programs], set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(_parse(path)[1])
    lines = [
        f"{path.relative_to(SCRIPTS)} {_parse(path)[0]}"
        for path in sorted(seen)
        if path.relative_to(SCRIPTS).as_posix() not in DECLARATIONS
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def run_digest(model: str) -> str:
    """The digest of the code that a training run of one architecture really uses."""
    return code_digest("train.py", f"trainkit/models/{model}.py")


def digest_of(content: Any) -> str:
    """SHA-256 (first 16 hex digits) of something that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _parse(path: Path) -> tuple[str, tuple[Path, ...]]:
    """A file's own digest, and the files below ``scripts/`` that it imports.

    Parsing takes longer than all else here, so that what it found lies beside Python's own bytecode, for as
    long as the file's bytes and this module stay the same.
    """
    source = path.read_bytes()
    of = hashlib.sha256(_reader() + source).hexdigest()
    kept = Path(importlib.util.cache_from_source(str(path))).with_suffix(".digest")
    try:
        known, meaning, names = json.loads(kept.read_bytes())
    except (OSError, ValueError, TypeError):
        known = None
    if known != of:
        meaning, names = _meaning(source)
        if not sys.dont_write_bytecode:
            with contextlib.suppress(StudyError):  # where nothing can be written, each process parses
                write_json(kept, [of, meaning, names])
    return meaning, tuple(found for name in names for found in _files(name))


def _meaning(source: bytes) -> tuple[str, list[str]]:
    """The SHA-256 of a program without its docstrings, and the names that it imports."""
    tree = ast.parse(source)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_docstring(statement)]
    return hashlib.sha256(_dump(tree).encode()).hexdigest(), names


def _dump(node: Any) -> str:
    """A syntax tree as text, without its empty fields: Pythons differ in which of those there are."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{key}={_dump(value)}" for key, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(fields)})"


@functools.cache
def _reader() -> bytes:
    """What decides how a file is read: this module and Python's own grammar."""
    return Path(__file__).read_bytes() + sys.version.encode()


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _files(module: str) -> list[Path]:
    """The files that importing a module runs, its packages' too; none for modules from elsewhere."""
    if module.partition(".")[0] not in _own(SCRIPTS):
        return []
    base = SCRIPTS.joinpath(*module.split("."))
    packages = [folder / "__init__.py" for folder in (base, *base.parents) if SCRIPTS in folder.parents]
    return [path for path in (base.with_suffix(".py"), *packages) if path.is_file()]


@functools.cache
def _own(folder: Path) -> frozenset[str]:
    """The names of the modules and packages right in a folder."""
    return frozenset(path.stem for path in folder.iterdir())
