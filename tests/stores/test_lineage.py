from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ExistsError, FormatError
from skiptool.names import Kind, Split
from skiptool.stores.lineage import (
    FORMAT_VERSIONS,
    Invocation,
    check_same_run,
    create_lineage,
    hash_bytes,
    hash_json,
    parse_lineage,
)
from small_stores import MAKING, refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=JSON)
def test_json_hash_is_stable(value: object) -> None:
    assert hash_json(value) == hash_json(value)
    assert len(hash_json(value)) == 32
    assert int(hash_json(value), 16) >= 0
    assert hash_json([value]) != hash_json(value)


def test_json_hash_converts_other_types() -> None:
    assert hash_json({"a": (1, Path("b")), "c": Split.TEST}) == hash_json(
        {"c": "test", "a": [1, "b"]}
    )


def test_hash_of_bytes_is_sha256() -> None:
    # of "abc", FIPS 180-2, appendix B.1
    assert hash_bytes(b"a", b"bc") == "ba7816bf8f01cfea414140de5dae2223"


def test_arithmetic_is_recorded_but_does_not_change_the_id() -> None:
    one, other = (
        create_lineage(Kind.FEATURES, Invocation("features", arithmetic={"threads": n}), 1)
        for n in (1, 2)
    )
    assert (one.as_json()["arithmetic"], one.id) == ({"threads": 1}, other.id)
    assert parse_lineage(one.as_json(), "here", Kind.FEATURES) == one
    check_same_run(one.as_json(), Invocation("features", arithmetic={"threads": 2}), "here")
    with refused(FormatError, "damaged in arithmetic"):
        parse_lineage(one.as_json() | {"arithmetic": 3}, "here", Kind.FEATURES)


@pytest.mark.parametrize("kind", list(Kind))
def test_header_round_trip(kind: Kind) -> None:
    header = create_lineage(kind, MAKING, {"weights": "x"})
    assert parse_lineage(header.as_json(), "here", kind) == header
    assert header.as_json()["inputs"] == dict(MAKING.inputs)
    assert list(header.as_json()) == [
        "kind",
        "format_version",
        "skiptool_version",
        "command",
        "parameters",
        "created",
        "id",
        "inputs",
    ]


def test_id_depends_on_kind_and_content_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    first = create_lineage(
        Kind.SHIFT, Invocation("hellinger", ("a",), {"bins": 9}, {"out": "b"}), ["x", 1]
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2")
    other = create_lineage(
        Kind.SHIFT, Invocation("hellinger", ("c",), {"bins": 7}, {"out": "d"}), ["x", 1]
    )
    assert first.id == other.id
    assert first.created != other.created
    assert create_lineage(Kind.MASKS, MAKING, ["x", 1]).id != first.id
    assert create_lineage(Kind.SHIFT, MAKING, ["x", 2]).id != first.id


def test_creation_time_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert create_lineage(Kind.MODEL, MAKING, 1).created == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize("epoch", ["", "soon", "²", "1e3", "9" * 30])
def test_invalid_creation_time_is_ignored(monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    before = datetime.now(UTC).replace(microsecond=0)
    created = datetime.fromisoformat(create_lineage(Kind.MODEL, MAKING, 1).created)
    assert before <= created <= datetime.now(UTC)


def test_command_can_be_repeated() -> None:
    invocation = Invocation(
        "extract images",
        (Path("my list.csv"),),
        {"shift": ["original", "brightness=0.5"], "folds": None, "seed": 0},
        {"keep_last": True, "overwrite": False, "out": Path("a.zarr")},
    )
    assert invocation.command == (
        "skiptool extract images 'my list.csv' --shift original --shift brightness=0.5 --seed 0 "
        "--keep-last --out a.zarr"
    )


def test_equal_determinants_pass_with_any_placement() -> None:
    found = {"parameters": {"n": 1, "s": ["a"]}, "inputs": {"data": "x"}}
    check_same_run(
        found, Invocation("f", (), {"n": 1, "s": ("a",)}, {"out": "b"}, {"data": "x"}), "here"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"parameters": {"n": 1}, "inputs": {"data": "x"}}, ["n was 1, now 2"]),
        ({"parameters": {"n": 2}, "inputs": {"data": "y"}}, ["data was 'y', now 'x'"]),
        ({"parameters": {"m": 3}, "inputs": {"data": "x"}}, ["m was 3, now None", "n was None"]),
        ({}, ["n was None, now 2", "data was None, now 'x'"]),
    ],
)
def test_changed_determinants_are_listed(found: Mapping[str, Any], words: list[str]) -> None:
    with refused(ExistsError, "here", *words):
        check_same_run(found, Invocation("f", (), {"n": 2}, {}, {"data": "x"}), "here")


def test_predictions_of_other_models_need_another_table() -> None:
    found = {"parameters": {}, "inputs": {"model": "x"}}
    more = Invocation("predict", inputs={"model": "x", "model2": "y"})
    with pytest.raises(ExistsError, match="predict only these with another --out"):
        check_same_run(found, more, "p.parquet")


def test_method_is_compared_but_is_not_an_option() -> None:
    invocation = Invocation("f", (), {"n": 2}, {"out": "b"}, {}, {"way": "new"})
    assert invocation.command == "skiptool f --n 2 --out b"
    assert invocation.determinants["parameters"] == {"n": 2, "way": "new"}
    check_same_run({"parameters": {"n": 2, "way": "new"}}, invocation, "here")
    for old, was in (({"n": 2}, "None"), ({"n": 2, "way": "old"}, "'old'")):
        words = (
            f"here: was begun by another version of skiptool, whose method differs (way was {was}"
        )
        with refused(ExistsError, words, "now 'new')", "--overwrite"):
            check_same_run({"parameters": old}, invocation, "here")


GOOD = create_lineage(Kind.DATASET, MAKING, 1).as_json()


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (None, "not made by skiptool"),
        ([], "not made by skiptool"),
        ("dataset", "not made by skiptool"),
        ({"kind": "dataset"}, "not made by skiptool"),
        ({**GOOD, "kind": "features"}, "is of kind 'features', expected 'dataset'"),
        ({**GOOD, "kind": ["dataset"]}, "is of kind ['dataset']"),
        ({**GOOD, "format_version": FORMAT_VERSIONS[Kind.DATASET] + 1}, "use a newer skiptool"),
        ({**GOOD, "format_version": 0}, "format version 0"),
        ({**GOOD, "format_version": "1"}, "format version '1'"),
        ({**GOOD, "format_version": True}, "format version True"),
        ({key: GOOD[key] for key in GOOD if key != "inputs"}, "lacks inputs"),
        ({**GOOD, "id": None}, "damaged in id"),
        ({**GOOD, "parameters": [], "command": 3}, "damaged in command, parameters"),
    ],
)
def test_other_values_are_refused_as_headers(found: object, word: str) -> None:
    with refused(FormatError, "x.zarr", word):
        parse_lineage(found, "x.zarr", Kind.DATASET)
