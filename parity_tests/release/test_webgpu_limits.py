"""A table of real size on a GPU that gives no more than WebGPU's default limits."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("torch")

from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import MissingDependency
from exporter.formats.onnx.flavour import WEB
from exporter.packages.transformersjs.chromium import find_chromium, open_chromium
from exporter.packages.verify import verify_package
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE
from parity_tests.packaging import judged_onnx, package_transformersjs

try:
    find_chromium()
except MissingDependency as error:
    pytest.skip(str(error), allow_module_level=True)

ROWS = 400_000
"""Times 256 float32: 410 MB. EmbeddingGemma's are 805."""
DEFAULTS = {"maxBufferSize": 256 << 20, "maxStorageBufferBindingSize": 128 << 20}
"""https://www.w3.org/TR/webgpu/#limits. SwiftShader's adapter offers 1 GB of both."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The miniature with a table of ROWS rows; no text has one of those that were added."""
    folder = Path(shutil.copytree(MINIATURE, tmp_path_factory.mktemp("large") / "large"))
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    (name,) = (n for n in tensors if n.endswith("embed_tokens.weight"))
    table = tensors[name]
    tensors[name] = torch.cat([table, table.new_zeros((ROWS - len(table), table.shape[1]))])
    save_file(tensors, path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": ROWS}))
    return read_checkpoint(folder, prompts=LAWVAULT_PROMPTS)


@contextmanager
def with_default_limits(*arguments: str) -> Iterator[Any]:
    """A Chromium whose adapter offers no more than the defaults."""
    script = "".join(
        f"Object.defineProperty(GPUSupportedLimits.prototype, '{name}', {{get: () => {size}}});"
        for name, size in DEFAULTS.items()
    )
    with open_chromium(*arguments) as browser:

        def new_page() -> Any:
            page = browser.new_page()
            page.add_init_script(script)
            return page

        yield SimpleNamespace(version=browser.version, new_page=new_page)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "status"), [(True, "pass"), (False, "fail")])
def test_a_split_table_runs_where_a_whole_one_does_not(
    large: Checkpoint,
    npm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    split: bool,
    status: str,
) -> None:
    if not split:
        whole = replace(WEB, largest_bytes=None)
        monkeypatch.setattr("exporter.formats.onnx.flavour.WEB", whole)
    judged = judged_onnx(large, tmp_path / "fp32", quant="fp32")
    package = package_transformersjs(
        [judged], tmp_path / "package", checkpoint=large, npm=npm, articles=[("a", "", "押金")]
    )
    monkeypatch.setattr(
        "exporter.packages.transformersjs.verifier.open_chromium", with_default_limits
    )
    report = verify_package(package, settings={"runtime": ("webgpu",)})
    found = next(check for check in report.checks if check.name == "fp32 in webgpu")
    assert found.status == status, found.detail
    assert split or "Buffer" in found.detail
