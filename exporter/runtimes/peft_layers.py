"""An adapter in PEFT's own layers, unmerged: what `checkpoint.adapters` is held to.

PEFT is given nothing that this tool computed: the base as saved, the adapter's files, and the names
of its tensors without the wrapper they were trained in.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.checkpoint.adapters.record import CONFIG_NAME, WEIGHTS_NAME
from exporter.checkpoint.contents import Checkpoint
from exporter.checkpoint.weights import weight_files
from exporter.errors import BadInput

PREFIX = "base_model.model."
IN_WHOLE = re.compile(r"\d+\.")
"""A name in an adapter that was trained around all modules, which are numbered."""
OF_FIRST = re.compile(r"^(base_model\.model\.)0\.(?:auto_model|model)\.")


@contextlib.contextmanager
def base_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder that sentence-transformers loads without the adapter: the checkpoint's own,
    or links to its modules and tokenizer and to the base's weights."""
    adapter = checkpoint.adapter
    if adapter is None or checkpoint.path == adapter.base:
        yield checkpoint.path
        return
    with tempfile.TemporaryDirectory(prefix="lawvault-base-") as made:
        folder = Path(made)
        of_base = [adapter.base / "config.json", *weight_files(adapter.base)]
        of_base += adapter.base.glob("model.safetensors.index.json")
        taken = {file.name: file for file in checkpoint.path.iterdir()}
        taken |= {file.name: file for file in of_base}
        for name, file in taken.items():
            if name not in (CONFIG_NAME, WEIGHTS_NAME):
                (folder / name).symlink_to(file.resolve())
        yield folder


def add_adapter(model: Any, checkpoint: Checkpoint) -> None:
    """Put the adapter of `checkpoint` into `model`, a SentenceTransformer of its base, in place.

    Raises BadInput where PEFT leaves a tensor of it unused, or finds none for one of its layers.
    """
    from peft import PeftConfig, PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    assert checkpoint.adapter is not None
    folder = checkpoint.adapter.folder
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    config.task_type = None  # the model is run for its states, whatever head it was trained with
    state = load_file(str(folder / WEIGHTS_NAME))
    wrapped = PeftModel(_wrapper(model, state), config)
    loaded = set_peft_model_state_dict(wrapped, _renamed(state, model))
    # PEFT lists every weight of the base as missing.
    missing = [key for key in loaded.missing_keys if ".default" in key]
    left = [*loaded.unexpected_keys, *missing]
    if left:
        raise BadInput(
            f"PEFT did not load '{left[0]}' of the adapter in '{folder}' (and {len(left) - 1} "
            "more), so it proves nothing; install the version of PEFT that saved it"
        )
    wrapped.eval()


def _wrapper(model: Any, state: Iterable[str]) -> Any:
    """Return the module of `model` that has the names of the tensors in `state` inside: itself, the
    backbone in its first module, or what holds that as a language model does, as `model`."""
    names = [key.removeprefix(PREFIX) for key in state]
    if all(IN_WHOLE.match(name) for name in names):
        return model
    if not all(name.startswith("model.") for name in names):
        return model[0].auto_model
    from torch.nn import ModuleDict

    return ModuleDict({"model": model[0].auto_model})


def _renamed(state: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return the tensors under the name that this release of sentence-transformers has for the
    backbone in its first module."""
    inner = next(name for name, part in model[0].named_children() if part is model[0].auto_model)
    return {OF_FIRST.sub(rf"\g<1>0.{inner}.", key): tensor for key, tensor in state.items()}
