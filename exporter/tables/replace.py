"""A table's vectors replaced by another artifact's: judged, in one commit, with a way back."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from exporter.errors import BadInput
from exporter.formats.open import artifact_source
from exporter.guards.python import differences
from exporter.manifest import Manifest, check_files, read_manifest, space_of
from exporter.parity.results import ParityReport
from exporter.progress import Stages
from exporter.recipe import Recipe
from exporter.staging import check_free_disk
from exporter.tables.build import documents_sha256, probes_of
from exporter.tables.columns import Columns, origin_of, with_probes
from exporter.tables.lance_table import LanceTable
from exporter.tables.lance_write import (
    LEAST_ROWS_FOR_PQ,
    index_vectors,
    merge_rows,
    overwrite_vectors,
    restore_version,
    versions_of,
    write_origin,
)
from exporter.tables.open_table import open_table
from exporter.tables.replacement import (
    Asked,
    Embed,
    ReplaceOutcome,
    RollbackOutcome,
    measure_replacement,
)
from exporter.vectors.embed import Engine, embed_each, encode_here
from exporter.vectors.rows import Rows

MOST_TRIES = 5
"""How often a table that is written to meanwhile is read again before the vectors are judged."""
Documents = dict[str, tuple[str, str]]
"""id -> (title, text), in the order of the table's rows."""


def replace_vectors(
    artifact: Path,
    database: Path,
    *,
    table: str,
    columns: Columns,
    asked: Asked,
    old: Path | None,
    recipe: Recipe,
    cache: Path,
    stages: Stages,
    report: ParityReport | None = None,
    override_reason: str | None = None,
    engine: Engine = encode_here,
) -> ReplaceOutcome:
    """Embed a table's own texts with `artifact`, and make these vectors current if they find as
    much as the old ones do.

    `old`: the artifact whose questions the old vectors are asked; None where the table's metadata
    say that it lies in the space of `artifact`. `cache` keeps vectors: a run that was stopped
    resumes. All other columns stay as they are. One commit changes the vectors and says what made
    them; the version before it stays, for `roll_back`. Documents that are added or changed until
    then are embedded too. Nothing is written where the verdict is no pass and no reason overrides
    it. Raises BadInput for a table without texts, of unusable vectors, or which nobody can ask.
    """
    manifest = read_manifest(artifact)
    check_files(artifact, manifest)
    opened = open_table(database, table=table, columns=columns)
    if opened.columns.text is None:
        raise BadInput(
            f"{opened.where}: no text column is known, so its vectors cannot be made again; pass "
            "--text-column and --title-column"
        )
    asker = old or _same_space(opened, artifact, manifest)
    if (
        old is not None
        and asked.answers is None
        and differences(space_of(read_manifest(old)), space_of(manifest))
    ):
        raise BadInput(
            "without right answers the old model's first documents would be taken for right, which "
            "no other model finds; pass --corpus with qrels"
        )
    embed = partial(embed_each, cache=cache, start=stages, engine=engine)
    check_free_disk(opened.path, 3 * 4 * manifest.dim * opened.rows)
    opened, documents, new = _embedded(opened, artifact, manifest, embed)
    measured = measure_replacement(
        opened,
        list(documents),
        new,
        asked=asked,
        asker=asker,
        artifact=artifact,
        recipe=recipe,
        embed=embed,
        stages=stages,
    )
    origin = origin_of(
        artifact,
        manifest,
        dim=manifest.dim,
        columns=opened.columns,
        corpus=f"{opened.path.name}/{table}",
        corpus_sha256=documents_sha256(documents),
        documents=len(documents),
    )
    made = partial(
        ReplaceOutcome,
        table=table,
        dim=manifest.dim,
        measured=measured,
        override_reason=override_reason if measured.verdict != "pass" else None,
    )
    if measured.verdict != "pass" and override_reason is None:
        return made(
            rows=opened.rows,
            version=opened.version,
            replaced=None,
            caught_up=0,
            approximate=bool(opened.vector_indexes()),
            origin=origin,
        )
    origin = with_probes(origin, probes_of(artifact, origin, report, dim=manifest.dim))
    indexed = bool(opened.vector_indexes())
    origin = origin.model_copy(update={"replaced": opened.version})
    version = overwrite_vectors(opened, origin=origin, vectors=new, stages=stages)
    before, changed = version - 1, 0
    if before != opened.version:  # someone wrote between the last look and the commit
        changed = _catch_up(opened, before, documents, artifact, manifest, embed)
        origin = origin.model_copy(update={"replaced": before})
        write_origin(opened.path, table=opened.name, origin=origin)
    now = open_table(database, table=table, columns=opened.columns)
    if indexed and now.rows >= LEAST_ROWS_FOR_PQ:
        index_vectors(opened.path, table=opened.name, origin=origin)
        now = open_table(database, table=table, columns=opened.columns)
    return made(
        rows=now.rows,
        version=now.version,
        replaced=before,
        caught_up=changed,
        approximate=bool(now.vector_indexes()),
        origin=with_probes(origin, None),
    )


def roll_back(
    database: Path, *, table: str, columns: Columns, force: bool = False
) -> RollbackOutcome:
    """Make the vectors from before the last replacement current again, in one commit.

    Raises BadInput where there was none, its version is gone, or documents have changed since,
    which `force` gives up.
    """
    now = open_table(database, table=table, columns=columns)
    version = None if now.origin is None else now.origin.replaced
    if version is None:
        raise BadInput(f"{now.where} says of no vectors that were replaced; nothing was done")
    if version not in versions_of(now):
        raise BadInput(
            f"{now.where}: version {version}, which held the vectors of before, was cleaned up; "
            "replace them by the old artifact's: lawvault index OLD --replace"
        )
    old = open_table(database, table=table, columns=now.columns, version=version)
    since, before = _documents(now), _documents(old)
    lost = [name for name in since if before.get(name) != since[name]]
    gone = [name for name in before if name not in since]
    if (lost or gone) and not force:
        raise BadInput(
            f"{now.where}: {len(lost):,} documents were added or changed and {len(gone):,} removed "
            f"since version {version}, first '{(lost or gone)[0]}'; pass --force to have that "
            "version as it was, or replace the vectors by the old artifact's"
        )
    return RollbackOutcome(
        table=table, restored=version, version=restore_version(now, version), rows=old.rows
    )


def _same_space(opened: LanceTable, artifact: Path, manifest: Manifest) -> Path:
    """Return the artifact that may ask the table as it is: the new one, of one space with it."""
    if opened.origin is None:
        raise BadInput(
            f"{opened.where} does not say what made it; pass the artifact whose questions it is "
            "asked today: --old ARTIFACT"
        )
    apart = differences(opened.origin.space, space_of(manifest))
    if apart:
        raise BadInput(
            f"{opened.where} lies in another space than '{artifact}' ({apart[0]}); pass the "
            "artifact whose questions it is asked today: --old ARTIFACT"
        )
    if opened.dim not in (manifest.dim, *manifest.matryoshka_dims):
        raise BadInput(f"{opened.where} has {opened.dim} components; pass --old ARTIFACT")
    return artifact


def _documents(table: LanceTable) -> Documents:
    """Return the table's texts. Raises BadInput for ids that repeat."""
    found: Documents = {}
    count = 0
    for ids, titles, texts in table.texts():
        count += len(ids)
        found.update(zip(ids, zip(titles, texts, strict=True), strict=True))
    if len(found) != count:
        raise BadInput(
            f"{table.where}: ids in '{table.columns.id}' stand in several rows; delete the stale "
            "rows, or name the column that is unique ('lawvault doctor' names them)"
        )
    return found


def _embedded(
    opened: LanceTable, artifact: Path, manifest: Manifest, embed: Embed
) -> tuple[LanceTable, Documents, Rows]:
    """Return the table at its newest version, its documents and their new vectors, in the order of
    its rows. Texts that arrive while others are embedded are embedded next."""
    tries = 0
    while True:
        documents = _documents(opened)
        rows = embed(artifact_source(artifact), _rendered(manifest, documents.values()))
        if tries == MOST_TRIES or opened.latest_version() == opened.version:
            return opened, documents, rows
        opened = open_table(opened.path, table=opened.name, columns=opened.columns)
        tries += 1


def _rendered(manifest: Manifest, documents: Collection[tuple[str, str]]) -> list[str]:
    return [manifest.prompts.render_document(text, title=title) for title, text in documents]


def _catch_up(
    opened: LanceTable,
    version: int,
    known: Mapping[str, tuple[str, str]],
    artifact: Path,
    manifest: Manifest,
    embed: Embed,
) -> int:
    """Bring in what `version`, the last of the old vectors, has besides the documents `known`."""
    last = open_table(opened.path, table=opened.name, columns=opened.columns, version=version)
    documents = _documents(last)
    changed = {name: one for name, one in documents.items() if known.get(name) != one}
    gone = [name for name in known if name not in documents]
    rows = embed(artifact_source(artifact), _rendered(manifest, changed.values()))
    merge_rows(last, list(changed), rows, gone=gone)
    return len(changed) + len(gone)
