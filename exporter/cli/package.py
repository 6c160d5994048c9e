"""lawvault package: a self-contained folder for one consumer, from artifacts that passed."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CORPUS, CommonOptions, common_options, node_modules_option, say
from exporter.cli.parity import recorded_prompts
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.manifest import read_manifest
from exporter.records import canonical_json
from exporter.registry import PACKAGES, resolve


@click.group()
def package() -> None:
    """Package artifacts that passed parity."""


def _command(
    name: str,
    text: str,
    *,
    metavar: str = "ARTIFACT",
    own: Callable[[Any], Any] = lambda command: command,
) -> None:
    """Add `lawvault package NAME`. The options are the same for every consumer, but for those that
    `own` adds: they go to the packager by their names."""

    @click.argument(
        "artifacts", metavar=metavar, nargs=-1, required=True, type=click.Path(path_type=Path)
    )
    @click.option(
        "--report",
        "report_path",
        type=click.Path(path_type=Path),
        help="The parity.json with the verdict. Default: beside it.",
    )
    @click.option(
        "--override-verdict",
        metavar="REASON",
        help="Package without a pass; the reason stands in the package.",
    )
    @own
    @recipe_option
    @common_options()
    def command(
        options: CommonOptions,
        artifacts: tuple[Path, ...],
        report_path: Path | None,
        override_verdict: str | None,
        recipe: str | None,
        **settings: Any,
    ) -> None:
        _write_package(
            name,
            artifacts,
            options=options,
            report_path=report_path,
            override_reason=override_verdict,
            recipe=recipe,
            settings=settings,
        )

    package.command(name, help=text)(command)


def _with_texts(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the articles and the questions of the --corpus that they name."""
    from exporter.corpus.beir import read_documents, read_questions

    folder = settings.pop("corpus", None)
    if folder is None:
        return settings
    found = read_documents(folder).items()
    asked = read_questions(folder).values() if any(folder.glob("queries*.jsonl")) else ()
    articles = [(key, title, text) for key, (title, text) in found]
    return {**settings, "articles": articles, "questions": tuple(asked)}


def _page_options(command: Any) -> Any:
    corpus = click.option(
        "--corpus",
        metavar="FOLDER",
        type=CORPUS,
        help="Whose corpus.jsonl the page searches; its questions, if any, say how few bits its "
        "vectors may have. Default: invented articles; the page says so.",
    )
    most = click.option(
        "--articles",
        "most_articles",
        type=click.IntRange(min=0),
        metavar="N",
        help="How many of them, each embedded now. 0: all. Default: the first 1,000.",
    )
    return corpus(most(node_modules_option(command)))


_command(
    "ollama", "Write a GGUF with Modelfile, README, prompts, clients and golden vectors for Ollama."
)
_command(
    "transformersjs",
    "Write ONNX files for transformers.js in Node and browsers, with a "
    "search page.\n\nARTIFACT... are of the flavour web, one of each --quant. The page needs "
    "transformers.js itself from npm; without it the package is made without the page.",
    metavar="ARTIFACT...",
    own=_page_options,
)
_command(
    "onnxruntime",
    "Write .onnx and .ort files with tokenizer and examples for ONNX Runtime "
    "on servers and phones.",
)
_command("openvino", "Write OpenVINO IR with tokenizer and an example.")
_command("android", "Write a .tflite with tokenizer and examples in Kotlin and Python for LiteRT.")
_command(
    "sentence-transformers",
    "Write a folder that SentenceTransformer(..., backend='onnx'), "
    "fastembed and text-embeddings-inference load in place of the original.",
    metavar="ARTIFACT...",
)


def _write_package(
    name: str,
    artifacts: tuple[Path, ...],
    *,
    options: CommonOptions,
    report_path: Path | None,
    override_reason: str | None,
    recipe: str | None,
    settings: dict[str, Any],
) -> None:
    from exporter import api
    from exporter.cli.progress import ProgressLines
    from exporter.packages.verdict import check_verdict, verdict_of
    from exporter.report.write import read_report

    manifest = read_manifest(artifacts[0])
    path = report_path or artifacts[0].resolve().parent / "parity.json"
    report = read_report(path) if report_path is not None or path.is_file() else None
    for artifact in artifacts:  # before the checkpoint is read
        check_verdict(verdict_of(artifact, report, override_reason=override_reason), artifact)
    settings = _with_texts(settings)
    chosen = choose_recipe(recipe, options)
    checkpoint = load_checkpoint(options, chosen, recorded=recorded_prompts(artifacts))
    target = f"{name}-{manifest.scheme}" if len(artifacts) == 1 else name
    # Beside its artifacts, where a release puts it too.
    beside = artifacts[0].parent if artifacts[0].name else artifacts[0].resolve().parent
    output = options.output or beside / "packages" / target
    with ProgressLines(options) as progress:
        written = api.package(
            name,
            artifacts,
            output,
            checkpoint=checkpoint,
            report=report,
            override_reason=override_reason,
            force=options.force,
            settings={**settings, "stages": progress.stage},
            language=chosen.recipe.language,
        )
    for entry in written.artifacts:
        if entry.verdict.override_reason:
            echo(
                f"warning: {entry.artifact.name} packaged without a pass: "
                f"{entry.verdict.override_reason}",
                err=True,
            )
    packager = resolve(PACKAGES, name, what="package")
    if packager.remark and (said := packager.remark(output)):
        echo(f"warning: {said}", err=True)
    if options.as_json:
        click.echo(canonical_json(written), nl=False)
        return
    echo(str(output))
    verify = shlex.join(["lawvault", "verify", str(output)])
    first = shlex.quote(f"{output}/create.sh") if name == "ollama" else verify
    say(f"next: {first}", options)
