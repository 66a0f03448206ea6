"""Join three figures of the quickstart into the picture at the head of the README.

Usage: python examples/quickstart_picture.py [FOLDER] [PICTURE]

FOLDER is that of examples/quickstart.sh (skiptool-quickstart), whose report draws the figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

FIGURES = ("iou-1", "regained-1", "layers-brightness-0.75")
WIDTH, GAP = 1300, 40


def main() -> None:
    """Write the picture: the figures below each other, at one scale."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "skiptool-quickstart")
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_name("quickstart.png")
    parts = [Image.open(folder / "figures" / f"{name}.png").convert("RGB") for name in FIGURES]
    wide = max(part.width for part in parts)
    high = sum(part.height for part in parts) + GAP * (len(parts) - 1)
    picture, top = Image.new("RGB", (wide, high), "white"), 0
    for part in parts:
        picture.paste(part, ((wide - part.width) // 2, top))
        top += part.height + GAP
    size = (WIDTH, round(high * WIDTH / wide))
    picture.resize(size, Image.Resampling.LANCZOS).save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
