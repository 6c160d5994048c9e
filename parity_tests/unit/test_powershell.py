"""create.ps1 in PowerShell's grammar: PowerShell itself cannot be had on every machine."""

import pytest

from exporter.templates import environment

tree_sitter = pytest.importorskip("tree_sitter")
grammar = pytest.importorskip("tree_sitter_powershell")


def has_errors(script: str) -> bool:
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    return bool(parser.parse(script.encode()).root_node.has_error)


def test_create_ps1_parses() -> None:
    templates = environment("exporter.packages.ollama", escape=False)
    script = templates.get_template("create.ps1.j2").render(tag="lawvault-mini:q8_0")
    assert "lawvault-mini:q8_0" in script
    assert not has_errors(script)
    assert has_errors(script.replace("exit $LASTEXITCODE }", "exit $LASTEXITCODE "))
