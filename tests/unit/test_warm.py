"""A warm start behaves as `python PROGRAM` does, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def owner(root: Path, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process with servers, whose packages are quick to import."""
    script = tmp_path / "owner.py"
    text = (root / "scripts/warm.py").read_text()
    start = text.index("PACKAGES = {")
    end = text.index("}\n", start) + 2
    (tmp_path / "warm.py").write_text(
        text[:start] + 'PACKAGES = {"training": ("decimal",), "tables": ("no_such_package",)}\n' + text[end:]
    )
    script.write_text(
        "import sys, warm\n"
        "print(warm.shell_prefix().replace('{{', '{').replace('}}', '}'), flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.prefix = process.stdout.readline().rstrip("\n")
    process.servers = psutil.Process(process.pid).children()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def run(owner: subprocess.Popen, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """A function that runs a program with a name of `train.py`'s kind in a shell, as a rule does."""

    def call(code: str, *, name: str = "train.py", after: str = "", **options) -> subprocess.Popen:
        folder = tmp_path / "scripts"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(code)
        (folder / "neighbour.py").write_text("VALUE = 7\n")
        return subprocess.Popen(
            ["bash", "-c", f"{owner.prefix} python scripts/{name} one 'two words' {after}"],
            cwd=tmp_path, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, **options,
        )  # fmt: skip

    return call


def test_cuda_has_begun_where_its_device_is_open_not_where_its_library_is_loaded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    import warm

    (tmp_path / "3").symlink_to("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
    (tmp_path / "4").symlink_to("pipe:[1234]")
    assert not warm.cuda_has_begun(tmp_path)
    (tmp_path / "5").symlink_to("/dev/nvidiactl")
    assert warm.cuda_has_begun(tmp_path)


def gone(processes: list[psutil.Process], seconds: float = 10) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


def child_of(servers: list[psutil.Process]) -> psutil.Process:
    """The process that a server has forked."""
    for _ in range(200):
        for server in servers:
            for child in server.children():
                return child
        time.sleep(0.05)
    raise AssertionError("no program was started")


STATE = """
import json, os, sys
import neighbour
print(json.dumps({
    "warm": "decimal" in sys.modules, "argv": sys.argv, "path": sys.path[0], "file": __file__,
    "name": __name__, "main": sys.modules["__main__"].neighbour.VALUE, "cwd": os.getcwd(),
    "environment": os.environ.get("STUDY_TEST"), "stdin": sys.stdin.read(), "tty": sys.stdout.line_buffering,
}))
"""


def test_a_warm_program_finds_what_a_plain_one_does(run, tmp_path: Path):
    environment = os.environ | {"STUDY_TEST": "a"}
    out, err = run(STATE, env=environment).communicate("typed", timeout=30)
    warm = json.loads(out)
    command = [sys.executable, "scripts/train.py", "one", "two words"]
    plain = subprocess.run(
        command, cwd=tmp_path, env=environment, input="typed", text=True, capture_output=True
    )
    assert not err
    assert warm.pop("warm") and not (cold := json.loads(plain.stdout)).pop("warm")
    assert warm == cold


def test_a_program_with_another_environment_starts_cold_with_its_own(run):
    starts = []
    for value in ("a", "b", "a"):
        out, _ = run(STATE, env=os.environ | {"STUDY_TEST": value}).communicate("", timeout=30)
        assert json.loads(out)["environment"] == value
        starts.append(json.loads(out)["warm"])
    assert starts == [True, False, True]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0), ("sys.exit(3)", 3), ("sys.exit('error: so')", 1), ("raise ValueError('so')", 1),
        ("os._exit(5)", 5), ("os.kill(os.getpid(), 9)", 137), ("os.kill(os.getpid(), 15)", 143),
        ("os.abort()", 134), ("raise KeyboardInterrupt", 130),
    ],
)  # fmt: skip
def test_the_end_is_the_program_s(run, ending: str, code: int):
    process = run(
        f"import decimal, os, sys\nprint('out')\nsys.stdout.flush()\n{ending}\n", after="2>&1 | cat"
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert out.startswith("out\n")
    assert ("so" in out) == ("so" in ending)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_reaches_the_program_once(run, owner, number: int):
    process = run(
        "import signal, sys, time\ncame = []\n"
        f"signal.signal({int(number)}, lambda *_: came.append(1))\nprint('ready', flush=True)\n"
        "end = time.time() + 1.5\nwhile time.time() < end: time.sleep(0.1)\n"
        "print(len(came), flush=True)\n",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, number)
    assert process.stdout.readline() == "1\n"
    process.communicate(timeout=30)


def test_a_signal_that_is_ignored_stays_ignored(run):
    process = run(
        "import signal\nprint(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\n",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.communicate(timeout=30)[0] == "True\n"


def test_a_job_that_is_killed_takes_its_program_along(run, owner):
    process = run("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    assert process.stdout.readline() == "ready\n"
    child = child_of(owner.servers)
    assert child.name() == "train.py"
    os.killpg(process.pid, signal.SIGKILL)
    assert gone([child])


def test_a_server_that_is_killed_takes_its_program_along_and_later_ones_start_cold(run, owner):
    process = run("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    assert process.stdout.readline() == "ready\n"
    child = child_of(owner.servers)
    for server in owner.servers:
        server.kill()
    assert process.wait(30) == 137
    assert gone([child])
    out, _ = run(STATE).communicate("", timeout=30)
    assert json.loads(out)["warm"] is False


def test_a_client_that_goes_away_before_it_has_asked_harms_nobody(run, owner):
    process = run("import time\nprint('ready', flush=True)\ntime.sleep(1)\nprint('done')\n")
    assert process.stdout.readline() == "ready\n"
    address = re.search(r"training=([0-9a-f]+)", owner.prefix)[1]
    for said in (b"", b"\x05", b"\xff" * 8 + b"no marshal"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + address)
            client.sendall(said)
    out, _ = run(STATE).communicate("", timeout=30)
    assert json.loads(out)["warm"] is True
    assert process.communicate(timeout=30)[0] == "done\n"


def test_a_package_that_is_missing_means_a_cold_start(run):
    out, _ = run(STATE, name="make_tables.py").communicate("", timeout=30)
    assert json.loads(out)["warm"] is False


def test_other_programs_start_cold(run):
    out, _ = run(STATE, name="benchmark.py").communicate("", timeout=30)
    assert json.loads(out)["warm"] is False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_servers_end_with_their_owner(owner, run, number: int):
    run("").communicate(timeout=30)
    assert len(owner.servers) == 2 and all(server.is_running() for server in owner.servers)
    os.kill(owner.pid, number)
    owner.wait(10)
    assert gone(owner.servers)


def test_a_program_that_outlives_its_owner_ends_as_it_would_have(owner, run):
    process = run("import time\nprint('ready', flush=True)\ntime.sleep(1)\nprint('done')\n")
    assert process.stdout.readline() == "ready\n"
    owner.kill()
    assert process.communicate(timeout=30)[0] == "done\n"
    assert process.returncode == 0
    assert gone(owner.servers)


def test_a_training_has_the_same_bits_threads_and_memory(root: Path, tmp_path: Path):
    """With PyTorch itself, and a network large enough for several threads."""
    (tmp_path / "train.py").write_text(
        "import hashlib, json, os, sys\nwarm = 'torch' in sys.modules\nimport torch, torch._dynamo\n"
        "import pydantic, psutil, pynvml, safetensors.torch\n"
        f"sys.path.insert(0, {str(root / 'scripts')!r})\nfrom trainkit import memory\n"
        "alone = len(os.listdir('/proc/self/task')) == 1\ntorch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Flatten(),"
        " torch.nn.Linear(32 * 30 * 30, 100))\n"
        "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n"
        "for _ in range(3):\n"
        "    net(torch.randn(64, 3, 32, 32)).square().mean().backward()\n    optimizer.step()\n"
        "digest = hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in net.parameters()))\n"
        "print(json.dumps([warm, alone, torch.get_num_threads(), digest.hexdigest(), "
        "memory.peak_mb(torch.device('cpu'))]))\n"
    )
    script = (
        "import subprocess, sys, warm\nprefix = warm.shell_prefix().replace('{{', '{').replace('}}', '}')\n"
    )
    script += "for _ in range(2): subprocess.run(['bash', '-c', prefix + 'python train.py'], check=True)\n"
    script += "subprocess.run([sys.executable, 'train.py'], check=True)\n"
    two = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True, timeout=200,
        env=os.environ | {"PYTHONPATH": str(root / "scripts"), **two},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, cold = (json.loads(line) for line in done.stdout.splitlines())
    assert [first[0], second[0], cold[0]] == [True, True, False]
    assert first[1] and second[1]
    assert first[2:4] == second[2:4] == cold[2:4]
    assert second[4] == pytest.approx(cold[4], rel=0.1)


IMPORTED = """
import importlib, runpy, sys
sys.path.insert(0, "scripts")
import warm
for package in warm.PACKAGES[sys.argv[1]]:
    importlib.import_module(package)
before = set(sys.modules)
for program in warm.GROUPS[sys.argv[1]]:
    if program != "make_report.py":  # the last of all, once a call: its charts' packages are its own
        runpy.run_path(f"scripts/{program}")
if sys.argv[1] == "training":
    import trainkit.models.efficientnet_lite0
ours = ("trainkit", *(program.removesuffix(".py") for program in warm.GROUPS[sys.argv[1]]))
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in ours))
"""


@pytest.mark.parametrize("group", ["training", "tables"])
def test_servers_import_what_their_programs_do_at_the_start(root: Path, group: str):
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, group], cwd=root, capture_output=True, text=True, check=True
    )
    assert set(result.stdout.split()) <= {"pydantic.plugin._loader"}  # imported as a model is defined
