"""Was a table made with this checkpoint, prompt and window? On the miniature, and on the real model
where a variable names it."""

import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.corpus.beir import read_documents
from exporter.progress import silent
from exporter.recipe import bundled_recipe, read_recipe
from exporter.runtimes.original import open_original
from exporter.runtimes.torch_reference import TorchReference
from exporter.tables.columns import Columns
from exporter.tables.file_table import open_npy
from exporter.tables.judgement import OriginCheck
from exporter.tables.origin import check_origin
from exporter.vectors.embed import embed_each
from parity_tests.conftest import BUNDLED_CORPUS, LAWVAULT_PROMPTS, MINIATURE
from parity_tests.real import real_checkpoint

RECIPE = read_recipe(bundled_recipe("default"))
SHORT, LONG = 40, 10


class Desk:
    """Fifty texts, ten of them longer than the window, and what makes tables of them."""

    def __init__(self, checkpoint: Checkpoint, folder: Path) -> None:
        self.checkpoint, self.folder = checkpoint, folder
        found = [(key, *rest) for key, rest in read_documents(BUNDLED_CORPUS).items()]
        assert checkpoint.window_used is not None
        # About 60 tokens an article: long ones reach over the window and a half.
        joined = 1 + checkpoint.window_used // 60
        self.rows = found[:SHORT]
        for i in range(LONG):
            start = SHORT + i * joined
            part = found[start : start + joined] or found[-joined:]
            self.rows.append((part[0][0], part[0][1], "\n".join(text for _, _, text in part)))
        self.original = open_original(checkpoint, device="cpu")

    def vectors(
        self,
        *,
        prompt: str | None = None,
        window: int | None = None,
        dtype: Any = "float32",
        spoil: Callable[[Any], None] | None = None,
    ) -> Any:
        prompts = self.checkpoint.prompts
        if prompt is not None:
            prompts = prompts.model_copy(update={"document": prompt})
        reach = None if window is None else window // 2
        texts = [prompts.render_document(text, title=title) for _, title, text in self.rows]
        reference = TorchReference(self.checkpoint, dtype=dtype, device="cpu", reach=reach)
        with closing(reference) as encoder:
            if spoil is not None:
                spoil(encoder)
            return encoder.encode(texts)

    def check(self, vectors: Any) -> OriginCheck:
        path = self.folder / "table.npy"
        np.save(path, vectors)
        lines = [{"_id": i, "title": title, "text": text} for i, title, text in self.rows]
        path.with_suffix(".jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), "utf-8")
        table = open_npy(path, Columns(id="_id"), texts=None)
        return check_origin(
            table,
            original=self.original,
            recipe=RECIPE,
            stages=silent,
            document_prompt=self.checkpoint.prompts.document,
            embed=partial(embed_each, cache=self.folder / "vectors", start=silent),
        )


@pytest.fixture(scope="module", params=["miniature", pytest.param("real", marks=pytest.mark.slow)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    checkpoint = (
        real_checkpoint()
        if request.param == "real"
        else read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
    )
    return Desk(checkpoint, tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_table_of_this_checkpoint_is_verified(desk: Desk, dtype: str) -> None:
    found = desk.check(desk.vectors(dtype=dtype))
    assert (found.status, found.reasons) == ("verified", ())
    assert desk.check(desk.vectors(dtype=dtype).astype(np.float16)).status == "verified"


def test_another_prompt_is_named(desk: Desk) -> None:
    found = desk.check(desk.vectors(prompt="title: none | text: {text}"))
    assert found.status == "refuted"
    assert "pass --document-prompt 'title: none | text: {text}'" in found.reasons[0]


def test_another_sliding_window_is_named(desk: Desk) -> None:
    used = desk.checkpoint.window_used
    assert used is not None
    found = desk.check(desk.vectors(window=2 * used))
    assert found.status == "refuted"
    assert "a model whose sliding window is twice as wide" in found.reasons[0]
    found = desk.check(desk.vectors(window=used // 2 + 1))
    assert found.status == "refuted"
    assert "a model whose sliding window is half as wide" in found.reasons[0]


def test_another_checkpoint_is_refuted(desk: Desk) -> None:
    def trained_on(encoder: Any) -> None:
        """Move every projection as far as a little more training would."""
        torch = encoder._torch
        torch.manual_seed(0)
        for name, values in encoder._model.named_parameters():
            if name.endswith("proj.weight"):
                values.data += 0.03 * values.data.std() * torch.randn_like(values)

    found = desk.check(desk.vectors(spoil=trained_on))
    assert found.status == "refuted"
    assert "do not hold the vector of their text" in found.reasons[0] or (
        "not made with this checkpoint" in found.reasons[0]
    )
