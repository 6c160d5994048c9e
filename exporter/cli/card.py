"""lawvault card: a Hugging Face model card from a report and its artifacts."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CommonOptions, common_options, default_output, say
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME, Manifest, read_manifest

CARD_NAME = "README.md"


@click.command()
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path),
    help="Their parity.json. Default: the model's below artifacts/.",
)
@recipe_option
@common_options(
    output="File of the card. Default: README.md beside the report.", force="Replace the file."
)
def card(
    options: CommonOptions,
    artifacts: tuple[Path, ...],
    report_path: Path | None,
    recipe: str | None,
) -> None:
    """Write a Hugging Face model card for the artifacts of a parity report.

    Model-index, which file for which use, prompts, licence, limits. ARTIFACT... are the folders
    that were judged; by default those beside the report.
    """
    from exporter.packages.terms import read_terms
    from exporter.records import canonical_json, write_text
    from exporter.report.card import build_card, unknown
    from exporter.report.write import JSON_NAME, read_report

    checkpoint = load_checkpoint(options, choose_recipe(recipe, options), quiet_findings=True)
    path = report_path or default_output(checkpoint, JSON_NAME)
    report = read_report(path)
    folders = {sha256_file(f / MANIFEST_NAME): f for f in artifacts if read_manifest(f)}
    manifests: dict[str, Manifest] = {}
    for result in report.artifacts:
        folder = folders.pop(result.manifest_sha256, None) or path.parent / result.name
        manifest = read_manifest(folder)
        if sha256_file(folder / MANIFEST_NAME) != result.manifest_sha256:
            raise BadInput(
                f"'{folder}' is not the {result.name} that '{path}' judged (other bytes); pass the "
                "folder that was judged, or run 'lawvault parity' again"
            )
        manifests[result.name] = manifest
    if folders:
        other = next(iter(folders.values()))
        raise BadInput(f"'{path}' holds no verdict on '{other}'; run 'lawvault parity' on it")
    built = build_card(report, manifests=manifests, checkpoint=checkpoint)
    output = options.output or path.parent / CARD_NAME
    if output.is_dir():
        raise BadInput(f"--output '{output}' is a folder; name a file such as README.md in it")
    if output.exists() and not options.force:
        raise BadInput(f"'{output}' exists; name another --output or pass --force")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, str(built))
    if options.as_json:
        metadata: Any = built.data
        click.echo(canonical_json(metadata.to_dict()), nl=False)
    missing = unknown(report, read_terms(checkpoint))
    if missing:
        say(f"only its author knows {', '.join(missing)}; fill in '{output}'", options)
    say(f"written: {output}", options)
