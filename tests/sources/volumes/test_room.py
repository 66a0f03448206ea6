from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from skiptool.sources.volumes.room import DEFLATE, check_end, check_room


def test_a_file_holds_what_it_can(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.nii", tmp_path / "a.nii.gz"
    plain.write_bytes(bytes(1000))
    packed.write_bytes(gzip.compress(bytes(10**7), 9))
    check_room(plain, (10, 10, 5), 2)
    check_room(packed, (10, 10, 10, 10_000), 1, DEFLATE)  # as good as gzip gets
    with pytest.raises(EOFError, match="says 1,002 bytes"):
        check_room(plain, (501,), 2)
    with pytest.raises(EOFError, match="says 1,000,000,000,000,000,000 bytes"):
        check_room(packed, (10**6,) * 3, 1, DEFLATE)


def test_a_file_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skiptool.sources.volumes.room.MOST", 3)
    check_end(io.BytesIO(bytes(2 << 20)))
    with pytest.raises(EOFError, match="without end"):
        check_end(io.BytesIO(bytes(4 << 20)))
