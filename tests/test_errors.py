from __future__ import annotations

import pytest

from skiptool import errors
from skiptool.errors import (
    ArgumentError,
    ExistsError,
    OutOfMemoryError,
    SkiptoolError,
    WorkerError,
    near,
)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("brightnes", ["brightness", "contrast"], "; did you mean brightness?"),
        ("enc11", ["enc1", "enc2", "head"], "; did you mean enc1, enc2?"),
        ("resnet", ["resnet18", "resnet34", "vgg16"], "; did you mean resnet34, resnet18?"),
        ("zzz", ["brightness"], ""),
        ("", ["brightness"], ""),
        ("brightness", [], ""),
    ],
)
def test_near(name: str, known: list[str], expected: str) -> None:
    assert near(name, known) == expected


def test_near_offers_no_more_than_asked_and_takes_any_iterable() -> None:
    assert near("enc", (f"enc{level}" for level in range(9)), limit=1).count("enc") == 1


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "near"])
def test_every_kind_is_a_skiptool_error(name: str) -> None:
    assert issubclass(getattr(errors, name), SkiptoolError)


def test_kinds_are_those_of_the_standard_library_too() -> None:
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(ExistsError, FileExistsError)
    assert issubclass(OutOfMemoryError, MemoryError)
    assert issubclass(WorkerError, ChildProcessError)
    assert str(ExistsError("there already")) == "there already"
