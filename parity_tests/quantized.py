"""What every quantized graph has to hold."""

from typing import Any

import numpy as np

from parity_tests.conftest import TEXTS


def check_near_and_blind_to_company(encoder: Any, truth: Any, *, most: float) -> None:
    """Assert that vectors are rounded, within `most` of the model's, and whatever stands beside."""
    found = encoder.encode(TEXTS)
    assert 1e-8 < (1 - (found * truth).sum(axis=1)).max() < most
    rows = encoder.token_ids(TEXTS)
    for left in (False, True):
        together = encoder.encode_padded(rows, width=64, left=left)
        alone = [encoder.encode_padded([row], width=64, left=left) for row in rows]
        assert (1 - (together * np.concatenate(alone)).sum(axis=1)).max() < 1e-6
