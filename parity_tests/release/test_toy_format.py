"""A format and a consumer are each one folder and one line: nothing else knows their names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import registry
from exporter.checkpoint.contents import Checkpoint
from exporter.corpus.beir import read_corpus
from exporter.errors import BadInput
from exporter.format import all_formats, format_of, precision_classes
from exporter.manifest import read_manifest
from exporter.packages.verify import verify_package
from exporter.recipe import Recipe
from exporter.release.run import run_release
from exporter.report.advice import recommend
from exporter.report.card import build_card
from exporter.report.write import read_report
from parity_tests.release.small_release import RECIPE, silent

pytest.importorskip("torch")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.FORMATS, "toy", "parity_tests.toy.format:FORMAT")  # type: ignore[arg-type]
    monkeypatch.setitem(registry.PACKAGES, "toybox", "parity_tests.toy.consumer:PACKAGER")  # type: ignore[arg-type]
    format_of.cache_clear()
    yield
    format_of.cache_clear()


@pytest.mark.usefixtures("toy")
def test_a_format_of_one_folder_goes_the_whole_way(
    tiny: Checkpoint, tiny_corpus: Path, tmp_path: Path
) -> None:
    spec = {"format": "toy", "scheme": "fp32", "packages": ["toybox"]}
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"artifacts": [spec]})
    output = tmp_path / "out"
    outcome = run_release(
        tiny,
        recipe=recipe,
        corpus=read_corpus(tiny_corpus),
        output=output,
        force=False,
        stages=silent,
        tell=lambda line: None,
        jobs=1,
    )
    assert outcome.closed == ()
    manifest = read_manifest(output / "toy-fp32")
    assert manifest.size_bytes > 1000  # what its record counts, not the entry alone
    report = read_report(output / "parity.json")
    assert [a.verdict for a in report.artifacts] == ["pass"]
    assert [s.lead for s in recommend(report)] == ["Toy shops"]
    page = (output / "parity.html").read_text("utf-8")
    assert "--toy: #123456" in page
    assert "the toy&#39;s runtime" in (output / "index.html").read_text("utf-8")
    card = build_card(report, manifests={manifest.name: manifest}, checkpoint=tiny)
    assert "the toy's runtime" in str(card)
    package = output / "packages" / "toybox-fp32"
    assert "toy-fp32 in a box" in (package / "README.md").read_text("utf-8")
    assert verify_package(package).verdict == "pass"


def test_without_its_line_nothing_knows_it() -> None:
    assert "toy" not in {found.name for found in all_formats()}
    with pytest.raises(BadInput, match="unknown artifact format 'toy'"):
        format_of("toy")


def test_a_scheme_means_one_precision_in_every_format() -> None:
    classes = precision_classes()
    for found in all_formats():
        for scheme, name in found.schemes.items():
            assert classes[scheme] == name
