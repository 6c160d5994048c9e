"""Which of llama.cpp's kernels are chosen, and where that is written down."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

import llama_cpp

from exporter.checkpoint.contents import Checkpoint
from exporter.formats.gguf import llamacpp_kernels
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.llamacpp_kernels import batch_threads, extra_buffers, kernels, reduced
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.formats.open import artifact_source
from exporter.runtimes.cores import core_count
from exporter.runtimes.identity import artifact_identity

PLAIN_X86 = "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16\n"
AMX_X86 = "flags\t\t: fpu sse2 avx2 avx512f amx_bf16 avx512_fp16 amx_tile amx_int8\n"
ARM = "Features\t: fp asimd asimddp i8mm\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(llamacpp_kernels, "CPUINFO", path)
    kernels.cache_clear()
    yield path
    kernels.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [(PLAIN_X86, True), (AMX_X86, False), (ARM, False), ("", False), (None, False)],
    ids=["x86", "x86 with AMX", "ARM", "empty", "no such file"],
)
def test_weights_are_repacked_only_where_the_cpu_is_known_to_have_no_amx(
    cpuinfo: Path, text: str | None, expected: bool
) -> None:
    if text is not None:
        cpuinfo.write_text("processor\t: 0\n" + text, encoding="utf-8")
    assert extra_buffers() is expected


@pytest.mark.parametrize(("text", "expected"), [(PLAIN_X86, True), (AMX_X86, False)])
def test_the_model_is_loaded_as_decided(
    tiny: Checkpoint,
    tmp_path: Path,
    cpuinfo: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    expected: bool,
) -> None:
    cpuinfo.write_text(text, encoding="utf-8")
    export_gguf(tiny, tmp_path / "g")
    seen: list[bool] = []
    load = llama_cpp.llama_cpp.llama_model_load_from_file

    def watched(path: bytes, parameters: Any) -> Any:
        seen.append(parameters.use_extra_bufts)
        # Never the AMX kernels, whatever this machine is.
        parameters.use_extra_bufts = False
        return load(path, parameters)

    monkeypatch.setattr(llama_cpp.llama_cpp, "llama_model_load_from_file", watched)
    before = llama_cpp.llama_cpp.llama_model_default_params
    LlamaCppEncoder(tmp_path / "g")
    assert seen == [expected]
    assert llama_cpp.llama_cpp.llama_model_default_params is before


def test_features_are_reduced_to_those_that_round_products() -> None:
    info = "CPU : SSE3 = 1 | AVX2 = 1 | F16C = 1 | AMX_INT8 = 0 | LLAMAFILE = 1 | OPENMP = 1 | "
    assert reduced(info) == "AVX2 LLAMAFILE"
    assert reduced("CUDA : ARCHS = 900 | CPU : NEON = 1 | SVE_CNT = 16 | ") == (
        "CUDA:ARCHS=900 NEON SVE_CNT=16"
    )
    assert reduced("") == ""


def test_this_machines_kernels_are_in_key_and_source(tiny: Checkpoint, tmp_path: Path) -> None:
    export_gguf(tiny, tmp_path / "g")
    source = artifact_source(tmp_path / "g")
    assert source.kernels == kernels()
    assert source.identity["kernels"] == kernels()
    assert str(kernels()).startswith("extra buffers o")
    json.dumps(source.identity)


def test_other_kernels_are_another_key(cpuinfo: Path) -> None:
    found = []
    for text in (PLAIN_X86, AMX_X86):
        kernels.cache_clear()
        cpuinfo.write_text(text, encoding="utf-8")
        found.append(artifact_identity("0" * 64, kernels=kernels(), libraries=()))
    assert found[0] != found[1]
    assert "kernels" not in artifact_identity("0" * 64, kernels=None, libraries=())


def test_without_llama_cpp_a_source_can_still_be_described(
    tiny: Checkpoint, tmp_path: Path, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_gguf(tiny, tmp_path / "g")
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert artifact_source(tmp_path / "g").kernels is None


def test_a_batch_of_a_small_model_takes_one_thread_and_of_a_large_one_every_core() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert core_count() == cores
    assert batch_threads(10_000_000) == 1
    assert batch_threads(300_000_000) == cores
