"""How far a vector may lie from that of a table's artifact and still be of its space."""

from dataclasses import dataclass
from typing import Literal

from exporter.manifest import Manifest
from exporter.parity.results import ParityReport
from exporter.recipe import bundled_recipe, read_recipe
from exporter.vectors.probes import LEAST_TOLERANCE, OWN_ERRORS


@dataclass(frozen=True)
class Tolerance:
    """`value`: 1 - cosine. `source`: whether it follows from a report on the very artifact."""

    value: float
    source: Literal["measured", "limits"]

    def of(self, _: str) -> float:
        """Return the tolerance for a text: the same for all."""
        return self.value


def tolerance_of(
    manifest: Manifest, manifest_sha256: str, report: ParityReport | None
) -> Tolerance:
    """Return the tolerance for an artifact: from its error in `report` (99th percentile at the full
    dim), else from the limit that the default recipe sets for its precision."""
    found = None if report is None else report.of_manifest(manifest_sha256)
    if found is not None and found.dims:
        return Tolerance(_room(found.dims[0].cosine.p1), "measured")
    limits = read_recipe(bundled_recipe("default")).limits_for(manifest.scheme)
    return Tolerance(_room(limits.cosine_p1_min), "limits")


def _room(cosine: float) -> float:
    return min(2.0, max(LEAST_TOLERANCE, OWN_ERRORS * (1 - cosine)))
