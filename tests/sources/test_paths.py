from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations.read import read_annotations
from skiptool.sources.paths import refuse_pipe
from skiptool.sources.pictures.files import read_mask, read_picture
from skiptool.sources.slides.slide import open_slide
from small_stores import refused


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/null")):
        with refused(SourceError, path, "a pipe or a device"):
            refuse_pipe(path)


def test_files_folders_and_missing_paths_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("gone")
    for path in (tmp_path, tmp_path / "file", tmp_path / "gone", tmp_path / "dangling"):
        refuse_pipe(path)
    refuse_pipe(Path("a\0b"))


def test_pipes_opened_by_the_shell_pass() -> None:
    read, write = os.pipe()
    refuse_pipe(Path(f"/dev/fd/{read}"))
    os.close(read)
    os.close(write)
    with pytest.raises(FileNotFoundError):
        Path(f"/dev/fd/{read}").read_text()


@pytest.mark.parametrize(
    "read", [read_picture, read_mask, open_slide, lambda path: read_annotations(path, "a.svs")]
)
def test_git_lfs_pointer_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """A clone without git-lfs has them in the place of images, slides and annotations."""
    path = tmp_path / "a.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with refused(SourceError, f"{path}: is a Git LFS pointer; fetch the file itself"):
        read(path)
