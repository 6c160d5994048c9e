"""What lawvault inspect says of an artifact, or of a vocabulary."""

from pathlib import Path

import click

from exporter.checkpoint.vocabulary import MAP_NAME, VocabularyMap, check_unchanged, read_map
from exporter.cli.console import open_console, print_rows
from exporter.errors import BadInput
from exporter.manifest import MANIFEST_NAME, Manifest, check_files, read_manifest
from exporter.records import canonical_json


def inspect_artifact(folder: Path, *, as_json: bool) -> None:
    """Print what the manifest or the map in `folder` says. Raises BadInput for files that differ
    from it, and for whatever is neither an artifact nor a vocabulary."""
    if (folder / MANIFEST_NAME).is_file():
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        if as_json:
            click.echo(canonical_json(manifest), nl=False)
        else:
            _print(f"{manifest.name}  {folder}", _of_artifact(folder, manifest))
        return
    if (folder / MAP_NAME).is_file():
        found = read_map(folder)
        check_unchanged(folder, found)
        if as_json:
            click.echo(canonical_json(found), nl=False)
        else:
            _print(f"vocabulary  {folder}", _of_vocabulary(found))
        return
    if folder.is_file():
        hint = f"; 'lawvault lint {folder}' reads a GGUF" if folder.suffix == ".gguf" else ""
        raise BadInput(f"'{folder}' is a file; pass the folder of an artifact{hint}")
    raise BadInput(
        f"'{folder}' is no folder of an artifact or a vocabulary; for a checkpoint pass "
        f"--checkpoint '{folder}'"
    )


def _of_artifact(folder: Path, manifest: Manifest) -> list[tuple[str, str]]:
    rows = [
        ("model", manifest.model_name),
        ("format", f"{manifest.format} {manifest.scheme}"),
        ("size", f"{manifest.size_bytes / 1e6:,.1f} MB"),
    ]
    if manifest.adapter is not None:
        rows.append(("adapter", manifest.adapter.described))
    cut = manifest.vocabulary
    if cut is not None:
        rows += [
            (
                "vocabulary",
                f"{cut.pieces:,} of {cut.of:,} pieces; texts with others are spelled with shorter "
                "ones",
            ),
            *_of_vocabulary(read_map(folder))[1:],
        ]
    return [
        *rows,
        ("dims", ", ".join(map(str, manifest.matryoshka_dims))),
        ("longest text", f"{manifest.max_tokens:,} tokens"),
        ("query prompt", manifest.prompts.query),
        ("document prompt", manifest.prompts.document),
        *([] if manifest.window.used is None else [_window(manifest)]),
        *([("proven", "not on real weights of this model family")] if manifest.unproven else []),
        *((name, value) for name, value in manifest.options.items()),
        *(("kept", line) for line in manifest.kept),
    ]


def _window(manifest: Manifest) -> tuple[str, str]:
    return "window", f"used {manifest.window.used} ({manifest.window.choice})"


def _of_vocabulary(found: VocabularyMap) -> list[tuple[str, str]]:
    counted = ", ".join(f"{named.texts:,} {named.name}" for named in found.counted)
    return [
        ("pieces", f"{len(found.kept):,} of {found.pieces:,}"),
        ("counted", counted),
        ("kept besides", ", ".join(found.classes) or "nothing"),
        ("of tokenizer", found.tokenizer_sha256[:12]),
    ]


def _print(title: str, rows: list[tuple[str, str]]) -> None:
    console = open_console()
    console.print(title, style="bold", highlight=False, markup=False)
    print_rows(console, rows)
