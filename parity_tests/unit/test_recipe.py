"""Recipes: strict, and every mistake named with its file and key."""

from pathlib import Path

import pytest

from exporter.errors import BadInput
from exporter.recipe import BUNDLED, Limits, bundled_recipe, read_recipe
from parity_tests.conftest import LAWVAULT_PROMPTS

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "default.toml"


def broken(tmp_path: Path, old: str, new: str) -> Path:
    text = RECIPE.read_text("utf-8")
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_has_limits_for_each_precision_and_all_ways(name: str) -> None:
    recipe = read_recipe(bundled_recipe(name))
    assert set(recipe.limits) == {"fp32", "16bit", "8bit", "6bit", "4bit"}
    assert recipe.prompts == (None if name == "default" else LAWVAULT_PROMPTS)
    assert recipe.ways == ("both", "queries", "documents")
    assert recipe.limits_for("int8").mrr_at_10_margin == 0.01
    assert recipe.limits_for("q4_0").mrr_at_10_margin == 0.02


def test_every_limit_of_the_bundled_recipe_follows_a_comment() -> None:
    lines = RECIPE.read_text("utf-8").splitlines()
    limits = [
        i
        for i, line in enumerate(lines)
        if line.split(" = ")[0] in Limits.model_fields and not line.startswith("reason")
    ]
    assert len(limits) == 5 * 3
    assert all(lines[i - 1].startswith("#") for i in limits)


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    message = refusal(broken(tmp_path, "window =", "windw ="))
    assert "windw" in message
    assert "did you mean 'window'" in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema_version = 1", "schema_version = true", "schema_version is no number"),
        ("schema_version = 1", "schema_version = 1\nseed = -1", "seed: "),
        (
            "schema_version = 1",
            "schema_version = 1\nplan = 'x'",
            "it belongs into an [[artifacts]]",
        ),
        (
            "schema_version = 1",
            "schema_version = 1\nprompts = {query = '{x}', document = '{text}'}",
            "prompts.query: {x} is neither {text} nor {title}",
        ),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refusal(broken(tmp_path, old, new))


def test_an_unknown_key_of_a_limit_is_named_with_its_place(tmp_path: Path) -> None:
    message = refusal(broken(tmp_path, "cosine_p1_min", "cosine_p1_minimum"))
    assert "limits.fp32" in message
    assert "did you mean 'cosine_p1_min'" in message


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ('window = "as-saved"', 'window = "narrow"', "window"),
        ('corpus = "corpora/lawvault-mini"', "corpus = 3", "corpus"),
        ('corpus = "corpora/lawvault-mini"\n', "", "corpus"),
        ("[limits.fp32]", "[prompts]\nquery = 5\n[limits.fp32]", "prompts.query"),
        ("[limits.fp32]", '[prompts]\nquery = "q"\n[limits.fp32]', "prompts.document"),
        ("mrr_at_10_margin = 0.01", 'mrr_at_10_margin = "0.01"', "mrr_at_10_margin"),
        ("mrr_at_10_margin = 0.01", "mrr_at_10_margin = true", "mrr_at_10_margin"),
        ("mrr_at_10_margin = 0.01", "mrr_at_10_margin = -0.01", "mrr_at_10_margin"),
        ("mrr_at_10_margin = 0.01", "mrr_at_10_margin = nan", "mrr_at_10_margin"),
        ("schema_version = 1", "schema_version = 1\npool = -1", "pool"),
        ("schema_version = 1", 'schema_version = 1\npool = "10"', "pool"),
        ("schema_version = 1", "schema_version = 1\npool = true", "pool"),
        ("[limits.8bit]", "[limits.7bit]", "7bit"),
        ('scheme = "int8"', 'scheme = "int7"', "int7"),
        ('format = "onnx"', 'format = "tflite"', "format"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert named in refusal(broken(tmp_path, old, new))


def test_a_margin_above_that_of_its_class_needs_a_written_reason(tmp_path: Path) -> None:
    wide = "mrr_at_10_margin = 0.05"
    assert "reason" in refusal(broken(tmp_path, "mrr_at_10_margin = 0.01", wide))
    path = broken(tmp_path, "mrr_at_10_margin = 0.01", wide + '\nreason = "a test of the gate"')
    assert read_recipe(path).limits["fp32"].mrr_at_10_margin == 0.05


def test_a_scheme_without_limits_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="q3_k"):
        read_recipe(RECIPE).limits_for("q3_k")


def test_broken_toml_invalid_utf8_and_a_missing_file_are_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    assert "no such recipe" in refusal(path)
    path.write_text("schema_version = ", "utf-8")
    assert "TOML" in refusal(path)
    path.write_bytes(b"corpus = '\xff'")
    assert "UTF-8" in refusal(path)


def test_an_artifact_may_choose_its_gguf_plan(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    spec = 'scheme = "q4_k_m"\nplan = "upstream"\n'
    path.write_text(RECIPE.read_text("utf-8").replace('scheme = "q4_k_m"\n', spec), "utf-8")
    assert [a.name for a in read_recipe(path).artifacts][-1] == "gguf-q4_k_m-upstream"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'scheme = "int8"\n',
            'scheme = "int8"\nimatrix = "on"\n',
            "imatrix does not belong to artifacts of format onnx",
        ),
        ('scheme = "q4_k_m"\n', 'scheme = "q8_0"\n', "'gguf-q8_0' is listed twice"),
        ('scheme = "q4_k_m"\n', 'scheme = "q4_k_m"\nplan = "mine"\n', "known: embedding, upstream"),
    ],
)
def test_artifacts_that_make_no_sense_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(BadInput, match=message):
        read_recipe(path)


def test_a_way_of_deployment_may_have_limits_of_its_own(tmp_path: Path) -> None:
    own = "[limits.8bit]\nqueries = { overlap_at_10_min = 0.99 }"
    found = read_recipe(broken(tmp_path, "[limits.8bit]", own)).limits_for("int8")
    assert found.of("queries").overlap_at_10_min == 0.99
    assert found.of("both").overlap_at_10_min == found.overlap_at_10_min == 0.975
    assert found.of("queries").mrr_at_10_margin == 0.01


def test_a_recipe_extends_a_bundled_one_or_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base, mine = tmp_path / "sub" / "base.toml", tmp_path / "mine.toml"
    base.write_text('schema_version = 1\nextends = "default"\ncorpus = "texts"\nseed = 7\n')
    mine.write_text(
        'schema_version = 1\nextends = "sub/base.toml"\nseed = 8\n'
        "[limits.8bit]\ncosine_p1_min = 0.5\noverlap_at_10_min = 0.5\nmrr_at_10_margin = 0.001\n"
    )
    found = read_recipe(mine)
    assert (found.corpus, found.seed) == ("sub/texts", 8)  # a path stays that of its own file
    assert found.limits["8bit"].mrr_at_10_margin == 0.001
    assert found.limits["4bit"] == read_recipe(RECIPE).limits["4bit"]


def test_extending_what_is_not_there_or_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('schema_version = 1\nextends = "lawvalt"\n')
    assert "unknown recipe 'lawvalt'; did you mean 'lawvault'" in refusal(path)
    path.write_text('schema_version = 1\nextends = "recipe.toml"\n')
    assert "extends itself" in refusal(path)


def test_limits_of_a_way_that_is_not_judged_are_refused(tmp_path: Path) -> None:
    path = broken(tmp_path, "[limits.8bit]", "[limits.8bit]\nqueries = { cosine_p1_min = 0.9 }")
    every = 'ways = ["both", "queries", "documents"]'
    path.write_text(path.read_text("utf-8").replace(every, 'ways = ["both"]'), "utf-8")
    assert "limits.8bit.queries is given, but 'queries' is not among the judged ways" in refusal(
        path
    )


def test_a_margin_is_absolute_or_relative(tmp_path: Path) -> None:
    both = "mrr_at_10_margin = 0.01\nmrr_at_10_relative_margin = 0.02"
    assert "not both" in refusal(broken(tmp_path, "mrr_at_10_margin = 0.01", both))
    lines = RECIPE.read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("mrr_at_10_margin")]
    path = tmp_path / "none.toml"
    path.write_text("\n".join(kept), "utf-8")
    assert "give mrr_at_10_margin or mrr_at_10_relative_margin" in refusal(path)
    wide = broken(tmp_path, "mrr_at_10_margin = 0.01", "mrr_at_10_relative_margin = 0.03")
    assert "mrr_at_10_relative_margin 0.03 is wider than 0.02" in refusal(wide)
    narrow = broken(tmp_path, "mrr_at_10_margin = 0.01", "mrr_at_10_relative_margin = 0.02")
    assert read_recipe(narrow).limits["fp32"].of("both").mrr_at_10_relative_margin == 0.02
