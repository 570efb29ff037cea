"""The networks, under the published parameter names, and what a network of one's own must offer."""

from arseg_edge.export.models.creff import CReFF
from arseg_edge.export.models.protocol import (
    FusionNetwork,
    Head,
    SegmentationNetwork,
    TrainableNetwork,
    TrainingOutputs,
)

__all__ = ["CReFF", "FusionNetwork", "Head", "SegmentationNetwork", "TrainableNetwork", "TrainingOutputs"]
