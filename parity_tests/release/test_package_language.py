"""A package in Chinese: its README alone is another one."""

from pathlib import Path

from exporter.checkpoint.contents import Checkpoint
from exporter.packages.assemble import assemble
from exporter.registry import PACKAGES, resolve
from parity_tests.packaging import judged_onnx


def test_a_package_takes_its_language_and_nothing_else_changes(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    judged = judged_onnx(tiny, tmp_path / "artifact", quant="fp32", flavour="portable")
    packager = resolve(PACKAGES, "onnxruntime", what="package")
    english, chinese = tmp_path / "en", tmp_path / "zh"
    assemble(packager, [judged], english, checkpoint=tiny)
    assemble(packager, [judged], chinese, checkpoint=tiny, language="zh")
    files = sorted(p.relative_to(english) for p in english.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(chinese) for p in chinese.rglob("*") if p.is_file())
    changed = {str(f) for f in files if (english / f).read_bytes() != (chinese / f).read_bytes()}
    # onnxruntime writes .ort with other bytes each time.
    assert changed - {"model.ort"} == {"README.md", "SHA256SUMS", "manifest.json"}
    text = (chinese / "README.md").read_text(encoding="utf-8")
    assert "满足所有限制" in text
    assert "许可证：见" in text
    assert "Passed its limits" in (english / "README.md").read_text(encoding="utf-8")
