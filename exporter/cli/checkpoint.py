"""The checkpoint that a command line names, and the prompts that hold for it."""

import os

from exporter.bundled import miniature
from exporter.checkpoint.contents import Checkpoint, Prompts
from exporter.cli.common import CHECKPOINT_VARIABLE, CommonOptions, say
from exporter.cli.recipe import ChosenRecipe
from exporter.cli.terminal import echo


def load_checkpoint(
    options: CommonOptions,
    chosen: ChosenRecipe,
    *,
    recorded: Prompts | None = None,
    quiet_findings: bool = False,
) -> Checkpoint:
    """Read the checkpoint that the options name, else the defaults, and say its warnings.

    Its prompts: those of --prompts, else of a recipe that --recipe names or of the miniature's,
    else `recorded` ones (of the artifacts at hand), else the checkpoint's own. What differs from
    its own is said. Raises BadInput for whatever is wrong with the checkpoint.
    """
    from exporter.api import read_checkpoint

    recipe = chosen.recipe
    named = options.checkpoint
    if named is None and os.environ.get(CHECKPOINT_VARIABLE):
        named = os.environ[CHECKPOINT_VARIABLE]
        say(f"checkpoint: {named} (${CHECKPOINT_VARIABLE})", options)
    if named is None and recipe.checkpoint is not None:
        named = recipe.checkpoint
        say(f"checkpoint: {named} (the recipe's)", options)
    if named is None:
        named = str(miniature())
        say("checkpoint: none given, using the bundled miniature (pass --checkpoint)", options)
    prompts, where = _prompts(options, chosen, recorded)
    checkpoint = read_checkpoint(
        named, window=options.window or recipe.window, prompts=prompts, base=options.base
    )
    if checkpoint.adapter is not None:
        record = checkpoint.adapter.record
        say(f"adapter: {record.type}, merged into '{checkpoint.adapter.base}'", options)
    if checkpoint.prompts != checkpoint.own_prompts:
        saved = f"saves {checkpoint.own_prompts.described}"
        say(
            f"prompts: {checkpoint.prompts.described} ({where}); the checkpoint "
            + (saved if checkpoint.saved_prompts else "saves none"),
            options,
        )
    elif not checkpoint.saved_prompts:
        say(
            "prompts: none are saved with the checkpoint; texts are embedded as they are, a title "
            "before its text (pass --prompts)",
            options,
        )
    if not quiet_findings:
        show_findings(checkpoint)
    return checkpoint


def _prompts(
    options: CommonOptions, chosen: ChosenRecipe, recorded: Prompts | None
) -> tuple[Prompts | None, str]:
    if options.prompts is not None:
        return options.prompts, "--prompts"
    if chosen.recipe.prompts is not None and (chosen.is_given or recorded is None):
        return chosen.recipe.prompts, f"recipe {chosen.name}"
    return recorded, "recorded in the artifact"


def show_findings(checkpoint: Checkpoint) -> None:
    """Print each finding above `info` as one line on stderr."""
    for finding in checkpoint.findings:
        if finding.severity != "info":
            echo(
                f"{finding.severity}: {finding.id}: {finding.evidence}; {finding.effect} "
                f"({finding.remedy})",
                err=True,
            )
