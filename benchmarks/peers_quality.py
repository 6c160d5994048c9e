"""What each peer's file makes of a checkpoint's vectors and of retrieval, against torch fp32.

    python -m benchmarks.peers_quality --checkpoint FOLDER --corpus FOLDER --work FOLDER
        [--prompts 'query=...,document=...'] [--dims 768,512,256,128] [--documents 3000] [--long 24]
        [--choose] [--only NAME,NAME] [--remake NAME,NAME] [--artifacts FOLDER,FOLDER]

Documents are those that answer a question, and others up to --documents. 300 questions, chosen by
the hash of their ids, are for choosing between variants (--choose shows them); the figures are
those of all others. Texts of 513 to 2,048 tokens are neighbouring documents, joined. Every file is
made from the same checkpoint and, where its tool calibrates, on the same texts with the same
prompts (--calibration; the bundled ones by default), fed the same token ids in padded batches of
texts of similar length, in a process of its own. Files and vectors are kept in --work: a run that
was stopped resumes. Writes peers_quality_CORPUS.md, .json and .png to --output.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import LONG, Yardstick
from benchmarks.machine import about
from benchmarks.peer_files import NOISE, QUALITY, TRUTH, chosen_names, missing_needs
from benchmarks.peer_made import Job, remove_file
from benchmarks.peer_steps import Step, StepFailed, alone
from benchmarks.peer_vectors import GROUPS, source_of, vectors_of
from benchmarks.peers_plot import plot
from benchmarks.peers_tables import markdown
from benchmarks.sampled import Split, joined, split, spread_over
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.cli.common import parse_prompts
from exporter.corpus.beir import Corpus, read_corpus
from exporter.errors import BadInput, LawvaultError
from exporter.manifest import read_manifest
from exporter.runtimes.encoder import Source
from exporter.runtimes.original import CheckpointTokens
from exporter.vectors.rows import Rows
from parity_tests.conftest import BUNDLED_CORPUS, MINIATURE

PADDED_TEXTS = 16


def compare(
    job: Job,
    asked: Corpus,
    names: Sequence[str],
    *,
    dims: Sequence[int],
    long_texts: Sequence[tuple[str, str]] = (),
    step: Step = alone,
    report: Any = None,
) -> dict[str, Any]:
    """Return a row a file, torch bf16 first: size, figures, what padding does; and why others have
    none. `report(results)` is called after every row."""
    checkpoint = read_checkpoint(job.checkpoint, prompts=job.prompts)
    texts = _texts(checkpoint, asked, long_texts)
    file = _written(texts, job.work)
    step("encode", TRUTH, job, file)
    truth = source_of(TRUTH, job, checkpoint)

    def rows_of(source: Source) -> list[Rows]:
        return [vectors_of(source, texts[group], job) for group in GROUPS if texts[group]]

    documents, questions, *rest = rows_of(truth)
    yardstick = Yardstick(asked, documents, questions, long=rest[0] if rest else None, dims=dims)
    results: dict[str, Any] = {"mrr_at_10": yardstick.mrr, "rows": {}, "left_out": {}}
    for name in (NOISE, *names):
        try:
            made = {"mb": 2 * checkpoint.parameters / 1e6, "files": {}}
            if name != NOISE:
                made = step("make", name, job)
            padding = step("encode", name, job, file)
        except StepFailed as failed:
            print(f"left out: {name} ({failed})", file=sys.stderr, flush=True)
            results["left_out"][name] = str(failed)
            continue
        source = source_of(name, job, checkpoint)
        found = yardstick.judge(*rows_of(source))
        results["rows"][name] = {
            "mb": made["mb"],
            "files": made["files"],
            **found.to_json(),
            "padding": padding,
        }
        errors = found.errors[dims[0]]
        print(
            f"{name}: {made['mb']:,.0f} MB, median {errors.median:.1e}, worst {errors.worst:.1e}",
            file=sys.stderr,
            flush=True,
        )
        if report is not None:
            report(results)
    return results


def _texts(
    checkpoint: Checkpoint, asked: Corpus, long_texts: Sequence[tuple[str, str]]
) -> dict[str, list[str]]:
    prompts = checkpoint.prompts
    documents = [
        prompts.render_document(text, title=title)
        for text, title in zip(asked.texts, asked.titles, strict=True)
    ]
    questions = [prompts.render_query(text) for text in asked.queries]
    every = documents + questions
    tokens = [len(row) for row in CheckpointTokens(checkpoint)(every)]
    return {
        "documents": documents,
        "questions": questions,
        "long": [prompts.render_document(text, title=title) for title, text in long_texts],
        "padded": [every[i] for i in spread_over(tokens, PADDED_TEXTS)],
    }


def _long_texts(corpus: Corpus, checkpoint: Checkpoint, count: int) -> list[tuple[str, str]]:
    longest = min(LONG[1], checkpoint.max_tokens) - 32  # room for the prompt
    if not count or longest <= LONG[0]:
        return []
    tokens = CheckpointTokens(checkpoint)
    sizes = [len(row) for row in tokens(corpus.texts)]
    return joined(corpus, count, sizes, shortest=LONG[0], longest=longest)


def _written(texts: dict[str, list[str]], work: Path) -> Path:
    content = json.dumps(texts, ensure_ascii=False)
    name = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    file = work / "texts" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(texts), "utf-8")
    return file


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=MINIATURE)
    parser.add_argument("--corpus", type=Path, default=BUNDLED_CORPUS)
    parser.add_argument("--work", type=Path, required=True, help="keep files and vectors here")
    parser.add_argument("--prompts", metavar="FILE|query=...,document=...", type=parse_prompts)
    parser.add_argument("--dims", help="Matryoshka dims; default: those that the card names")
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--long", type=int, default=24, help="texts of joined documents")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--choose", action="store_true", help="the questions that choose")
    parser.add_argument("--only", help="names of files, separated by commas")
    parser.add_argument("--remake", help="names of files to make again, separated by commas")
    parser.add_argument("--artifacts", help="folders that lawvault exported, separated by commas")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args(arguments)


def run(arguments: list[str], *, step: Step = alone) -> Path:
    """Do all of it. Returns the Markdown file. Raises BadInput."""
    given = parse(arguments)
    artifacts = [Path(part).resolve() for part in (given.artifacts or "").split(",") if part]
    job = Job(
        given.checkpoint.resolve(),
        given.prompts,
        None if given.calibration is None else given.calibration.resolve(),
        given.work.resolve(),
        {f"artifact {read_manifest(path).name}": path for path in artifacts},
    )
    checkpoint = read_checkpoint(job.checkpoint, prompts=job.prompts)
    dims = _dims(given.dims, checkpoint)
    names = chosen_names(given.only, QUALITY if not artifacts or given.only else ())
    missing = {name: missing_needs(name) for name in names}
    for name in chosen_names(given.remake, ()) if given.remake else ():
        remove_file(name, job, checkpoint)
    corpus = read_corpus(given.corpus)
    parts: Split = split(corpus, documents=given.documents)
    kind = "choosing" if given.choose else "proving"
    asked = parts.asked(kind)
    described = {
        **about(checkpoint, arguments),
        "corpus": asked.name,
        "corpus_sha256": asked.sha256,
        "documents": len(asked.doc_ids),
        "questions": len(asked.query_ids),
        "kind": kind,
        "choosing": len(parts.choosing),
        "dims": dims,
    }
    stem = given.output / f"peers_quality_{asked.name}{'_choosing' if given.choose else ''}"
    given.output.mkdir(parents=True, exist_ok=True)

    def report(results: dict[str, Any]) -> None:
        whole = {"about": described, **results}
        for name, needs in missing.items():
            if needs:
                whole["left_out"][name] = f"not installed: {', '.join(needs)}"
        stem.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
        stem.with_suffix(".md").write_text(markdown(whole), "utf-8")
        plot(whole, stem.with_suffix(".png"))

    long_texts = _long_texts(corpus, checkpoint, given.long)
    usable = [name for name in names if not missing[name]] + list(job.artifacts)
    report(compare(job, asked, usable, dims=dims, long_texts=long_texts, step=step, report=report))
    return stem.with_suffix(".md")


def _dims(text: str | None, checkpoint: Checkpoint) -> list[int]:
    try:
        dims = sorted(map(int, text.split(",")), reverse=True) if text else []
    except ValueError:
        raise BadInput(f"--dims '{text}' is not a list such as 768,512,256,128") from None
    dims = [d for d in dims or checkpoint.matryoshka_dims if d != checkpoint.dim]
    if any(not 0 < dim < checkpoint.dim for dim in dims):
        raise BadInput(f"--dims '{text}': the vectors have {checkpoint.dim} components")
    return [checkpoint.dim, *sorted(dims, reverse=True)]


def main() -> None:
    try:
        file = run(sys.argv[1:])
    except (LawvaultError, StepFailed) as error:
        sys.exit(f"error: {error}")
    print(file.read_text("utf-8"))


if __name__ == "__main__":
    main()
