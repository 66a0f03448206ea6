from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from predict_cases import make_run
from skiptool.steps.predict.run import Part


def test_ensembles_are_numbered_on_after_the_models(
    runs: Path, experiment: SimpleNamespace
) -> None:
    run = make_run(runs, experiment.data, ensemble=True)
    names = [run.predictor(number).name for number in range(4)]
    expected = ["resnet18-L0/fold0", "resnet18-L0/fold1", "resnet18-L1/fold0"]
    assert names == [*expected, "resnet18-L0/ensemble"]
    (part,) = run.parts
    assert run.predictors(part) == [0, 1, 2, 3]
    assert run.predictors(Part(part.domain, part.indices, (1,))) == [1, 3]
