from __future__ import annotations

import numpy as np

from scans import Scan
from skiptool.sources.registration.align import align
from skiptool.sources.registration.view import View
from skiptool.sources.slides.slide import Slide


def test_a_slide_is_a_view_and_so_is_anything_that_reads_alike() -> None:
    def known(view: type[View]) -> set[str]:
        return {name for name in vars(view) if not name.startswith("_")}

    assert known(View) == {"size", "read", "overview"}
    for name in ("read", "overview"):
        assert callable(getattr(Slide, name))
        assert callable(getattr(Scan, name))
    view: View = Scan(np.zeros((2, 2, 3), dtype=np.uint8))
    assert view.size == (2, 2)
    assert align.__annotations__["reference"] == "View"
