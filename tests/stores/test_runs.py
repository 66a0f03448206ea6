from __future__ import annotations

from pathlib import Path

from skiptool.stores.runs import model_folders


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")


def test_a_folder_stands_for_the_models_in_it_sorted_by_the_value_of_numbers(
    tmp_path: Path,
) -> None:
    make(tmp_path, "b-L0/fold10", "b-L0/fold2", "a-L4/fold0", "c")
    expected = ["a-L4/fold0", "b-L0/fold2", "b-L0/fold10", "c"]
    assert model_folders([tmp_path]) == [tmp_path / name for name in expected]
    one, run = tmp_path / "c", tmp_path / "b-L0"
    assert model_folders([one, run]) == [one, run / "fold2", run / "fold10"]


def test_a_model_holds_no_other(tmp_path: Path) -> None:
    make(tmp_path, "m", "m/inside")
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_what_is_left_of_a_model_is_not_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "m")
    (tmp_path / "m/model.safetensors").write_bytes(b"")
    (tmp_path / "m/config.json").unlink()
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_hidden_folders_stores_and_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "m", ".fold0.partial", "d.zarr/odd")
    (tmp_path / "d.zarr/zarr.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("x")
    assert model_folders([tmp_path]) == [tmp_path / "m"]


def test_what_holds_no_model_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "empty", tmp_path / "gone"]
    assert model_folders(paths) == paths


def test_links_are_followed_to_models_alone(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/m", "runs/own")
    (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere/m")
    (tmp_path / "runs/loop").symlink_to(tmp_path / "runs")
    assert model_folders([tmp_path / "runs"]) == [tmp_path / "runs/linked", tmp_path / "runs/own"]
