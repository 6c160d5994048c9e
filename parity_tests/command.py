"""The command line in this process."""

from collections.abc import Sequence

import pytest

from exporter.cli.main import main


def run(arguments: Sequence[object]) -> int:
    """Run `lawvault` with these arguments and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code
