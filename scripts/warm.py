"""Start a program as `python PROGRAM ...` does, from a process that has imported PyTorch already.

    warm.py ADDRESSES PROGRAM ARGUMENT...

`shell_prefix`, which the Snakefile calls, starts a server for each of `GROUPS`. The call above is a client:
it asks a server to fork, then stands for the new process: hands on signals, and ends as it ends. A server
imports packages from elsewhere, never this project's code, when the first program asks for it, in that
program's environment and folder. Programs with another environment, and all of them where anything is
amiss, run as usual.
"""

import os
import signal
import sys

# Programs by what they import; the benchmark and the measurement of inference start cold.
GROUPS = {
    "training": (
        *("profile_pipeline.py", "capture_hardware.py"),
        *("train.py", "calibrate.py", "compute_features.py"),
    ),
    "tables": ("make_tables.py", "make_figures.py", "make_galleries.py", "make_report.py"),
}
# pydantic imports its parts when they are first named, the optimisers torch._dynamo when one is made.
PYDANTIC = ("pydantic.main", "pydantic.fields", "pydantic.functional_validators", "pydantic.type_adapter")
PACKAGES = {
    "training": (
        *("torch", "torch._dynamo", "torchvision.models", "safetensors.torch", "psutil", "pynvml"),
        *PYDANTIC,
    ),
    "tables": (
        *("torch", "safetensors.torch", "safetensors.numpy", "scipy.stats", "seaborn", "jinja2"),
        *("PIL.features", "matplotlib.backends.backend_agg", *PYDANTIC),
    ),
}
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
READ_AT_START = ("PYTHON", "LD_", "GLIBC_", "MALLOC_")  # variables that work on a starting process alone
WARM = b"w"
STRICT = "set -euo pipefail; "  # Snakemake's own prefix, which another one replaces


def shell_prefix() -> str:
    """Start the servers, which end with this process. Returns a prefix whose `python` uses them."""
    import shlex
    import socket
    import subprocess

    addresses = []
    if not sys.platform.startswith("linux"):
        return STRICT
    for group in GROUPS:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")  # Linux chooses a name that is no file, and so never stays behind
            listener.listen(100)
            command = [sys.executable, __file__, "--serve", group, str(listener.fileno())]
            SERVERS.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # whose other end closes when this process ends, however it does
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,  # signals come by way of the clients
                )
            )
            addresses.append(f"{group}={listener.getsockname()[1:].decode()}")
    words = [sys.executable, "-IS", __file__, ",".join(addresses)]
    quoted = shlex.join(words).replace("{", "{{").replace("}", "}}")  # for Snakemake formats it
    return f'{STRICT}python() {{{{ {quoted} "$@"; }}}}; '


SERVERS: list = []


# -- The client: few imports, for it must start in no time -----------------------------------


def client(addresses: str, argv: list[str]) -> None:
    """Run a program warm, else in place of this process; never returns."""
    came: list[int] = []
    connection = ask(addresses, argv, came)
    if connection is None:
        for number in came:  # before there was anybody to tell
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        os.execv(sys.executable, [sys.executable, *argv])
    status = connection.recv(4)
    # Without a status the server was killed, and the program with it.
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "little")) if status else -signal.SIGKILL
    if code < 0:  # by a signal: die of the same
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        no_core_dump()
        os.kill(os.getpid(), -code)
    os._exit(code)


def ask(addresses: str, argv: list[str], came: list[int]):
    """The connection to the server that has started the program; None where none has."""
    program = os.path.basename(argv[0])  # noqa: PTH119 (pathlib imports slowly)
    groups = [group for group, programs in GROUPS.items() if program in programs]
    names = dict(pair.split("=") for pair in addresses.split(","))
    if not groups:
        return None
    try:
        import marshal
        import socket

        connection = socket.socket(socket.AF_UNIX)
        connection.connect("\0" + names[groups[0]])
        ignored = [int(number) for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
        folder = os.getcwd()  # noqa: PTH109
        request = marshal.dumps((argv, folder, dict(os.environb), ignored))
        socket.send_fds(connection, [len(request).to_bytes(8, "little")], [0, 1, 2])
        connection.sendall(request)

        def forward(number: int, _) -> None:
            came.append(number)
            connection.send(bytes([number]))

        for number in FORWARDED:
            if number not in ignored:
                signal.signal(number, forward)
        return connection if connection.recv(1) == WARM else None
    except Exception:  # whatever it is, the program can start without
        return None


def no_core_dump() -> None:
    """One dump is enough: the program's own."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# -- The server ------------------------------------------------------------------------------


class Server:
    """Forks processes, hands signals on to them, and tells their clients how they end."""

    def __init__(self, group: str, listener_fd: int) -> None:
        import socket

        self.group, self.listener = group, socket.socket(fileno=listener_fd)
        self.owner: int | None = sys.stdin.fileno()  # closes when Snakemake ends
        self.jobs: dict[int, tuple[int, socket.socket]] = {}  # by pidfd: the process and its client
        self.at_start, self.loaded = dict(os.environb), None

    def serve(self) -> list[str]:
        """Fork a process for each request. Returns in those only, with what is then `sys.argv`."""
        import select

        while self.owner is not None or self.jobs:
            watched = [*self.jobs, *(client for _, client in self.jobs.values())]
            watched += [] if self.owner is None else [self.owner, self.listener]
            ready = select.select(watched, [], [])[0][0]
            if ready == self.owner:
                self.owner = None  # jobs that outlive it are waited for
                self.listener.close()
            elif ready is self.listener:
                if argv := self.answer(self.listener.accept()[0]):
                    return argv
            elif ready in self.jobs:
                self.end(ready)
            else:
                self.hand_on(ready)
        os._exit(0)  # at once: there is nothing to tidy up

    def answer(self, connection) -> list[str] | None:
        """Start a client's program, whose arguments it returns in the new process, or decline."""
        if (request := receive(connection)) is None:
            connection.close()
            return None
        argv, folder, environment, ignored, stdio = request
        if self.loaded is None and same_at_start(self.at_start, environment):
            os.chdir(folder)
            os.environb.clear()
            os.environb.update(environment)
            load(PACKAGES[self.group])
            self.loaded = folder, environment
        server, pid = os.getpid(), None
        if self.loaded == (folder, environment):
            signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
            pid = fork()
            if pid == 0:
                die_with(server)
                close_all(self.jobs, self.listener, connection)
                become(stdio, ignored)
                return argv
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        if pid:
            self.jobs[os.pidfd_open(pid)] = pid, connection
            tell(connection, WARM)
        else:
            connection.close()
        for fd in stdio:
            os.close(fd)
        return None

    def end(self, pidfd: int) -> None:
        """Tell a client how its process has ended."""
        pid, connection = self.jobs.pop(pidfd)
        os.close(pidfd)
        status = os.waitpid(pid, 0)[1]
        with connection:
            tell(connection, status.to_bytes(4, "little"))

    def hand_on(self, connection) -> None:
        """Hand a client's signals on to its process; a client that was killed takes its process along."""
        pidfd, pid = next((pidfd, pid) for pidfd, (pid, own) in self.jobs.items() if own is connection)
        signals = read(connection)
        for number in signals or [signal.SIGKILL]:
            os.kill(pid, number)
        if not signals:
            os.waitpid(pid, 0)
            self.jobs.pop(pidfd)
            os.close(pidfd)
            connection.close()


def receive(connection):
    """A client's arguments, folder, environment, ignored signals, and its stdin, stdout and stderr.

    None of another user's client, and of one that went away.
    """
    import marshal
    import socket

    stdio: list[int] = []
    try:
        connection.settimeout(20)
        if user_of(connection) != os.getuid():
            return None
        header, stdio, _, _ = socket.recv_fds(connection, 8, 3)
        size, request = int.from_bytes(header, "little"), b""
        while len(request) < size:
            part = connection.recv(1 << 20)
            if not part:
                break
            request += part
        connection.settimeout(None)
        return *marshal.loads(request), stdio
    except (OSError, EOFError, ValueError, TypeError):
        for fd in stdio:
            os.close(fd)
        return None


def fork() -> int | None:
    """`os.fork`; None where no process can be had, so that the program starts cold and others live on."""
    try:
        return os.fork()
    except OSError:
        return None


def close_all(jobs: dict, *others) -> None:
    """In a new process: what is the server's alone."""
    for fd, (_, connection) in jobs.items():
        os.close(fd)
        connection.close()
    for other in others:
        other.close()


def become(stdio: list[int], ignored: list[int]) -> None:
    """Give a new process its client's files and way with signals."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    for number in FORWARDED:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else usual)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)


def user_of(connection) -> int:
    """The user at the other end."""
    import socket
    import struct

    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


def same_at_start(ours: dict[bytes, bytes], theirs: dict[bytes, bytes]) -> bool:
    """Whether a new process with their variables would have started like this one."""
    differing = {key for key, _ in ours.items() ^ theirs.items()}
    return not any(key.decode(errors="replace").startswith(READ_AT_START) for key in differing)


def load(packages: tuple[str, ...]) -> None:
    """Import packages. A process in which CUDA has begun cannot be forked from, and ends."""
    import importlib
    from pathlib import Path

    for package in packages:
        importlib.import_module(package)
    if cuda_has_begun(Path("/proc/self/fd")):
        sys.exit()


def cuda_has_begun(files) -> bool:
    """Whether a process with these open files uses a GPU. PyTorch loads the driver's library anyway."""
    return any(os.path.realpath(file).startswith(("/dev/nvidia", "/dev/dxg")) for file in files.iterdir())


def die_with(parent: int) -> None:
    """Be killed when the server is, for then nobody hands signals on any more."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def tell(connection, message: bytes) -> None:
    try:
        connection.send(message)
    except OSError:  # the client is gone
        return


def read(connection) -> bytes:
    try:
        return connection.recv(100)
    except OSError:
        return b""


def run(argv: list[str]) -> None:
    """Go on as `python PROGRAM ARGUMENT...`."""
    import types
    from pathlib import Path

    sys.argv = argv
    path = Path(argv[0]).absolute()
    sys.path.insert(0, str(path.resolve().parent))
    Path("/proc/self/comm").write_text(path.name)  # what `ps` and `top` show
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), vars(main))


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        sys.path.pop(0)  # packages from elsewhere only
        run(Server(sys.argv[2], int(sys.argv[3])).serve())
    else:
        client(sys.argv[1], sys.argv[2:])
