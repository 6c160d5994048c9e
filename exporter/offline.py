"""Local means offline: no hub look-up while a local folder is loaded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


@contextmanager
def offline() -> Iterator[None]:
    """Keep Hugging Face libraries off the network inside the block.

    The variables work where the libraries are imported inside the block; huggingface_hub reads
    them once, so an already imported one is told as well.
    """
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(VARIABLES)
    import huggingface_hub.constants as constants

    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
