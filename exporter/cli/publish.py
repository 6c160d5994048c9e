"""lawvault publish: a release to a hub, a model to Ollama; what would go along is said first."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.checkpoint import load_checkpoint
from exporter.cli.common import CommonOptions, common_options, say
from exporter.cli.progress import ProgressLines
from exporter.cli.recipe import choose_recipe, recipe_option
from exporter.cli.terminal import echo
from exporter.progress import silent
from exporter.records import canonical_json

if TYPE_CHECKING:
    from exporter.release.publication import Publication, PublishedFile


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    metavar="[TARGET://]NAME",
    help="hf://OWNER/NAME on the Hugging Face hub, hf:// may be left out; modelscope://OWNER/NAME; "
    "ollama://NAMESPACE/NAME[:TAG].",
)
@click.option("--yes", is_flag=True, help="Do it. Without, say what would be uploaded.")
@click.option("--private", is_flag=True, help="A new repository that only its owner sees.")
@click.option(
    "--without-texts",
    is_flag=True,
    help="Keep your documents and questions out of the reports that go along.",
)
@click.option(
    "--override-verdict",
    "override_reason",
    metavar="REASON",
    help="The reason, again, that a package without a pass was made for.",
)
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A private elliptic key in PEM, which signs every package: verify --public-key.",
)
@recipe_option
@common_options(output=None, force=None)
def publish(
    options: CommonOptions,
    folder: Path,
    to: str,
    *,
    yes: bool,
    private: bool,
    without_texts: bool,
    override_reason: str | None,
    sign_key: Path | None,
    recipe: str | None,
) -> None:
    """Publish what passed: a release on a hub, a package in Ollama's registry.

    FOLDER is a release's, or one with parity.json, README.md (lawvault card) and packages/; for
    Ollama one package will do. Says what would go along, which of your texts among it; --yes does
    it: on a hub in one commit, at Ollama by its own client, with the commands that were said. A run
    that broke off (exit code 1) is run again: large files that arrived are not sent twice.
    """
    from exporter.release.target import Asked, find_target

    target, name = find_target(to)
    checkpoint = load_checkpoint(options, choose_recipe(recipe, options), quiet_findings=True)
    asked = Asked(
        checkpoint,
        with_texts=not without_texts,
        override_reason=override_reason,
        key=sign_key,
        private=private,
    )
    prepared = target.plan(folder, name, asked)
    found = prepared.publication
    if options.as_json:
        click.echo(canonical_json(found), nl=False)
    else:
        for line in _lines(found):
            echo(line)
        texts = "none of your texts" if not found.texts else "your texts among it, see above"
        echo(
            f"{len(found.files)} files, {found.size_bytes / 1e6:,.1f} MB, licence {found.licence}, "
            f"{texts}, to {name} at {target.label}"
        )
        for command in found.commands:
            echo(f"    {shlex.join(command)}")
    for remark in found.remarks:
        echo(f"warning: {remark}", err=True)
    for package, reason in found.overridden.items():
        echo(f"warning: {package} goes without a pass: {reason}", err=True)
    if not yes:
        say("nothing was uploaded; pass --yes to do it", options)
        return
    with ProgressLines(options) as progress:
        address = target.upload(prepared, silent if options.quiet else progress.stage)
    say(f"published: {address}", options)


def _lines(found: "Publication") -> Iterator[str]:
    """Yield a line for each file, and one for each package as a whole."""
    groups: dict[str, list[PublishedFile]] = {}
    for file in found.files:
        parts = file.path.split("/")
        groups.setdefault("/".join(parts[:2]) if len(parts) > 2 else file.path, []).append(file)
    for name, files in groups.items():
        size, texts = sum(f.size_bytes for f in files), sum(f.texts for f in files)
        whole = f", {len(files)} files" if len(files) > 1 else ""
        shown = f", shows up to {texts:,} of your texts" if texts else ""
        echoed = f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
        yield f"{echoed:>12}  {name}{whole}{shown}"
