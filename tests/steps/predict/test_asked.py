from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skiptool.errors import ArgumentError
from skiptool.records import ORIGINAL
from skiptool.steps.predict.asked import (
    Places,
    check_asked,
    check_substitution,
    substitution_parameters,
)
from skiptool.substitution import substitutions

OUT = Path("p.parquet")
PLAIN: dict[str, Any] = {
    **{"shifts": [ORIGINAL], "split": "test", "ensemble": False},
    "places": Places(OUT, None, None, None),
}


def test_what_goes_together_passes() -> None:
    check_asked(**PLAIN)
    check_asked(**PLAIN | {"places": Places(OUT, Path("m"), Path("o"), 3), "ensemble": True})
    check_substitution(substitutions(["1"]), "a", False, PLAIN["places"])
    check_substitution((), None, True, Places(OUT, Path("m"), None, None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "half"}, "--split half: expected train"),
        ({"shifts": [ORIGINAL, ORIGINAL]}, "given twice"),
        ({"split": "fold", "ensemble": True}, "--ensemble with --split fold"),
        ({"places": Places(OUT, None, None, 3)}, "expected --overlays DIR"),
        ({"places": Places(OUT, None, Path("o"), 0)}, "at least 1"),
        ({"places": Places(OUT, OUT, None, None)}, "name one place twice"),
    ],
)
def test_what_does_not_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_asked(**PLAIN | change)


def test_parameters_are_those_that_were_given() -> None:
    assert substitution_parameters((), (), None) == {}
    assert substitution_parameters(["1", "each"], (), "a") == {
        "clean_skips": ["1", "each"],
        "clean_domain": "a",
    }
