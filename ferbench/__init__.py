"""ferbench: which backbone and which fine-tuning strategy is best on a small dataset of faces, with evidence.

The public surface is what plugin authors need; everything heavier is imported where it is used.
"""

from ferbench.components import (
    Backbone,
    BackboneFamily,
    Dataset,
    DatasetFamily,
    Face,
    FaceDetector,
    ImageFile,
    Samples,
    Strategy,
    WeightsFile,
)
from ferbench.hookspecs import hookimpl
from ferbench.recipes import Recipe
from ferbench.records import EpochResult, ReportedResult, Run, StageResult
from ferbench.stages import Stage, StageSpec
from ferbench.version import VERSION

__version__ = VERSION

__all__ = [
    "Backbone",
    "BackboneFamily",
    "Dataset",
    "DatasetFamily",
    "EpochResult",
    "Face",
    "FaceDetector",
    "ImageFile",
    "Recipe",
    "ReportedResult",
    "Run",
    "Samples",
    "Stage",
    "StageResult",
    "StageSpec",
    "Strategy",
    "WeightsFile",
    "__version__",
    "hookimpl",
]
