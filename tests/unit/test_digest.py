"""The code's digest: what changes it retrains runs, and nothing else does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainkit import digest, models

ARCHITECTURES = sorted(
    path.stem for path in Path(models.__file__).parent.glob("*.py") if path.stem != "__init__"
)


@pytest.fixture
def scripts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of scripts/ that may be edited, and that the digests are taken of."""
    copy = tmp_path / "scripts"
    shutil.copytree(root / "scripts", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "SCRIPTS", copy)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return copy


def code_digest(*programs: str) -> str:
    """As the workflow takes it, of files that are read anew."""
    digest._parse.cache_clear()
    digest.code_digest.cache_clear()
    digest._own.cache_clear()
    return digest.code_digest(*programs)


def run_digest(architecture: str) -> str:
    """The digest of the runs of an architecture."""
    return code_digest("train.py", f"trainkit/models/{architecture}.py")


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n{text}\n")


def test_the_same_code_has_the_same_digest_wherever_it_lies(root, scripts, monkeypatch):
    copied = run_digest("resnet")
    monkeypatch.setattr(digest, "SCRIPTS", root / "scripts")
    assert run_digest("resnet") == copied
    assert len(copied) == 16


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", "x = 1  # a comment\n\n\n"),
        ("def f(a, b):\n    return a\n", "def f(\n  a, b,\n):\n  # why\n  return (a)\n"),
        ('"""One."""\nx = 1\n', '"""Another."""\nx = 1\n'),
        ('def f():\n    """One."""\n    return 1\n', 'def f():\n    """Two\n\n    lines."""\n    return 1\n'),
        ('class A:\n    """One."""\n\n    x = 1\n', "class A:\n    x = 1\n"),
        ('x = 1\n"""Of x."""\n', 'x = 1\n"""Of x, better said."""\n'),
        ("x = 'a'\n", 'x = "a"\n'),
    ],
    ids=["comment", "layout", "of a module", "of a function", "of a class", "of a value", "quotes"],
)
def test_comments_docstrings_and_layout_do_not_count(scripts, before, after):
    path = scripts / "trainkit" / "models" / "resnet.py"
    text = path.read_text()
    path.write_text(f"{text}\n{before}" if not before.startswith('"""') else before + text)
    one = run_digest("resnet")
    path.write_text(f"{text}\n{after}" if not before.startswith('"""') else after + text)
    assert run_digest("resnet") == one


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", "x = 2\n"),
        ("x = 1\n", "x = 1.0\n"),
        ("x = 'a'\n", "x = 'a '\n"),
        ("x = a + b\n", "x = b + a\n"),
        ("def f(a=1): return a\n", "def f(a=2): return a\n"),
        ("@a\ndef f(): pass\n", "def f(): pass\n"),
    ],
)
def test_code_counts(scripts, before, after):
    path = scripts / "trainkit" / "engine.py"
    text = path.read_text()
    path.write_text(f"{text}\n{before}")
    one = run_digest("resnet")
    path.write_text(f"{text}\n{after}")
    assert run_digest("resnet") != one


@pytest.mark.parametrize("edited", ARCHITECTURES)
def test_an_edit_of_an_architecture_retrains_the_runs_that_use_it_and_no_other(scripts, edited):
    before = {name: run_digest(name) for name in ARCHITECTURES}
    append(scripts / "trainkit" / "models" / f"{edited}.py", "EDITED = True")
    after = {name: run_digest(name) for name in ARCHITECTURES}
    assert {name for name in ARCHITECTURES if before[name] != after[name]} == {edited}


@pytest.mark.parametrize(
    "name", ["spec.py", "config.py", "digest.py", "figures/task2.py", "results.py", "stats.py"]
)
def test_declarations_and_what_only_the_report_uses_retrain_nothing(scripts, name):
    before = {name: run_digest(name) for name in ARCHITECTURES}
    append(scripts / "trainkit" / name, "EDITED = True")
    assert {name: run_digest(name) for name in ARCHITECTURES} == before


MEASURING = ("capture_hardware.py", "calibrate.py", "benchmark.py", "measure_inference.py")


@pytest.mark.parametrize("name", ["answers/contest.py", "tables/task3.py", "captions.py", "figures/task1.py"])
def test_another_wording_or_drawing_measures_nothing_again(scripts, name):
    before = [code_digest(program) for program in MEASURING]
    append(scripts / "trainkit" / name, "EDITED = True")
    assert [code_digest(program) for program in MEASURING] == before


def test_how_a_step_is_taken_apart_retrains_nothing(scripts):
    before = code_digest("capture_hardware.py"), run_digest("dense")
    append(scripts / "trainkit" / "profiling.py", "EDITED = True")
    assert (code_digest("capture_hardware.py"), run_digest("dense")) == before


def test_a_touch_retrains_nothing(scripts):
    before = run_digest("dense")
    for path in scripts.rglob("*.py"):
        path.touch()
    assert run_digest("dense") == before


def test_a_renamed_file_is_another_program(scripts):
    before = digest.code_digest("train.py")
    (scripts / "train.py").rename(scripts / "train_it.py")
    digest._parse.cache_clear()
    digest.code_digest.cache_clear()
    assert digest.code_digest("train_it.py") != before


def test_every_file_that_training_really_imports_counts(scripts):
    code = (
        f"import sys; sys.path.insert(0, {str(scripts)!r}); import train\n"
        "for module in list(sys.modules.values()):\n"
        "    print(getattr(module, '__file__', None) or '')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {Path(line) for line in done.stdout.splitlines() if line.startswith(str(scripts))}
    assert {path.name for path in imported} >= {"train.py", "engine.py", "augment.py", "slow.py"}
    for path in imported:
        text, name = path.read_text(), path.relative_to(scripts).as_posix()
        before = run_digest("dense")
        append(path, "EDITED = True")
        changed = run_digest("dense") != before
        path.write_text(text)
        assert changed != (name in digest.DECLARATIONS), name


def test_no_program_imports_another_one_for_that_would_be_measured_or_trained_anew_with_it(root):
    programs = {path.stem for path in (root / "scripts").glob("*.py")}
    for path in (root / "scripts").glob("*.py"):
        imported = set(digest._meaning(path.read_bytes())[1])
        assert not imported & (programs - {"warm"}), path


def test_a_file_is_parsed_once_by_all_processes_until_it_changes(scripts, monkeypatch):
    before = run_digest("dense")
    with monkeypatch.context() as context:
        context.setattr(digest, "_meaning", lambda source: pytest.fail("parsed again"))
        assert run_digest("dense") == before
    append(scripts / "trainkit" / "engine.py", "EDITED = True")
    assert run_digest("dense") != before


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", '["another", "b", []]', '{"of": "another"}'])
def test_what_is_kept_of_a_file_is_not_trusted_blindly(scripts, damage):
    before = run_digest("dense")
    kept = list(scripts.rglob("*.digest"))
    assert kept and not list(scripts.rglob(".*.digest.*"))
    for path in kept:
        path.write_text(damage)
    assert run_digest("dense") == before


def test_where_nothing_can_be_kept_digests_are_the_same(scripts):
    before = run_digest("dense")
    for folder in list(scripts.rglob("__pycache__")):
        shutil.rmtree(folder)
        folder.write_text("no folder")
    assert run_digest("dense") == before


def test_a_field_that_only_some_pythons_have_does_not_count():
    tree = digest.ast.parse("def f(a): pass")
    before = digest._dump(tree)
    function = tree.body[0]
    function.type_params = []  # since Python 3.12
    assert digest._dump(tree) == before
    function.decorator_list = [digest.ast.Name("a")]
    assert digest._dump(tree) != before
    assert digest._dump(digest.ast.Constant(None)) != digest._dump(digest.ast.Constant(0))
