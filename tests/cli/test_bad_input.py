"""Bad input, all commands: one line on stderr, the right exit code, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Run = Callable[..., Any]

TRAIN = ("train", "{data}", "--encoder-weights", "none", "--epochs", "1")
PREDICT = ("predict", "{baseline}", "--data", "{data}")
FEATURES = ("features", "{baseline}", "--data", "{data}")
FOLDERS = (
    "extract",
    "images",
    "--images",
    "{odd}/small",
    "--masks",
    "{odd}/small",
    "--mask-pattern",
    "{{}}-mask",
)
DARK, PLAIN, OTHER = "{dark}", "{plain}", "{plain_pruned}"

BAD: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "subcommand unknown": (2, ("sinth",), ("sinth", "'skiptool --help'")),
    "option unknown": (2, ("synth", "--cels", "3"), ("--cels", "--cells", "synth --help")),
    "option of a group": (
        2,
        ("extract", "images", "--nope"),
        ("'skiptool extract images --help'",),
    ),
    "option no number": (2, ("synth", "--n", "many"), ("--n", "valid integer")),
    "seed negative": (2, ("synth", "--seed", "-1"), ("--seed",)),
    "resume and overwrite": (2, ("synth", "--resume", "--overwrite"), ("give only one",)),
    "synth none": (2, ("synth", "--n", "0"), ("--n 0",)),
    "synth no size": (2, ("synth", "--size", "0"), ("--size 0",)),
    "synth cells falling": (2, ("synth", "--cells", "9:1"), ("9:1",)),
    "synth cells no span": (2, ("synth", "--cells", "many"), ("--cells 'many'", "1:100")),
    "synth all test": (2, ("synth", "--n", "9", "--test-fraction", "1"), ("test fraction 1",)),
    "synth less than none": (2, ("synth", "--test-fraction", "-0.1"), ("test fraction -0.1",)),
    "synth fraction NaN": (2, ("synth", "--test-fraction", "nan"), ("test fraction nan",)),
    "synth no folds": (2, ("synth", "--n", "9", "--folds", "0"), ("0 folds",)),
    "synth canvas small": (2, ("synth", "--canvas", "9"), ("canvas 9",)),
    "synth templates missing": (1, ("synth", "--templates", "gone"), ("gone", "no such folder")),
    "synth templates empty": (1, ("synth", "--templates", "{odd}/empty"), ("no background*.png",)),
    "synth source alone": (2, ("synth", "--source", "a.png"), ("--annotations",)),
    "synth two sources": (
        2,
        ("synth", "--templates", "a", "--source", "b.png", "--annotations", "c.json"),
        ("exclude each other",),
    ),
    "synth source missing": (
        1,
        ("synth", "--source", "b.png", "--annotations", "c.json"),
        ("no such",),
    ),
    "synth export format": (2, ("synth", "--export", "jpg", "d"), ("--export jpg", "png")),
    "synth export parent": (1, ("synth", "--n", "9", "--export", "png", "no/d"), ("no does not",)),
    "synth out exists": (4, ("synth", "-o", "{data}"), ("exists already", "--overwrite")),
    "synth parent missing": (1, ("synth", "-o", "no/s.zarr"), ("folder no does not exist",)),
    "synth resumes another": (
        4,
        ("synth", "-o", "{data}", "--resume", "--size", "64"),
        ("n was 24, now 1000", "canvas was 300, now 1500"),
    ),
    "extract nothing": (2, ("extract", "images"), ("either a manifest, or both",)),
    "extract both": (2, (*FOLDERS, "{odd}/sizes.csv"), ("either a manifest, or both",)),
    "extract no masks": (2, FOLDERS[:4], ("either a manifest, or both",)),
    "extract folder missing": (1, (*FOLDERS[:3], "gone", "--masks", "gone"), ("gone: no such",)),
    "extract manifest missing": (1, ("extract", "images", "gone.csv"), ("no such manifest",)),
    "extract manifest empty": (1, ("extract", "images", "{odd}/nothing.csv"), ("nothing.csv",)),
    "extract manifest bare": (1, ("extract", "images", "{odd}/header.csv"), ("header.csv",)),
    "extract column": (1, ("extract", "images", "{odd}/columns.csv"), ("column domain", "domian")),
    "extract domain name": (2, ("extract", "images", "{odd}/domain.csv"), ("'A/B'",)),
    "extract all unreadable": (
        1,
        ("extract", "images", "{odd}/gone.csv"),
        ("all 1 inputs failed",),
    ),
    "extract label beyond": (
        1,
        ("extract", "images", "{odd}/beyond.csv"),
        ("mask contains value 3", "0 to 1", "beyond-a-mask.png"),
    ),
    "extract sizes": (
        1,
        ("extract", "images", "{odd}/sizes.csv", "--test-fraction", "0", "--folds", "2"),
        ("(12, 12, 3)", "one size"),
    ),
    "extract sizes, dry": (
        1,
        ("extract", "images", "{odd}/sizes.csv", "--folds", "2", "--dry-run"),
        ("(12, 12, 3)", "one size"),
    ),
    "extract split partly": (1, ("extract", "images", "{odd}/split.csv"), ("split is empty",)),
    "extract labels no value": (2, (*FOLDERS, "--labels", "cell"), ("--labels 'cell'",)),
    "extract labels no class": (2, (*FOLDERS, "--labels", "255="), ("--labels '255='",)),
    "extract labels superscript": (2, (*FOLDERS, "--labels", "²=cell"), ("VALUE=CLASS",)),
    "extract labels too large": (2, (*FOLDERS, "--labels", "65536=cell"), ("65536=cell",)),
    "extract labels unknown": (
        2,
        (*FOLDERS, "--labels", "1=cell", "--classes", "none,cells"),
        ("--labels 1=cell: not in --classes",),
    ),
    "extract labels mixed": (
        2,
        (*FOLDERS, "--labels", "1=cell", "--labels", "#ff0000=tumour"),
        ("values and colours",),
    ),
    "extract labels colour": (2, (*FOLDERS, "--labels", "256,0,0=cell"), ("COLOUR=CLASS",)),
    "extract pattern": (2, (*FOLDERS, "--pattern", "{{scanner}}_{{}}"), ("--pattern", "{domain}")),
    "extract pattern, manifest": (
        2,
        ("extract", "images", "{odd}/sizes.csv", "--pattern", "{{subject}}"),
        ("--pattern goes with folders",),
    ),
    "extract stride alone": (2, (*FOLDERS, "--stride", "9"), ("--stride goes with --patch-size",)),
    "extract no tile": (2, (*FOLDERS, "--patch-size", "0"), ("--patch-size 0",)),
    "extract channels": (2, (*FOLDERS, "--channels", "2"), ("--channels 2",)),
    "extract scale": (2, (*FOLDERS, "--scale", "9:1"), ("--scale 9:1", "LOW:HIGH")),
    "extract export form": (
        2,
        (*FOLDERS, "--export", "coco", "d"),
        ("png DIR or --export nnunet",),
    ),
    "extract export parent": (1, (*FOLDERS, "--export", "nnunet", "no/d"), ("no does not exist",)),
    "extract plain folder": (1, ("extract", "images", "{odd}/empty"), ("dataset.json", "--images")),
    "extract labels twice": (
        2,
        (*FOLDERS, "--labels", "1=foreground", "--labels", "1=background"),
        ("twice",),
    ),
    "extract one class": (2, (*FOLDERS, "--classes", "background"), ("2 to 255",)),
    "extract few subjects": (2, (*FOLDERS, "--folds", "9"), ("9 folds of",)),
    "extract onto input": (
        2,
        (*FOLDERS, "-o", "{odd}/small", "--overwrite"),
        ("inputs are never overwritten",),
    ),
    "extract one folder": (
        1,
        ("extract", "images", "--images", "{odd}/small", "--masks", "{odd}/small"),
        ("small: is the folder of images and of masks", "--mask-pattern"),
    ),
    "extract mask pattern": (
        2,
        (*FOLDERS[:-1], "mask"),
        ("--mask-pattern mask: expected",),
    ),
    "extract mask pattern of a manifest": (
        2,
        ("extract", "images", "{odd}/m.csv", "--mask-pattern", "{{}}_m"),
        ("--mask-pattern goes with --images DIR",),
    ),
    "train data missing": (1, ("train", "gone.zarr"), ("gone.zarr: no such dataset store",)),
    "train plain folder": (1, ("train", "{odd}/empty"), ("not a Zarr group",)),
    "train on a table": (1, ("train", "{predictions}"), ("dataset store",)),
    "train on features": (1, ("train", PLAIN), ("'features', expected 'dataset'",)),
    "train empty path": (2, ("train", ""), ("empty path",)),
    "train encoder unknown": (2, (*TRAIN, "--encoder", "resnet81"), ("resnet81", "resnet18")),
    "train encoder twice": (
        2,
        (*TRAIN, "--encoder", "resnet18", "--encoder", "resnet18"),
        ("given twice",),
    ),
    "train fold unknown": (2, (*TRAIN, "--fold", "9"), ("--fold 9", "[0, 1, 2]")),
    "train fold negative": (2, (*TRAIN, "--fold", "-1"), ("--fold -1",)),
    "train folds too many": (2, (*TRAIN, "--folds", "99"), ("99 folds of 19 subjects",)),
    "train prune too many": (2, (*TRAIN, "--prune", "5"), ("--prune 5",)),
    "train skips unknown": (2, (*TRAIN, "--skips", "0,1"), ("--skips 0,1",)),
    "train lr NaN": (2, (*TRAIN, "--lr", "nan"), ("learning rate is nan",)),
    "train lr NaN, dry": (2, (*TRAIN, "--lr", "nan", "--dry-run"), ("learning rate is nan",)),
    "train lr infinite": (2, (*TRAIN, "--lr", "inf"), ("learning rate is inf",)),
    "train gamma": (2, (*TRAIN, "--lr-gamma", "0"), ("learning rate decay is 0",)),
    "train epochs": (2, (*TRAIN, "--epochs", "0"), ("--epochs",)),
    "train loss": (2, (*TRAIN, "--loss", "dice"), ("--loss", "ce+gdice")),
    "train precision": (2, (*TRAIN, "--precision", "64"), ("--precision", "bf16")),
    "train float16 on CPU": (2, (*TRAIN, "--precision", "16", "--device", "cpu"), ("needs a GPU",)),
    "train device": (2, (*TRAIN, "--device", "tpu"), ("device 'tpu'",)),
    "train device far": (2, (*TRAIN, "--device", "cuda:99"), ("cuda:99",)),
    "train domain unknown": (2, (*TRAIN, "--domain", "synthetik"), ("did you mean synthetic",)),
    "train weights file": (
        1,
        ("train", "{data}", "--encoder-weights", "gone.pth"),
        ("gone.pth: no such file",),
    ),
    "train weights file, dry": (
        1,
        ("train", "{data}", "--encoder-weights", "gone.pth", "--dry-run"),
        ("gone.pth: no such file",),
    ),
    "train weights name": (
        2,
        ("train", "{data}", "--encoder-weights", "imagenett"),
        ("did you mean imagenet",),
    ),
    "train out is a file": (4, (*TRAIN, "-o", "{odd}/text.txt"), ("exists already",)),
    "train out exists": (4, (*TRAIN, "-o", "{folder}/runs", "--fold", "0"), ("exists already",)),
    "train parent missing": (1, (*TRAIN, "-o", "no/runs"), ("folder no does not exist",)),
    "train onto data": (2, (*TRAIN, "-o", "{data}"), ("inputs are never overwritten",)),
    "predict no data": (2, ("predict", "{baseline}"), ("--data",)),
    "predict model missing": (1, ("predict", "gone", *PREDICT[2:]), ("gone: no model folder",)),
    "predict with data": (1, ("predict", "{data}", *PREDICT[2:]), ("no config.json",)),
    "predict data missing": (1, (*PREDICT[:3], "gone.zarr"), ("gone.zarr: no such",)),
    "predict shift unknown": (2, (*PREDICT, "--shift", "brightnes=1"), ("mean brightness",)),
    "predict no factor": (2, (*PREDICT, "--shift", "contrast"), ("KIND=FACTOR",)),
    "predict factor no number": (2, (*PREDICT, "--shift", "contrast=x"), ("'x' is not a number",)),
    "predict factor negative": (2, (*PREDICT, "--shift", "contrast=-1"), ("out of range",)),
    "predict factor NaN": (2, (*PREDICT, "--shift", "contrast=nan"), ("out of range",)),
    "predict factor huge": (2, (*PREDICT, "--shift", "contrast=1e9"), ("out of range",)),
    "predict original factor": (2, (*PREDICT, "--shift", "original=1"), ("takes no factor",)),
    "predict sweep": (2, (*PREDICT, "--sweep", "papers"), ("--sweep papers", "paper")),
    "predict split": (
        2,
        (*PREDICT, "--split", "tset"),
        ("--split tset", "train, test, fold or all"),
    ),
    "predict domain": (2, (*PREDICT, "--domain", "A"), ("no domain 'A'", "synthetic")),
    "predict shift twice": (
        2,
        (*PREDICT, "--shift", "contrast=1", "--shift", "contrast=1.0"),
        ("shift is given twice",),
    ),
    "predict domain twice": (
        2,
        (*PREDICT, "--domain", "synthetic", "--domain", "synthetic"),
        ("domain is given twice",),
    ),
    "predict model twice": (
        2,
        ("predict", "{baseline}", "{baseline}/", *PREDICT[2:]),
        ("is the same model as",),
    ),
    "predict channels": (
        1,
        (*PREDICT[:3], "{odd}/grey.zarr"),
        ("images have 1 channels", "takes 3"),
    ),
    "predict classes": (1, (*PREDICT[:3], "{odd}/classes.zarr"), ("2 classes", "has 3")),
    "predict out exists": (4, (*PREDICT, "-o", "{predictions}"), ("exists already",)),
    "predict masks exist": (4, (*PREDICT, "--masks", "{masks}"), ("exists already",)),
    "predict parent missing": (1, (*PREDICT, "-o", "no/p.parquet"), ("folder no does not exist",)),
    "predict out is masks": (
        2,
        (*PREDICT, "-o", "x", "--masks", "x"),
        ("--masks x: is the same as --out",),
    ),
    "features layer unknown": (2, (*FEATURES, "--layers", "enk1"), ("'enk1'", "mean enc1")),
    "features dtype": (2, (*FEATURES, "--dtype", "int8"), ("--dtype int8", "float16")),
    "features split": (2, (*FEATURES, "--split", "val"), ("--split val",)),
    "features many in one": (
        2,
        (*FEATURES, "--shift", "original", "--shift", "contrast=2"),
        ("feats.zarr: one store, but 2",),
    ),
    "features model twice": (
        2,
        ("features", "{baseline}", "{baseline}", *FEATURES[2:], "-o", "f"),
        ("made twice",),
    ),
    "features channels": (1, (*FEATURES[:3], "{odd}/grey.zarr"), ("images have 1 channels",)),
    "features out exists": (4, (*FEATURES, "-o", PLAIN), ("exists already",)),
    "features in folder exists": (4, (*FEATURES, "-o", "{features}"), ("original.zarr: exists",)),
    "features parent missing": (1, (*FEATURES, "-o", "no/f"), ("folder no does not exist",)),
    "features out is a file": (4, (*FEATURES, "-o", "{odd}/text.txt"), ("exists already",)),
    "hellinger one store": (2, ("hellinger", PLAIN), ("one feature store",)),
    "hellinger no bins": (2, ("hellinger", PLAIN, DARK, "--bins", "0"), ("--bins 0",)),
    "hellinger models": (1, ("hellinger", PLAIN, OTHER), ("different models", "one model")),
    "hellinger reference of another": (
        2,
        ("hellinger", PLAIN, DARK, "--reference", OTHER),
        ("--reference", "different models"),
    ),
    "hellinger missing": (1, ("hellinger", PLAIN, "gone.zarr"), ("no such feature store",)),
    "hellinger on data": (1, ("hellinger", PLAIN, "{data}"), ("'dataset', expected 'features'",)),
    "hellinger on a table": (1, ("hellinger", PLAIN, "{shift}"), ("feature store",)),
    "hellinger out exists": (4, ("hellinger", PLAIN, DARK, "-o", "{shift}"), ("exists",)),
    "hellinger onto input": (
        2,
        ("hellinger", PLAIN, DARK, "-o", DARK + "/", "--overwrite"),
        ("inputs are never overwritten",),
    ),
    "report missing": (1, ("report", "gone.parquet"), ("gone.parquet: no such",)),
    "report of text": (1, ("report", "{odd}/text.txt"), ("not a Parquet file",)),
    "report of a model": (1, ("report", "{baseline}"), ("kind model", "which has no figure")),
    "report level": (2, ("report", "{shift}", "--level", "95"), ("level 95", "below 1")),
    "report format": (2, ("report", "{shift}", "--format", "gif"), ("--format 'gif'", "pdf")),
    "report out is text": (2, ("report", "{shift}", "-o", "{odd}/text.txt"), ("suffix .txt",)),
    "report out is a folder": (4, ("report", "{shift}", "-o", "{odd}/empty"), ("is a folder",)),
    "report parent missing": (1, ("report", "{shift}", "-o", "no/r.html"), ("does not exist",)),
    "report figures parent": (1, ("report", "{shift}", "--figures", "no/f"), ("does not exist",)),
    "info missing": (1, ("info", "gone"), ("gone: no such file or folder",)),
    "info plain folder": (1, ("info", "{odd}/empty"), ("neither a store nor a model",)),
    "info text": (1, ("info", "{odd}/text.txt"), ("not a Parquet file",)),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_is_reported_in_one_line(
    name: str,
    run: Run,
    experiment: SimpleNamespace,
    odd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, words, fragments = BAD[name]
    monkeypatch.chdir(tmp_path)
    places = vars(experiment)
    before = _tree(experiment.folder), _tree(odd)
    found = run(*(word.format(**places, odd=odd) for word in words))
    assert found.code == code, found
    line = found.line()
    for fragment in fragments:
        assert fragment in line
    assert _tree(tmp_path) == []
    assert (_tree(experiment.folder), _tree(odd)) == before


def _tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))
