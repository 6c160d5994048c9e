"""The recipe of a command: named on the command line, else the one that fits the checkpoint."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from exporter.bundled import bundled
from exporter.cli.common import CHECKPOINT_VARIABLE, CommonOptions
from exporter.errors import BadInput
from exporter.recipe import BUNDLED, Recipe, bundled_recipe, read_recipe, recipe_file

BUNDLED_CORPUS = "recipes/corpora/lawvault-mini"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe, the file it was read from, and its name on the command line."""

    recipe: Recipe
    path: Path
    name: str
    is_given: bool
    """Whether --recipe named it."""

    def corpus(self, given: Path | None) -> Path:
        """Return the corpus folder: the one given, else the recipe's, relative to its file."""
        return given if given is not None else self.path.parent / self.recipe.corpus

    def is_invented(self, given: Path | None) -> bool:
        """Return whether the corpus is the bundled one, of invented articles."""
        return self.corpus(given).resolve() == bundled(f"{BUNDLED_CORPUS}/corpus.jsonl").parent

    def with_pool(self, pool: int | None) -> Recipe:
        """Return the recipe with the pool given on the command line, where one is."""
        return self.recipe if pool is None else self.recipe.model_copy(update={"pool": pool})

    @contextmanager
    def fitted_on(self, given: Path | None, *, measures: bool) -> Iterator[Path | None]:
        """Hold the file of texts that an artifact is fitted on: the one given, else the recipe's.

        None for the bundled texts, and where the scheme `measures` nothing. Raises BadInput.
        """
        from exporter.corpus.beir import read_corpus
        from exporter.corpus.calibration import write_calibration
        from exporter.release.exports import CALIBRATION_NAME, release_calibration

        if given is not None or self.recipe.calibration == "bundled" or not measures:
            yield given
            return
        folder = self.corpus(None)
        corpus = read_corpus(folder)
        texts = release_calibration(self.recipe, self.path, folder=folder, corpus=corpus)
        with tempfile.TemporaryDirectory() as kept:
            file = Path(kept, CALIBRATION_NAME)
            write_calibration(file, texts or [])
            yield file


def recipe_option(command: Command) -> Command:
    """Add --recipe, given to the command as `recipe: str | None`."""
    return click.option(
        "--recipe",
        metavar="NAME|FILE",
        help=f"{', '.join(BUNDLED)}, or a TOML file: prompts, limits, corpus, artifacts. Default: "
        "default, and demo for the bundled miniature.",
    )(command)


def choose_recipe(named: str | None, options: CommonOptions) -> ChosenRecipe:
    """Return the recipe that is named, by file or by a bundled one's name; else the neutral one,
    or the demo's where no checkpoint is named. Raises BadInput for whatever is wrong with it."""
    if named is None:
        given = options.checkpoint or os.environ.get(CHECKPOINT_VARIABLE)
        name = "default" if given else "demo"
        path = bundled_recipe(name)
        return ChosenRecipe(read_recipe(path), path, name, is_given=False)
    try:
        path = recipe_file(named)
    except BadInput as error:
        raise BadInput(f"{error}; or pass --recipe FILE.toml") from None
    return ChosenRecipe(read_recipe(path), path, named, is_given=True)
