"""What `verify` makes of right servers and of wrong ones, by artifact.

    python -m benchmarks.served_mistakes ARTIFACT... --checkpoint FOLDER [--prompts ...]
        [--emulate "qemu-x86_64 -cpu Haswell"] [--output FOLDER]

Golden vectors are made as in a package. Then the artifact runs again in every way that can be had
here and is right: with other numbers of threads, without llama.cpp's repacked weights, in
llama.cpp's own server, on another kind of processor (`--emulate`, texts of up to 60 tokens: it is
slow). And with each mistake that a server may make; where a file cannot be made to make it, torch
fp32 makes it, an error of the file farther away. Another file is each of the other artifacts.
Writes served_mistakes.md.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.machine import about, lines
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.formats.open import open_artifact
from exporter.manifest import read_manifest
from exporter.packages.golden import Golden, build_golden
from exporter.packages.golden_check import compare
from exporter.packages.golden_truth import Truth, measure_truth
from exporter.runtimes.encoder import Encoder, Vectors

EMULATED_TOKENS = 60
Case = tuple[str, list[int], Vectors]
"""What was done, for which golden texts, and what came of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--prompts", type=parse_prompts)
    parser.add_argument("--emulate", help="a command before python's, as qemu-x86_64 -cpu Haswell")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--encode", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        encode_alone(arguments.artifacts[0], arguments.encode)
        return
    prompts = arguments.prompts or read_manifest(arguments.artifacts[0]).prompts
    checkpoint = read_checkpoint(arguments.checkpoint, prompts=prompts)
    truth = measure_truth(checkpoint)
    goldens: dict[str, Golden] = {}
    right: dict[str, list[Case]] = {}
    wrong: dict[str, list[Case]] = {}
    for folder in arguments.artifacts:
        print(folder.name, flush=True)
        with closing(open_artifact(folder)) as encoder:
            golden = goldens[str(folder)] = build_golden(encoder, truth)
            wrong[str(folder)] = list(mistakes(encoder, golden, truth))
        right[str(folder)] = list(sound(folder, golden, checkpoint, emulate=arguments.emulate))
    for name in goldens:
        for other, theirs in goldens.items():
            if other != name:
                rows = np.array([t.vector for t in theirs.texts], np.float32)
                case = f"{theirs.artifact} in its place"
                wrong[name].append((case, list(range(len(rows))), rows))
    found = about(checkpoint, sys.argv[1:])
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "served_mistakes.md"
    path.write_text("\n".join(report(goldens, right, wrong, lines(found))) + "\n", "utf-8")
    print(path)


def encode_alone(folder: Path, task: Path) -> None:
    """Encode the texts of a file, in a process of its own: what `--emulate` runs."""
    with closing(open_artifact(folder, threads=1)) as encoder:
        np.save(task.with_suffix(".npy"), encoder.encode(json.loads(task.read_text("utf-8"))))


def sound(
    folder: Path, golden: Golden, checkpoint: Checkpoint, *, emulate: str | None
) -> Iterator[Case]:
    """Yield the artifact's vectors by every right way that can be had here."""
    texts = [entry.text for entry in golden.texts]
    every = list(range(len(texts)))
    for threads in (1, os.cpu_count() or 1):
        with closing(open_artifact(folder, threads=threads)) as encoder:
            yield f"{threads} thread{'s' * (threads > 1)}", every, encoder.encode(texts)
    if read_manifest(folder).format == "gguf":
        yield from sound_gguf(folder, golden, checkpoint)
    if emulate:
        short = [i for i in every if len(golden.texts[i].token_ids) <= EMULATED_TOKENS]
        with tempfile.TemporaryDirectory() as name:
            task = Path(name) / "texts.json"
            task.write_text(json.dumps([texts[i] for i in short]), "utf-8")
            command = [*shlex.split(emulate), sys.executable, "-m", "benchmarks.served_mistakes"]
            command += [str(folder), "--checkpoint", str(checkpoint.path), "--encode", str(task)]
            ran = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if ran.returncode:
                print(f"{emulate}: {ran.stderr.strip().splitlines()[-1:]}")
                return
            yield emulate, short, np.load(task.with_suffix(".npy"))


def sound_gguf(folder: Path, golden: Golden, checkpoint: Checkpoint) -> Iterator[Case]:
    from exporter.formats.gguf import runtime as llamacpp
    from exporter.runtimes.server import ServerEncoder
    from parity_tests.servers import LLAMA_CPP, running

    texts = [entry.text for entry in golden.texts]
    whole = [i for i in range(len(texts)) if not golden.is_cut(i)]
    chosen = llamacpp.extra_buffers
    if not chosen():
        return  # on a processor with AMX, where repacked kernels crash
    llamacpp.extra_buffers = lambda: not chosen()
    try:
        with closing(open_artifact(folder)) as encoder:
            told = "without" if chosen() else "with"
            yield f"{told} repacked weights", list(range(len(texts))), encoder.encode(texts)
    finally:
        llamacpp.extra_buffers = chosen
    model = folder / read_manifest(folder).entry
    with running(LLAMA_CPP, model, tokens=checkpoint.max_tokens) as url:
        server = ServerEncoder(url, "any", dim=0, timeout_s=600)
        rows = np.array(server.raw([texts[i] for i in whole]), np.float32)
        yield "llama.cpp's server (xllamacpp)", whole, rows


def mistakes(encoder: Encoder, golden: Golden, truth: Truth) -> Iterator[Case]:
    """Yield what the artifact gives with each mistake, torch where the file cannot make it."""
    ids = [list(entry.token_ids) for entry in golden.texts]
    changes: dict[str, Callable[[str], str]] = {
        "texts with another prompt in front": lambda text: "task: search result | query: " + text,
        "texts with a space in front": lambda text: " " + text,
        "texts with a newline at the end": lambda text: text + "\n",
    }
    parts = {
        "texts without their start token": slice(1, None),
        "texts without their end token": slice(-1),
    }
    for mistaken in truth.mistakes:
        at, said = list(mistaken.at), mistaken.said
        if said in changes:
            yield said, at, encoder.encode([changes[said](golden.texts[i].text) for i in at])
        elif said in parts:
            yield said, at, of_ids(encoder, [ids[i][parts[said]] for i in at])
        else:
            yield said, at, mistaken.vectors


def of_ids(encoder: Encoder, rows: Sequence[Sequence[int]]) -> Vectors:
    if hasattr(encoder, "encode_ids"):
        made: Vectors = encoder.encode_ids(rows)
        return made
    padded = getattr(encoder, "encode_padded")  # noqa: B009 - not in the Protocol
    return np.concatenate([padded([row], width=len(row)) for row in rows])


def report(
    goldens: dict[str, Golden],
    right: dict[str, list[Case]],
    wrong: dict[str, list[Case]],
    machine: list[str],
) -> Iterator[str]:
    yield "# Right and wrong servers, as `verify` sees them"
    yield ""
    yield (
        "Distances are 1 - cosine to the package's vectors. `of limit`: the largest part of a "
        "text's limit that was used. `beyond`: texts beyond their limit, of those asked. What is "
        "said follows from the direction of a mistake too, so it is right where no text is beyond."
    )
    for title, cases in (("Right", right), ("Wrong", wrong)):
        yield from ("", f"## {title}", "")
        yield "| artifact | what was done | median | worst | of limit | beyond | said |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for name, golden in goldens.items():
            for case, at, vectors in cases[name]:
                seen = compare(golden, vectors.astype(np.float64), at)
                limits = np.array([golden.texts[i].distance_max for i in at])
                part = np.maximum(seen.own, seen.reference) / limits
                said = (
                    seen.failures[0].removeprefix("these are the vectors of ")
                    if (seen.failures)
                    else "pass"
                )
                yield (
                    f"| {golden.artifact} | {case} | {np.median(seen.own):.1e} | "
                    f"{seen.own.max():.1e} | {part.max():.2f} | {(part > 1).sum()} of {len(at)} | "
                    f"{said} |"
                )
    yield from ("", "## Machine", "", *machine)


if __name__ == "__main__":
    main()
