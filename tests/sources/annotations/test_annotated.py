"""Records of annotation files."""

from __future__ import annotations

import pytest

from skiptool.sources.annotations.annotated import Annotated, Opened


def test_records_cannot_be_changed_and_default_to_the_plain_case() -> None:
    annotated = Annotated((), None, False, "COCO")
    assert annotated.left_out == 0
    with pytest.raises(AttributeError):
        annotated.size = (1, 2)  # type: ignore[misc]
    opened = Opened("COCO", lambda listed: [])
    assert (opened.slides, opened.by_name, opened.in_bounds) == ((), True, False)
    assert list(opened.found(None)) == []
