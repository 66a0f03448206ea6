from __future__ import annotations

from pathlib import Path

from skiptool.errors import ArgumentError
from skiptool.names import ENSEMBLE_FOLD
from skiptool.records import Architecture
from skiptool.stores.checkpoint import StoredModel
from skiptool.stores.ensembles import fold_ensembles
from skiptool.stores.schemas import PREDICTIONS
from small_stores import CLASSES, refused

WHOLE = Architecture("resnet18", (1, 2, 3, 4), CLASSES)
PRUNED = Architecture("resnet18", (2, 3, 4), CLASSES)


def model(
    architecture: Architecture, fold: int | None, name: str = "", repeat: int = 0
) -> StoredModel:
    label = name or f"{architecture.folder}/fold{fold}-{repeat}"
    return StoredModel(
        *(Path(label), label, f"id of {label}", architecture, fold),
        *(None if fold is None else repeat, 9),
        config={},
        lineage=None,
    )


def test_folds_of_one_architecture_belong_together() -> None:
    models = [model(WHOLE, 0), model(PRUNED, 0), model(WHOLE, 1), model(PRUNED, 3)]
    (whole, pruned), alone = fold_ensembles(models)
    assert (whole.members, pruned.members, alone) == ((0, 2), (1, 3), [])
    assert (whole.name, pruned.name) == ("resnet18-L0/ensemble", "resnet18-L1/ensemble")
    facts = whole.facts()
    assert set(facts) == {name for name in PREDICTIONS if name in models[0].facts()}
    assert (facts["fold"], facts["repeat"]) == (ENSEMBLE_FOLD, None)
    assert facts["parameter_count"] is None
    assert (facts["encoder"], facts["pruning"], facts["arch"]) == ("resnet18", "baseline", "unet")


def test_repeats_of_a_fold_are_members_too() -> None:
    models = [model(WHOLE, 0), model(WHOLE, 0, repeat=1), model(WHOLE, 1), model(WHOLE, 1, "", 1)]
    (ensemble,), alone = fold_ensembles(models)
    assert (ensemble.members, alone) == ((0, 1, 2, 3), [])
    with refused(ArgumentError, "a and b are both fold0-r1 of resnet18-L0"):
        fold_ensembles([model(WHOLE, 0, "a", 1), model(WHOLE, 0, "b", 1)])


def test_other_classes_are_another_architecture() -> None:
    other = Architecture("resnet18", (1, 2, 3, 4), ("background", "cell", "other"))
    (only,), alone = fold_ensembles([model(WHOLE, 0), model(other, 1), model(WHOLE, 2)])
    assert only.members == (0, 2)
    assert alone == ["resnet18-L0/fold1-0"]


def test_the_id_is_that_of_the_members_whatever_their_order() -> None:
    first, second, third = (model(WHOLE, fold) for fold in range(3))
    ids = [
        fold_ensembles(members)[0][0].id
        for members in ([first, second], [second, first], [first, third])
    ]
    assert ids[0] == ids[1] != ids[2]


def test_models_of_others_have_no_fold_and_may_be_averaged() -> None:
    (only,), _ = fold_ensembles([model(WHOLE, None, "x"), model(WHOLE, None, "y")])
    assert only.members == (0, 1)


def test_refusals() -> None:
    with refused(ArgumentError, "--ensemble: no architecture comes with two trainings"):
        fold_ensembles([model(WHOLE, 0), model(PRUNED, 1)])
    with refused(ArgumentError, "a/fold0 and b/fold0 are both fold0 of resnet18-L0"):
        fold_ensembles([model(WHOLE, 0, "a/fold0"), model(WHOLE, 0, "b/fold0")])
