"""The command line in a process of its own that takes one command after another.

Starting skiptool takes seconds where a command needs torch. This process loads it once, with limits
of memory and time that one command may take beyond that, and catches what it writes, in whatever
library.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

__all__ = ["LOADED", "Driven", "Ended", "changed"]

GIB = 1 << 30

LOADED = " ".join(
    f"skiptool.steps.{name}"
    for name in (
        "predict.predict",
        "features.features",
        "hellinger",
        "train",
        "extract_wsi.extract_wsi",
    )
)
"""Loaded before memory is limited."""

SERVE = r"""
import gc, json, os, resource, sys, tempfile, threading
spare, preload = int(sys.argv[1]), sys.argv[2]
answers = os.fdopen(os.dup(1), "w")
quiet = os.open(os.devnull, os.O_RDWR)
os.dup2(quiet, 1)
for name in preload.split():
    __import__(name)
from skiptool.cli import main
gc.collect()
gc.freeze()

def used(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(key))

for line in sys.stdin:
    call = json.loads(line)
    os.chdir(call["cwd"])
    caught = [tempfile.TemporaryFile() for _ in range(2)]
    for number, file in enumerate(caught, 1):
        os.dup2(file.fileno(), number)
    before = used("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used("VmSize") + spare, hard))
    try:
        code = main(call["words"])
    except SystemExit as error:
        code = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    texts = []
    for file in caught:
        file.seek(0)
        texts.append(file.read().decode("utf-8", "surrogateescape"))
    os.dup2(quiet, 1)
    peak = used("VmHWM") - before
    answers.write(json.dumps({"code": code, "out": texts[0], "err": texts[1], "peak": peak}) + "\n")
    answers.flush()
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one command ended, and how many bytes of memory it took at its peak."""

    code: int
    out: str
    err: str
    peak: int

    @property
    def errors(self) -> list[str]:
        """Lines of stderr that are no warnings, and neither talk nor progress."""
        lines = self.err.splitlines()
        return [line for line in lines if line.startswith("skiptool") and ": warning: " not in line]

    def line(self) -> str:
        """Return the one line of an error: nothing on stdout, no traceback."""
        assert self.out == "", self
        assert "Traceback" not in self.err, self.err
        assert not re.search(r": unexpected \w+: .*--debug", self.err), self.err
        assert len(self.errors) == 1, self.err
        return self.errors[0]


class Driven:
    """Call it with words as on the command line.

    Parameters
    ----------
    spare : int
        Bytes of memory that a command may take beyond what is loaded.
    seconds : float
        Longest time for one command.
    preload : str
        Modules to load before the first one.
    """

    def __init__(self, spare: int = 4 * GIB, seconds: float = 60, preload: str = "") -> None:
        self._words = [sys.executable, "-c", SERVE, str(spare), preload]
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Driven:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def __call__(self, *words: object, cwd: Path) -> Ended:
        """Run one command; raise where the process dies of it, or it takes too long."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        call = {"words": [str(word) for word in words], "cwd": str(cwd)}
        process.stdin.write(json.dumps(call) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self._seconds)
        answer = process.stdout.readline() if ready else ""
        if not answer:
            how = f"status {process.wait()}" if ready else f"no end in {self._seconds} s"
            self._end()
            raise AssertionError(f"skiptool {' '.join(call['words'])}: {how}")
        return Ended(**json.loads(answer))

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "SOURCE_DATE_EPOCH": "0"}
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


@contextmanager
def changed(file: Path, content: bytes) -> Iterator[None]:
    """Give a file another content for a while."""
    kept = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(kept)
