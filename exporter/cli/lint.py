"""lawvault lint: what an embedding GGUF from anywhere does to vectors."""

from pathlib import Path

import click

from exporter.cli.console import open_console
from exporter.cli.findings import print_findings
from exporter.cli.terminal import echo
from exporter.errors import require
from exporter.records import canonical_json


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def lint(file: Path, *, as_json: bool, debug: bool) -> int:
    """Look for what makes a GGUF's vectors differ from its model's.

    For embedding models, EmbeddingGemma's architecture above all: Dense modules, pooling, tokens at
    both ends, norms, window, vocabulary, types, values. Runs nothing and needs no llama.cpp. Exit
    code 1 where a finding is an error, 2 for a file that cannot be read.
    """
    del debug  # main() reads it
    require("gguf")
    from exporter.formats.gguf.lint import lint_gguf

    header, findings = lint_gguf(file)
    if as_json:
        described = {
            "path": str(file),
            "architecture": header.keys.get("general.architecture"),
            "tensors": len(header.tensors),
            "findings": [f.model_dump(mode="json") for f in findings],
        }
        click.echo(canonical_json(described), nl=False)
    else:
        print_findings(open_console(), findings)
        errors = sum(f.severity == "error" for f in findings)
        warnings = sum(f.severity == "warning" for f in findings)
        echo(f"{file}: errors {errors}, warnings {warnings}")
    return int(any(f.severity == "error" for f in findings))
