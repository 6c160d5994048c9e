"""lawvault package: a self-contained folder for one consumer, from an artifact that passed."""

from pathlib import Path

import click

from exporter.cli.common import (
    CommonOptions,
    common_options,
    default_output,
    load_checkpoint,
    load_recipe,
    recipe_option,
    say,
)
from exporter.records import canonical_json


@click.group()
def package() -> None:
    """Package an artifact that passed parity."""


@package.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--report", "report_path", type=click.Path(path_type=Path),
              help="The parity.json with its verdict. Default: beside the artifact.")  # fmt: skip
@click.option("--override-verdict", metavar="REASON",
              help="Package without a pass; the reason stands in the package.")  # fmt: skip
@recipe_option
@common_options
def ollama(
    options: CommonOptions, artifact: Path, report_path: Path | None,
    override_verdict: str | None, recipe_path: Path | None,
) -> None:  # fmt: skip
    """Write the GGUF with Modelfile, README, prompts and golden vectors for Ollama."""
    from exporter.manifest import read_manifest
    from exporter.package.golden import build_golden
    from exporter.package.ollama import package_ollama
    from exporter.package.verdict import check_verdict, verdict_of
    from exporter.parity.report import read_report
    from exporter.runtimes.open import open_artifact
    from exporter.runtimes.torch_reference import TorchReference
    from exporter.staging import check_output

    manifest = read_manifest(artifact)
    path = report_path or artifact.resolve().parent / "parity.json"
    report = read_report(path) if report_path is not None or path.is_file() else None
    verdict = verdict_of(artifact, report, override_reason=override_verdict)
    check_verdict(verdict, artifact)
    recipe = load_recipe(recipe_path)
    checkpoint = load_checkpoint(options, recipe=recipe, prompts=recipe.prompts)
    output = options.output or default_output(checkpoint, "packages", f"ollama-{manifest.scheme}")
    check_output(output, force=options.force)
    encoder = open_artifact(artifact)
    reference = TorchReference(checkpoint, dtype="float32")
    golden = build_golden(encoder, reference, checkpoint.prompts)
    encoder.close()
    written = package_ollama(
        artifact, output, checkpoint=checkpoint, verdict=verdict, golden=golden,
        force=options.force,
    )  # fmt: skip
    if verdict.override_reason:
        click.echo(f"warning: packaged without a pass: {verdict.override_reason}", err=True)
    if options.as_json:
        click.echo(canonical_json(written), nl=False)
        return
    click.echo(str(output))
    say(f"next: {output}/create.sh", options)
