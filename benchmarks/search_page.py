"""How soon a packaged search page answers, in headless Chromium on this machine.

python -m benchmarks.search_page PACKAGE [--question TEXT] [--visits 3]

Each visit is of a browser that has nothing stored. Seconds from opening the page until the model is
ready, from the question until its first answer, and a second question's; medians.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from exporter.packages.transformersjs.chromium import open_chromium, serve
from exporter.runtimes.identity import processor

READY_MS = 600_000
PHONE = {"width": 390, "height": 844}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--question", default="房东一直拖着不退押金怎么办")
    parser.add_argument("--visits", type=int, default=3)
    arguments = parser.parse_args()
    found = [_visit(arguments.package, arguments.question) for _ in range(arguments.visits)]
    ready, first, second = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"{processor()}; medians of {arguments.visits} visits", file=sys.stderr)
    print("| model ready, s | first answer after it, s | second question, s |")
    print("| --- | --- | --- |")
    print(f"| {ready:.1f} | {first:.2f} | {second:.2f} |")


def _visit(package: Path, question: str) -> tuple[float, float, float]:
    with serve({"/": package}) as url, open_chromium() as browser:
        page = browser.new_context(viewport=PHONE).new_page()
        began = time.perf_counter()
        page.goto(f"{url}/index.html")
        page.wait_for_selector("body[data-state=ready]", timeout=READY_MS)
        ready = time.perf_counter() - began
        took = []
        for text in (question, f"{question}？"):
            began = time.perf_counter()
            page.fill("#question", text)
            page.press("#question", "Enter")
            page.wait_for_selector("#go:not([disabled])")
            page.wait_for_selector("#results li")
            took.append(time.perf_counter() - began)
        return ready, took[0], took[1]


if __name__ == "__main__":
    main()
