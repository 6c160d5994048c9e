"""lawvault card: a Hugging Face model card of what was measured."""

from pathlib import Path

import click

from exporter.cli.common import CommonOptions, common_options, default_output, load_checkpoint, say
from exporter.errors import BadInput


@click.command()
@click.option("--report", "report_path", type=click.Path(path_type=Path),
              help="A parity.json. Default: the one below artifacts/.")  # fmt: skip
@common_options
def card(options: CommonOptions, report_path: Path | None) -> None:
    """Write a model card: results, which file for which use, prompts, licence, limits.

    --output names the file, README.md beside the report by default.
    """
    from exporter.package.card import CARD_NAME, render_card
    from exporter.parity.report import JSON_NAME, read_report

    checkpoint = load_checkpoint(options, quiet_findings=True)
    path = report_path or default_output(checkpoint) / JSON_NAME
    text = render_card(checkpoint, read_report(path))
    output = options.output or path.parent / CARD_NAME
    if output.is_dir():
        raise BadInput(f"output '{output}' is a folder; name a file in it")
    if output.exists() and not options.force:
        raise BadInput(f"'{output}' exists; pass --force to replace it")
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".partial")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(output)
    say(f"written: {output}", options)
    click.echo(output)
