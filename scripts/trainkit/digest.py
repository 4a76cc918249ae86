"""The digest of the code that a program runs: what it imports, by meaning, not by bytes.

Comments, docstrings and layout do not count: editing them must not retrain anything.
"""

import ast
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent
# These only check the configuration and hand it on: what they say reaches a run as its spec.
DECLARATIONS = {"trainkit/spec.py", "trainkit/config.py", "trainkit/digest.py"}


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
    """A file's own digest, and the files below ``scripts/`` that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [found for alias in node.names for found in _files(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += _files(node.module)
            imports += [found for alias in node.names for found in _files(f"{node.module}.{alias.name}")]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_docstring(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _files(module: str) -> list[Path]:
    """The files that importing a module runs, its packages' too; none for modules from elsewhere."""
    base = SCRIPTS.joinpath(*module.split("."))
    packages = [folder / "__init__.py" for folder in (base, *base.parents) if SCRIPTS in folder.parents]
    return [path for path in (base.with_suffix(".py"), *packages) if path.is_file()]
