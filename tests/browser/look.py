"""Look at a report page as a browser shows it: ``python tests/browser/look.py PAGE OUTDIR``.

Writes ``light.png``, ``dark.png``, ``narrow.png`` (360 px) and ``print.pdf``, and prints what was
found as JSON. Chromium is driven over its debugging pipe (Chrome DevTools Protocol): no port, and
nothing to install but the browser (Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["Browser", "found_browser", "look"]

Found = dict[str, Any]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-color-profile=srgb", "--remote-debugging-pipe"),
)
SECONDS = 60.0
"""How long the browser may take for one answer."""

HIGHEST = 16_000
"""Pixels of a page that one screenshot holds."""

OVERFLOW = """(() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = (e) => e && e !== document.body &&
    (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
  return {
    width: wide,
    scroll: document.documentElement.scrollWidth,
    beyond: [...document.body.querySelectorAll("*")].filter((e) =>
      e.getBoundingClientRect().right > wide + 1 && !e.closest("svg") && !scrolls(e.parentElement)
    ).slice(0, 5).map((e) => e.outerHTML.slice(0, 120)),
  };
})()"""

CONTRAST = """(() => {
  const channel = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) =>
    0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let least = { ratio: 21, of: "" };
  for (const e of document.body.querySelectorAll(":not(svg *, svg, script)")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [parts(getComputedStyle(e).color), ground(e)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least.ratio) least = { ratio, of: e.outerHTML.slice(0, 80) };
  }
  return least;
})()"""

LINKS = """(() => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const links = [...document.querySelectorAll("a[href]")].map((e) => e.getAttribute("href"));
  return {
    doubled: ids.filter((id, n) => ids.indexOf(id) !== n),
    dead: links.filter((href) => !href.startsWith("#") || !ids.includes(href.slice(1))),
    first: [...document.querySelectorAll("a, button, summary, [tabindex]")]
      .filter((e) => e.tabIndex > 0).length,
    figures: document.querySelectorAll("figure svg").length,
    tables: document.querySelectorAll("table").length,
    links: links.length,
  };
})()"""

PLACE = """((n, column) => {
  const table = document.querySelectorAll("table")[n];
  for (let e = table; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
  const button = table.tHead.rows[0].cells[column].querySelector("button");
  button.scrollIntoView({ block: "center", inline: "center" });
  const box = button.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""

COLUMN = """((n, column) => {
  const table = document.querySelectorAll("table")[n];
  return {
    sorted: table.tHead.rows[0].cells[column].getAttribute("aria-sort"),
    keys: [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.key ?? null),
    rows: [...table.tBodies[0].rows].map((row) => row.textContent).sort(),
  };
})"""


def found_browser() -> str | None:
    """Return the path of Chromium or Chrome, if one is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """A headless Chromium with one tab; a context manager."""

    def __init__(self, program: str) -> None:
        self._home = TemporaryDirectory()
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        ends = [os.dup(end) for end in (theirs, answers)]  # out of the way of 3 and 4
        while min(ends) <= 4:
            ends = [os.dup(end) for end in ends]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        words = [program, *FLAGS, f"--user-data-dir={self._home.name}", "about:blank"]
        self._process = subprocess.Popen(
            words, preexec_fn=place, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        for end in (theirs, answers, *ends):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: deque[Found] = deque()
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        for end in (self._write, self._read):
            os.close(end)
        self._home.cleanup()

    def __call__(self, method: str, **params: object) -> Found:
        """Call a method of the protocol and return its result; events meanwhile are kept."""
        self._number += 1
        message: Found = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: Found = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> Found:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], until - time.monotonic())
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser does not answer")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        found: Found = json.loads(text)
        return found

    def open(self, page: Path) -> None:
        """Open a file and wait until it is loaded."""
        self("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, script: str) -> Any:  # noqa: ANN401 - whatever JavaScript returns
        """Evaluate JavaScript in the page."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def size(self, width: int, height: int) -> None:
        """Make the window so many pixels large."""
        how = {"deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, **how)

    def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark`` colours."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self("Emulation.setEmulatedMedia", features=[feature])

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            how = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self("Input.dispatchMouseEvent", **how)

    def shoot(self, path: Path) -> None:
        """Save the whole page as a picture."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], HIGHEST)}
        clip["scale"] = 1
        found = self("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(b64decode(found["data"]))


def look(page: Path, out: Path, program: str | None = None) -> Found:
    """Open a page, save how it looks, and return what was found.

    Parameters
    ----------
    page : Path
    out : Path
        Folder for the pictures; made if it is not there.
    program : str, optional
        The browser.

    Returns
    -------
    dict
        ``errors`` (of the console, exceptions, security policy), ``requests`` (that left the
        page), ``links`` (doubled ids, dead links, tab stops out of turn, and counts), ``contrast``
        by colour scheme, ``narrow`` (what is wider than a window of 360 px), ``sorting`` (an entry
        a table), ``pages`` (of the print).
    """
    chosen = program or found_browser()
    if chosen is None:
        raise RuntimeError("no Chromium found; apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    with Browser(chosen) as browser:
        browser.size(1280, 900)
        browser.open(page)
        found: Found = {"links": browser.value(LINKS), "contrast": {}}
        for name in ("light", "dark"):
            browser.scheme(name)
            found["contrast"][name] = browser.value(CONTRAST)
            browser.shoot(out / f"{name}.png")
        browser.scheme("light")
        browser.size(360, 740)
        found["narrow"] = browser.value(OVERFLOW)
        browser.shoot(out / "narrow.png")
        printed = browser("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        (out / "print.pdf").write_bytes(b64decode(printed["data"]))
        found["pages"] = b64decode(printed["data"]).count(b"/Type /Page\n")
        browser.size(1280, 900)
        found["sorting"] = [_sorting(browser, n) for n in range(found["links"]["tables"])]
        browser.value("1")  # what was on its way has arrived
        return found | _outcry(browser, page)


def _sorting(browser: Browser, table: int) -> Found:
    """Click the head of the last column twice; say whether the rows stand as they should."""
    column = browser.value(
        f"document.querySelectorAll('table')[{table}].tHead.rows[0].cells.length - 1"
    )
    where = f"({table}, {column})"
    before = browser.value(COLUMN + where)
    found: Found = {"column": column, "rows": len(before["rows"]), "ok": True}
    for direction in ("ascending", "descending"):
        browser.click(*browser.value(PLACE + where))
        after = browser.value(COLUMN + where)
        keys = [float(key) for key in after["keys"] if key]
        right = after["keys"] == sorted(after["keys"], key=lambda key: key == "")
        right &= keys == sorted(keys, reverse=direction == "descending")
        found["ok"] &= right and after["sorted"] == direction and after["rows"] == before["rows"]
    return found


def _outcry(browser: Browser, page: Path) -> Found:
    errors, requests = [], []
    for event in browser.events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            errors.append(str(params["args"])[:300])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != page.resolve().as_uri() and not url.startswith("data:"):
                requests.append(url)
    return {"errors": errors, "requests": requests}


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]), Path(sys.argv[2])), indent=1))
