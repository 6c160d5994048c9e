"""OpenVINO itself, kept from telling its maker that it was imported."""

import sys
from typing import Any

from exporter.errors import require

TELEMETRY = "openvino_telemetry"


def openvino_module() -> Any:
    """Return openvino. Raises MissingDependency.

    At import, and at every conversion, it sends an event to an analytics host unless a consent file
    in the user's home says no. Where its telemetry package cannot be imported it has a stub of its
    own that sends nothing (openvino/tools/ovc/telemetry_utils.py), so that package is hidden.
    """
    require("openvino")
    hidden = TELEMETRY not in sys.modules
    if hidden:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[TELEMETRY]
    return openvino
