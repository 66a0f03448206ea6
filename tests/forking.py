"""The real command line in processes of its own, without the seconds that its libraries take.

A server process loads everything once and forks for each call of ``skiptool``: the child has a
session, streams, folder, environment and limits of its own. It ends as any interpreter does, but
for taking its modules apart, which costs more than most commands here.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from skiptool.__main__ import run

EPOCH = "1700000000"
"""What the clock of every header says."""

LATEST = 300.0
"""Seconds after which a process is taken for one that hangs."""

MODULES = (
    *(
        "skiptool.steps.synth",
        "skiptool.steps.extract_images",
        "skiptool.steps.hellinger",
    ),
    *(
        "skiptool.steps.extract_wsi.extract_wsi",
        "skiptool.steps.extract_mri.extract_mri",
        "skiptool.steps.info",
    ),
    *("skiptool.steps.train", "skiptool.steps.predict.predict", "skiptool.steps.features.features"),
    *("skiptool.steps.report", "skiptool.model.lightning", "skiptool.stores.remote"),
    *("scipy.stats", "matplotlib.backends.backend_agg", "pyarrow.dataset", "pyarrow.compute"),
    *("skiptool.cli", "numba.np.arrayobj", "PIL.PngImagePlugin", "multiprocessing.synchronize"),
)

WRITES = frozenset(
    (
        *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"),
        *("os.symlink", "shutil.rmtree", "shutil.move"),
    )
)
"""Events of Python's audit that are about files, beside files that are opened."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process left behind: exit code (negative: the signal) and both streams."""

    code: int
    out: str
    err: str
    seconds: float
    steps: int = 0
    orphans: tuple[int, ...] = ()

    def line(self) -> str:
        """Return the one line of an error: nothing on stdout, no traceback."""
        assert self.out == "", self
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("skiptool"), self.err
        return self.err.rstrip("\n")


@dataclass(slots=True)
class Running:
    """A process that was started."""

    pid: int
    server: Server
    streams: tuple[Path, Path, Path]
    began: float = field(default_factory=time.monotonic)

    def send(self, number: int) -> None:
        """Send a signal; a process that ended is a zombie still, so nobody else is met."""
        os.kill(self.pid, number)

    def end(self, latest: float = LATEST) -> Ended:
        """Wait for the end."""
        timer = threading.Timer(latest, self.send, (signal.SIGABRT,))
        timer.start()
        code = int(self.server.ask({"wait": self.pid})["code"])
        timer.cancel()
        self.server.living.discard(self.pid)
        seconds = time.monotonic() - self.began
        out, err, steps = (path.read_text() if path.exists() else "" for path in self.streams)
        for path in self.streams:
            path.unlink(missing_ok=True)
        return Ended(code, out, err, seconds, int(steps or 0), self._orphans())

    def _orphans(self, patience: float = 8.0) -> tuple[int, ...]:
        """Return what is left of its session; end it, so that no test disturbs the next."""
        until = time.monotonic() + patience
        while (left := _session(self.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


class Server:
    """Start processes of ``skiptool`` and wait for them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._folder, self._number = folder, 0
        self.living: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "SOURCE_DATE_EPOCH": EPOCH},
        )

    def ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request, return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def start(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        file_size: int | None = None,
        at: tuple[int, int] | None = None,
    ) -> Running:
        """Start ``skiptool`` with words in a folder.

        ``file_size`` limits every file that it writes. ``at`` is (n, signal): the process sends
        itself that signal before its nth step on the disk; (0, 0) only counts them.
        """
        self._number += 1
        streams = tuple(self._folder / f"{self._number}.{name}" for name in ("out", "err", "steps"))
        answer = self.ask(
            {
                "words": [str(word) for word in words],
                "folder": str(folder),
                "environment": dict(environment or {}),
                "file_size": file_size,
                "at": at,
                "streams": [str(path) for path in streams],
            }
        )
        self.living.add(int(answer["pid"]))
        return Running(int(answer["pid"]), self, (streams[0], streams[1], streams[2]))

    def run(self, words: Sequence[object], folder: Path, **how: Any) -> Ended:  # noqa: ANN401
        """Start ``skiptool`` and wait for its end."""
        return self.start(words, folder, **how).end()

    def close(self) -> None:
        """End the server, and what a test that failed has left running or stopped."""
        for pid in self.living:
            os.kill(pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """Start a server, and end it."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()


def _session(leader: int) -> tuple[int, ...]:
    """Return the living processes of a session."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                state = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(state[3]) == leader and state[0] not in "ZX":
                found.append(int(path.name))
    return tuple(found)


def _serve() -> Mapping[str, Any] | None:
    """Answer requests; in a forked child, return what it is to do."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                return dict(asked)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    return None


def _settle(asked: Mapping[str, Any]) -> None:
    """Give a forked child what is its own."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, path in ((1, asked["streams"][0]), (2, asked["streams"][1])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    if asked["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_size"],) * 2)
    if asked["at"] is not None:
        sys.addaudithook(_counting(*asked["at"], Path(asked["streams"][2])))


def _counting(at: int, number: int, noted: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that sends a signal before the nth step on the disk."""
    here, steps = os.getpid(), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if not (event in WRITES or (event == "open" and _writes(arguments))):
            return
        if os.getpid() == here:
            _STEPS[noted] = steps = steps + 1
            if steps == at:
                os.kill(here, number)

    return hook


_STEPS: dict[Path, int] = {}
"""Steps on the disk, and where their number is to be noted."""


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def main() -> None:
    """Serve; in a child, be ``skiptool``."""
    for module in MODULES:
        import_module(module)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asked = _serve()
    if asked is None:
        os._exit(0)
    _settle(asked)
    sys.argv = ["skiptool", *asked["words"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run()
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as the end does
    atexit._run_exitfuncs()
    for path, steps in list(_STEPS.items()):
        path.write_text(str(steps))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
