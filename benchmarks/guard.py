"""What a guard says of right embed functions and of wrong ones, by artifact, and how long it takes.

    python -m benchmarks.guard ARTIFACT... --checkpoint FOLDER [--prompts ...] [--output FOLDER]

Each artifact's space, its probes as a package holds them, is asked by embed functions that run the
artifact itself and each of the others: as they should be, with other prompts (those that the space
holds, and some that it does not), and cut at lengths that the space holds or not. Seconds are those
of the two short probes, one thread. Writes guard.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import about, lines
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.formats.open import open_artifact
from exporter.manifest import read_manifest, space_of
from exporter.packages.golden import build_golden
from exporter.packages.golden_truth import measure_truth
from exporter.runtimes.encoder import Encoder
from exporter.vectors.probes import measure_probes

UNKNOWN = ("Frage: {text}", "请检索：{text}", "search: {text}", "question: {text}")
"""Prompts that no space holds."""
RESULTS = Path(__file__).parent / "results"


class Function(NamedTuple):
    """An application's embed function: what is done, the prompt, where it cuts, components."""

    said: str
    prompt: str
    tokens: int = 0
    dim: int | None = None


def functions(prompt: str) -> Iterator[Function]:
    """Yield embed functions for questions, the right ones first."""
    yield Function("as it should be", prompt)
    yield Function("256 components", prompt, dim=256)
    yield Function("no prompt", "{text}")
    yield Function("a document's prompt", "title: none | text: {text}")
    yield Function("another task's prompt", "task: question answering | query: {text}")
    yield from (Function(f"unknown prompt `{one}`", one) for one in UNKNOWN)
    yield Function("a space in front", " " + prompt)
    yield Function("a newline at the end", prompt + "\n")
    yield from (Function(f"cut at {n} tokens", prompt, tokens=n) for n in (300, 512, 1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--prompts", type=parse_prompts)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    prompts = arguments.prompts or read_manifest(arguments.artifacts[0]).prompts
    checkpoint = read_checkpoint(arguments.checkpoint, prompts=prompts)
    truth = measure_truth(checkpoint)
    spaces, encoders = {}, {}
    for folder in arguments.artifacts:
        encoder = encoders[folder] = open_artifact(folder, threads=1)
        limit = build_golden(encoder, truth).limit_of
        probes = measure_probes(encoder, prompts, tolerance=limit, source="measured")
        spaces[folder] = space_of(read_manifest(folder)).model_copy(update={"probes": probes})
    table = []
    for folder, space in spaces.items():
        asked = space.model_dump(mode="json")
        for other, encoder in encoders.items():
            for function in functions(prompts.query):
                table.append(row(asked, encoder, function, own=other == folder))
                print(table[-1], flush=True)
    for encoder in encoders.values():
        encoder.close()
    text = "\n".join(
        [
            "# What a guard says",
            "",
            "Two short questions and, where texts are cut, a long one, embedded by the file in the "
            "second column; the space is that of the first. Seconds: the two short ones.",
            "",
            "| space of | embedded by | how | verdict | 1 - cosine | tolerance | seconds | said |",
            "| --- | --- | --- | --- | ---: | ---: | ---: | --- |",
            *table,
            "",
            *lines(about(checkpoint, sys.argv[1:])),
            "",
        ]
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "guard.md").write_text(text, "utf-8")


def row(space: dict[str, Any], encoder: Encoder, function: Function, *, own: bool) -> str:
    """Return a line of the table: what the guard says of one embed function."""
    check = import_module("exporter.guards.static.guard").check
    spent: list[float] = []

    def embed(text: str) -> list[float]:
        given = _cut(encoder, function.prompt.replace("{text}", text), function.tokens)
        began = time.perf_counter()
        made = [float(value) for value in encoder.encode([given], dim=function.dim)[0]]
        spent.append(time.perf_counter() - began)
        return made

    found = check(space, embed, long=bool(function.tokens) or own)
    said = found["said"].partition(", the index")[0].replace("|", "\\|")
    return (
        f"| {space['artifact']} | {encoder.name} | {function.said.replace('|', '/')} | "
        f"{found['verdict']} | "
        f"{found['distance']:.1e} | {found['tolerance']:.1e} | {np.sum(spent[:2]):.2f} | {said} |"
    )


def _cut(encoder: Encoder, text: str, tokens: int) -> str:
    while tokens and (over := len(encoder.token_ids([text])[0]) - tokens) > 0:
        text = text[: -max(1, over // 2)]
    return text


if __name__ == "__main__":
    main()
