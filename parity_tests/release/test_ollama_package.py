"""The Ollama package: what belongs together goes in, and it says what was meant."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.checkpoint.read import read_checkpoint
from exporter.errors import BadInput, GateClosed
from exporter.formats.gguf.export import export_gguf
from exporter.formats.gguf.runtime import LlamaCppEncoder
from exporter.packages.golden import Golden
from exporter.packages.verdict import PackageVerdict
from exporter.packages.verify import verify_package
from parity_tests.ollama_modelfile import parse_modelfile
from parity_tests.packaging import files_of, golden_of, package_ollama, seal
from parity_tests.tiny_checkpoint import make_tiny_checkpoint

PASS = PackageVerdict(
    verdict="pass", corpus="tiny-corpus", corpus_sha256="0" * 64, cosine_minimum=0.9
)


@pytest.fixture(scope="module")
def artifact(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf") / "g"
    export_gguf(tiny, folder)
    return folder


@pytest.fixture(scope="module")
def golden(artifact: Path, tiny: Checkpoint) -> Golden:
    return golden_of(LlamaCppEncoder(artifact), tiny)


def test_two_packages_of_one_artifact_are_equal_byte_for_byte(
    artifact: Path, tiny: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        package_ollama(artifact, tmp_path / name, checkpoint=tiny, verdict=PASS, golden=golden)
    one, other = (
        {path.relative_to(tmp_path / n): path.read_bytes() for path in files_of(tmp_path / n)}
        for n in ("a", "b")
    )
    assert one == other


@pytest.mark.parametrize("verdict", ["fail", "undecided", "none"])
def test_nothing_but_a_pass_is_packaged(
    artifact: Path, tiny: Checkpoint, golden: Golden, tmp_path: Path, verdict: str
) -> None:
    judged = PackageVerdict(verdict=verdict, reasons=("overlap@10 is too low",))  # type: ignore[arg-type]
    with pytest.raises(GateClosed, match="overlap@10 is too low"):
        package_ollama(artifact, tmp_path / "p", checkpoint=tiny, verdict=judged, golden=golden)
    assert list(tmp_path.iterdir()) == []


def test_a_licence_goes_in_as_it_is_and_into_the_modelfile(
    tiny: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "tiny"))
    text = '第一条　许可\r\n\tUse it.\u00a0\x0c\n\n“Quoted” "\n'
    (folder / "LICENSE").write_bytes(text.encode())
    checkpoint = read_checkpoint(folder)
    export_gguf(checkpoint, tmp_path / "g")
    package_ollama(
        tmp_path / "g", tmp_path / "p", checkpoint=checkpoint, verdict=PASS, golden=golden
    )
    assert (tmp_path / "p" / "LICENSE").read_bytes() == text.encode()
    said = {
        i.name: i.value for i in parse_modelfile((tmp_path / "p" / "Modelfile").read_text("utf-8"))
    }
    # U+3000, U+00A0 and the form feed would vanish in Ollama; here they are plain spaces.
    assert said["license"] == '第一条 许可\n\tUse it.  \n\n“Quoted” "'


def test_a_licence_that_is_not_utf8_is_refused(
    tiny: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "tiny"))
    (folder / "LICENSE").write_bytes("许可".encode("gb18030"))
    checkpoint = read_checkpoint(folder)
    export_gguf(checkpoint, tmp_path / "g")
    with pytest.raises(BadInput, match="not UTF-8"):
        package_ollama(
            tmp_path / "g", tmp_path / "p", checkpoint=checkpoint, verdict=PASS, golden=golden
        )
    assert not (tmp_path / "p").exists()


def test_an_artifact_of_another_checkpoint_is_refused(
    artifact: Path, golden: Golden, tmp_path: Path
) -> None:
    other = read_checkpoint(make_tiny_checkpoint(tmp_path / "tiny", seed=3))
    with pytest.raises(BadInput, match="was not made from"):
        package_ollama(artifact, tmp_path / "p", checkpoint=other, verdict=PASS, golden=golden)


def test_a_window_read_otherwise_is_refused(golden: Golden, tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny", window=9)
    export_gguf(read_checkpoint(folder, window="repaired"), tmp_path / "g")
    with pytest.raises(BadInput, match="pass the same --window"):
        package_ollama(
            tmp_path / "g",
            tmp_path / "p",
            checkpoint=read_checkpoint(folder),
            verdict=PASS,
            golden=golden,
        )


def test_golden_vectors_for_other_prompts_or_another_artifact_are_refused(
    artifact: Path, tiny: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    for change, expected in (
        ({"query_prompt": "query: {text}"}, "pass the same --prompts"),
        ({"artifact": "gguf-f16"}, "those of gguf-f16"),
    ):
        with pytest.raises(BadInput, match=expected):
            package_ollama(
                artifact,
                tmp_path / "p",
                checkpoint=tiny,
                verdict=PASS,
                golden=golden.model_copy(update=change),
            )


def test_a_changed_artifact_is_refused(
    artifact: Path, tiny: Checkpoint, golden: Golden, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(artifact, tmp_path / "g"))
    path = next(copy.glob("*.gguf"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="differs from its manifest"):
        package_ollama(copy, tmp_path / "p", checkpoint=tiny, verdict=PASS, golden=golden)


def test_the_request_in_the_readme_survives_a_shell(tiny: Checkpoint, tmp_path: Path) -> None:
    prompts = Prompts(query="it's a query: {text}", document="{text}")
    checkpoint = read_checkpoint(tiny.path, prompts=prompts)
    export_gguf(checkpoint, tmp_path / "g")
    package_ollama(
        tmp_path / "g",
        tmp_path / "p",
        checkpoint=checkpoint,
        verdict=PASS,
        golden=golden_of(LlamaCppEncoder(tmp_path / "g"), checkpoint),
    )
    import shlex

    readme = (tmp_path / "p" / "README.md").read_text(encoding="utf-8")
    line = next(one for one in readme.splitlines() if "curl " in one)
    body = json.loads(shlex.split(line)[-1])
    assert body == {"model": "tiny-q8_0", "input": "it's a query: 房东不退押金怎么办"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("Modelfile", "ADAPTER ./evil.gguf\n"),
        ("create.sh", "curl http://127.0.0.1:9 | sh\n"),
        ("create.ps1", "iex x\n"),
        ("verify.py", "import os\n"),
        ("client.py", "import os\n"),
        ("client.mjs", "fetch('http://127.0.0.1:9');\n"),
    ],
)
def test_what_a_user_would_run_is_what_this_tool_writes_though_sums_were_made_anew(
    artifact: Path, tiny: Checkpoint, golden: Golden, tmp_path: Path, name: str, more: str
) -> None:
    package_ollama(artifact, tmp_path / "p", checkpoint=tiny, verdict=PASS, golden=golden)
    assert verify_package(tmp_path / "p").verdict == "pass"
    with (tmp_path / "p" / name).open("a", encoding="utf-8") as file:
        file.write(more)
    seal(tmp_path / "p")
    report = verify_package(tmp_path / "p")
    assert report.verdict == "fail"
    assert [check.name for check in report.checks] == ["files", "scripts"]
    assert f"'{name}' is not what this version of the tool writes" in report.checks[1].detail


def test_a_hostile_name_is_no_tag_in_a_readme(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "<img src=x onerror=alert(1)>")
    checkpoint = read_checkpoint(folder)
    export_gguf(checkpoint, tmp_path / "g")
    golden = golden_of(LlamaCppEncoder(tmp_path / "g"), checkpoint)
    told = PASS.model_copy(update={"corpus": "[x](javascript:alert(1))"})
    package_ollama(
        tmp_path / "g", tmp_path / "p", checkpoint=checkpoint, verdict=told, golden=golden
    )
    readme = (tmp_path / "p" / "README.md").read_text("utf-8")
    assert "&lt;img src=x onerror=alert(1)> as q8_0 GGUF" in readme
    assert "corpus [x](#))" in readme
