"""Kill every command at random moments, go on, and compare what comes out with a whole run."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fault_lab import CHEAP, COMMANDS, Lab, Whole, half_written, snapshot, whole
from forking import Ended
from skiptool.stores.staging import partial_path

Tried = Callable[..., None]

SIGNALS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGTERM: (143, 130),  # Lightning tells of its own interruptions in one way
    signal.SIGINT: (130,),
}
"""Exit codes by signal."""

SAMPLE = {"synth": 3, "extract mri": 2, "hellinger": 2}
ALL = {
    **{"synth": 12, "extract images": 12, "extract wsi": 12, "extract mri": 12, "train": 12},
    **{"predict": 12, "features": 12, "hellinger": 8, "report": 8},
}
"""Moments of each command."""


class Life:
    """Runs of one command in one folder, killed again and again until one comes to its end."""

    def __init__(self, lab: Lab, name: str, expected: Whole, rng: np.random.Generator) -> None:
        self.lab, self.name, self.expected, self.rng = lab, name, expected, rng
        self.place = lab.place()
        self.fell = 0
        self.again: tuple[str, ...] = ()

    def kill(self, number: signal.Signals, share: float, by_clock: bool) -> bool:
        """Start, or go on, and kill it after a share of a whole run; say whether it still ran."""
        words, before = ("--quiet", *self.again), snapshot(self.place)
        if by_clock:
            process = self.lab.start(self.name, self.place, *words)
            time.sleep(share * self.expected.seconds)
            process.send(number)
            found = process.end()
        else:
            step = 1 + int(share * self.expected.steps)
            found = self.lab.run(self.name, self.place, *words, at=(step, number))
            assert found.code != 0 or found.steps < step, f"step {step}: {number} went unheard"
        self._check(found, number, before)
        if found.code == 0:
            return False
        self.fell += 1
        self._check_named()
        how = (
            "--resume" if COMMANDS[self.name].resumes and self.rng.random() < 0.7 else "--overwrite"
        )
        if "--export" in COMMANDS[self.name].words:
            how = "--resume"  # masks that were exported are the user's own: nothing replaces them
        self.again = (how,)
        return True

    def _check(self, found: Ended, number: signal.Signals, before: Mapping[str, str]) -> None:
        # before anything was begun, or behind the end of the work, the system ends it at once
        now = snapshot(self.place)
        unheard = found.code in (-signal.SIGTERM, -signal.SIGINT) and now in (
            before,
            self.expected.files,
        )
        assert unheard or found.code in (0, *SIGNALS[number]), found
        assert found.orphans == ()
        if found.code > 0:
            assert ("interrupted" in found.line()) or ("terminated" in found.line())
            assert ("--resume" in found.line()) == COMMANDS[self.name].resumes
        assert half_written(snapshot(self.place), self.expected.files) == []
        whole(self.name, self.place)

    def _check_named(self) -> None:
        """Check that a run which is told nothing of an earlier one finds and names what it left."""
        finals = [self.place / each for each in COMMANDS[self.name].outputs]
        left = [path for path in finals if path.exists() or partial_path(path).exists()]
        if not left:
            return
        before = snapshot(self.place)
        found = self.lab.run(self.name, self.place, "--quiet")
        assert found.code == 4, found
        names = [name for path in left for name in (f"{path.name}:", partial_path(path).name)]
        assert any(name in found.line() for name in names)
        known = ("--resume" in found.line()) or ("--overwrite" in found.line())
        assert known or "another --export" in found.line(), found
        assert COMMANDS[self.name].resumes or "--resume" not in found.line()
        ignored = {name for name in before if Path(name).name.endswith(".lock")}
        assert snapshot(self.place).keys() - ignored == before.keys() - ignored

    def end(self) -> None:
        """Run to the end, and compare every byte with the uninterrupted run."""
        found = self.lab.run(self.name, self.place, "--quiet", *self.again)
        assert (found.code, found.err) == (0, ""), found
        self.compare()

    def compare(self) -> None:
        found, expected = snapshot(self.place), self.expected.files
        assert sorted(found.keys() ^ expected.keys()) == []
        assert [name for name in found if found[name] != expected[name]] == []
        assert self.lab.temporaries() == []
        shutil.rmtree(self.place)


def kill_often(lab: Lab, name: str, times: int, tried: Tried) -> None:
    """Let a command fall so many times, in lives of one to four falls."""
    rng = np.random.default_rng(sum(name.encode()))
    expected = lab.whole(name)
    shares = (np.arange(times) + rng.random(times)) / times  # one from each part of the run
    rng.shuffle(shares)
    fallen = equal = 0
    life = Life(lab, name, expected, rng)
    for index, share in enumerate(shares):
        number, by_clock = list(SIGNALS)[index % 3], rng.random() < 0.5
        for _ in range(20):
            if life.kill(number, share, by_clock):
                break
            life.compare()  # it was done before
            equal += life.fell
            life = Life(lab, name, expected, rng)
            share *= 0.9
        fallen += 1
        if life.fell == 4 or rng.random() < 0.5:
            life.end()
            equal += life.fell
            life = Life(lab, name, expected, rng)
    if life.fell:
        life.end()
        equal += life.fell
    tried("kills", moments=fallen, resumed_equal=equal)
    assert fallen == equal == times


@pytest.mark.long
@pytest.mark.parametrize("name", SAMPLE)
def test_a_few_kills_change_nothing(lab: Lab, name: str, tried: Tried) -> None:
    assert name in CHEAP
    kill_often(lab, name, SAMPLE[name], tried)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_hundred_kills_change_nothing(lab: Lab, name: str, tried: Tried) -> None:
    assert sum(ALL.values()) == 100
    kill_often(lab, name, ALL[name], tried)
