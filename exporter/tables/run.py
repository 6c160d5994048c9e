"""Parity on a table that is already shipped: whose queries find the same documents in it?"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exporter import __version__
from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.questions import Questions
from exporter.errors import BadInput
from exporter.format import format_of
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, Manifest, library_versions, read_manifest
from exporter.parity.run import REFERENCE_LIBRARIES, checked_manifest
from exporter.parity.token_check import TokenCheck, check_tokens, lost_pieces
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.runtimes.encoder import Original, Source
from exporter.tables.approximate import measure_approximate
from exporter.tables.judge import TableBaseline, total_verdict
from exporter.tables.judgement import IndexArtifact, IndexReport, IndexRun
from exporter.tables.origin import check_origin, check_width
from exporter.tables.search import METRICS, scan_table, search_table
from exporter.tables.vector_table import Metric, VectorTable
from exporter.vectors.embed import embed_each
from exporter.vectors.rows import Rows

INDEX_LIBRARIES = ("lancedb", "pyarrow")
TRUTH, USED = "torch fp32", "torch bf16"


@dataclass(frozen=True)
class Asking:
    """How a table is asked. `metrics`: how the application compares. `document_prompt`: what its
    texts were embedded with, the checkpoint's for None. `nprobes`, `refine_factor`: for its
    approximate index, LanceDB's own for None."""

    metrics: Sequence[Metric] = METRICS
    document_prompt: str | None = None
    nprobes: int | None = None
    refine_factor: int | None = None


def run_index_parity(
    artifacts: Sequence[Path],
    *,
    original: Original,
    table: VectorTable,
    questions: Questions,
    recipe: Recipe,
    artifact_source: Callable[[Path], Source],
    stages: Stages,
    cache: Path,
    machine: str,
    asking: Asking,
) -> tuple[IndexReport, IndexRun]:
    """Return what `artifacts` find in `table`, beside what the original finds, and a verdict.

    Judged by the recipe's limits for each metric: cosine of the queries' vectors, overlap@10
    with torch fp32, and how often the first answer moves, against torch bf16's own noise. The
    table's origin comes first: a table not made with this checkpoint and
    document prompt closes the gate whatever was found. Raises BadInput before any long
    step for a table of another width and for an artifact of another checkpoint or other prompts.
    """
    checkpoint = original.checkpoint
    manifests = [checked_manifest(folder, checkpoint) for folder in artifacts]
    _check_dim(table, checkpoint, artifacts, manifests)
    for folder, manifest in zip(artifacts, manifests, strict=True):
        recipe.limits_for(manifest.scheme)
        format_of(manifest.format)
        artifact_source(folder).open().close()
    clock = _Clock()
    scan = scan_table(table, progress=stages(f"{table.name}: read", table.rows))
    clock.lap("read the table")

    embed = partial(embed_each, cache=cache, start=stages)
    origin = check_origin(
        table,
        original=original,
        recipe=recipe,
        embed=embed,
        stages=stages,
        document_prompt=asking.document_prompt or checkpoint.prompts.document,
    )
    clock.lap("made some rows again")
    rendered = [checkpoint.prompts.render_query(text) for text in questions.texts]
    askers = _ask(artifacts, original, rendered, artifact_source=artifact_source, embed=embed)
    clock.lap("embedded the questions")
    vectors = {name: rows.cut(table.dim).block(0, len(rows)) for name, rows in askers.rows.items()}
    found = search_table(
        table, scan, vectors, progress=stages(f"{table.name}: exact search", table.rows)
    )
    clock.lap("searched exactly")
    baseline = TableBaseline(
        questions,
        recipe,
        scan.ids,
        truth=askers.rows[TRUTH].cut(table.dim),
        used=askers.rows[USED].cut(table.dim),
        metrics=asking.metrics,
        found_truth={m: found[TRUTH, m] for m in METRICS},
        found_used={m: found[USED, m] for m in METRICS},
    )
    results = []
    names = {TRUTH: TRUTH, USED: USED}
    for folder, manifest in zip(artifacts, manifests, strict=True):
        key = _key(folder)
        names[key] = manifest.name
        if folder in askers.broken:
            results.append(_broken(folder, manifest, askers))
            continue
        judged = baseline.judge(
            askers.rows[key].cut(table.dim),
            {m: found[key, m] for m in METRICS},
            manifest=manifest,
            manifest_sha256=sha256_file(folder / MANIFEST_NAME),
        )
        check = askers.tokens[folder]
        spelled = {"spelled": int(check.spelled.sum()), "lost_most": lost_pieces(check)}
        results.append(judged.model_copy(update=spelled))
    approximate = measure_approximate(
        table,
        scan,
        vectors,
        found,
        names=names,
        reference=USED,
        nprobes=asking.nprobes,
        refine_factor=asking.refine_factor,
        stages=stages,
    )
    if approximate:
        clock.lap("searched approximately")
    verdict, reasons = total_verdict(origin, results)
    report = IndexReport(
        tool_version=__version__,
        model_name=checkpoint.name,
        checkpoint_files={path: digest for path, _, digest in checkpoint.file_hashes()},
        libraries=library_versions(REFERENCE_LIBRARIES),
        index=table.path.name,
        table=table.name,
        table_version=table.version,
        columns=table.columns,
        rows=table.rows,
        dim=table.dim,
        shortest=scan.shortest,
        longest=scan.longest,
        questions_file=questions.name,
        questions_sha256=questions.sha256,
        questions=len(questions.ids),
        query_prompt=checkpoint.prompts.query,
        origin=origin,
        noise_floor=baseline.noise_floor(),
        artifacts=tuple(results),
        verdict=verdict,
        reasons=reasons,
    )
    run = IndexRun(
        machine=machine,
        libraries=library_versions((*REFERENCE_LIBRARIES, *INDEX_LIBRARIES)),
        seconds=clock.seconds,
        table_version=table.version,
        table_version_at_end=table.latest_version(),
        approximate=approximate,
    )
    return report, run


class _Clock:
    """Seconds of each step, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step] = round(now - self._last, 3)
        self._last = now


@dataclass(frozen=True)
class _Askers:
    """The questions as each encoder embeds them. rows: asker -> (q, width).

    `tokens`: how many questions have other token ids than the original's, and a line on the first;
    `broken`: why an artifact gave no vectors.
    """

    rows: dict[str, Rows]
    tokens: dict[Path, TokenCheck]
    broken: dict[Path, str]


def _ask(
    artifacts: Sequence[Path],
    original: Original,
    rendered: Sequence[str],
    *,
    artifact_source: Callable[[Path], Source],
    embed: Callable[[Source, Sequence[str]], Rows],
) -> _Askers:
    askers = _Askers(
        {TRUTH: embed(original.truth, rendered), USED: embed(original.used, rendered)}, {}, {}
    )
    for folder in artifacts:
        source = artifact_source(folder)
        with closing(source.open()) as encoder:
            askers.tokens[folder] = check_tokens(
                folder, read_manifest(folder), encoder, rendered, original.tokens
            )
        try:
            askers.tokens[folder].refuse()
            askers.rows[_key(folder)] = embed(source, rendered)
        except BadInput as error:
            # No vectors, no figures: a failed artifact, not a failed run.
            askers.broken[folder] = str(error)
    return askers


def _key(folder: Path) -> str:
    # Two artifacts may bear one name; their folders differ.
    return f"artifact {folder}"


def _broken(folder: Path, manifest: Manifest, askers: _Askers) -> IndexArtifact:
    return IndexArtifact(
        name=manifest.name,
        format=manifest.format,
        scheme=manifest.scheme,
        manifest_sha256=sha256_file(folder / MANIFEST_NAME),
        size_bytes=manifest.size_bytes,
        tokens_differ=askers.tokens[folder].differ,
        cosine=None,
        searches=(),
        verdict="fail",
        reasons=(askers.broken[folder],),
    )


def _check_dim(
    table: VectorTable,
    checkpoint: Checkpoint,
    artifacts: Sequence[Path],
    manifests: Sequence[Manifest],
) -> None:
    check_width(table, checkpoint)
    for folder, manifest in zip(artifacts, manifests, strict=True):
        if manifest.dim < table.dim:
            raise BadInput(
                f"'{folder}' gives {manifest.dim} dimensions, {table.where} holds {table.dim}; "
                "export the artifact with them"
            )
