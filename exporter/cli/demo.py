"""lawvault demo: a release of the bundled miniature."""

from pathlib import Path

import click

from exporter.bundled import miniature
from exporter.cli import release
from exporter.cli.common import CommonOptions, language_option
from exporter.recipe import Language


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write to. Default: artifacts/lawvault-mini.",
)
@language_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def demo(*, output: Path | None, language: Language, quiet: bool, debug: bool) -> int:
    """Release the bundled miniature: export, judge and package, in minutes, from any folder.

    Its figures prove that code runs, never that a scheme is good.
    """
    options = CommonOptions(
        checkpoint=str(miniature()),
        base=None,
        window=None,
        prompts=None,
        output=output,
        force=False,
        as_json=False,
        quiet=quiet,
        debug=debug,
    )
    return release.run(options, recipe="demo", language=language)
