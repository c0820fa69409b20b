"""The challenge baseline's features: PHOG and LPQ as a backbone without weights, with a linear head.

The baseline of EmotiW 2015's static task, given with doi 10.1145/2818346.2830593, is a support vector machine on PHOG
and LPQ: 35.96 % on SFEW's Val and 39.13 % on its Test. Its exact settings (sizes, windows, grids, kernel) were not
recovered, so this is a reconstruction with settings of our own, never a replication. What is the papers' and what is
ours stands in phog.py, lpq.py and module.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ferbench
from ferbench.anatomy import refuse_small
from ferbench.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

_NAME = "phog-lpq"

#: Cells of 8 by 8 pixels in the finest level. FER2013's 48 pixels are enlarged little, SFEW's 143x181 reduced; on
#: FER2013, sizes of 48, 64 and 96 differ by less than chance.
_SIZE = 64

#: Cells of 4 by 4 pixels, and histograms of some 42 codes each.
_SMALLEST = 32


def _build(num_classes: int, image_size: int) -> nn.Module:
    from ferbench_plugins.phog_lpq.module import phog_lpq

    refuse_small(_NAME, image_size, _SMALLEST)
    return phog_lpq(num_classes)


def _resolve_weights(policy: str) -> ferbench.WeightsFile | None:
    return None


def _load_weights(module: nn.Module, file: ferbench.WeightsFile) -> None:
    raise WeightsError(f"{_NAME} has no weights, so {file.path} cannot be loaded into it: leave --weights out")


@ferbench.hookimpl
def ferbench_register_backbones() -> list[ferbench.Backbone]:
    """The one backbone `phog-lpq`."""
    return [
        ferbench.Backbone(
            name=_NAME,
            version=1,
            build=_build,
            resolve_weights=_resolve_weights,
            load_weights=_load_weights,
            image_size=_SIZE,
            smallest_image_size=_SMALLEST,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            classifier="head",
            recipe={"trainable": "head", "head_fit": "svm", "augment": "none"},
            citation="Bosch, Zisserman and Munoz, Representing shape with a spatial pyramid kernel, CIVR 2007, doi "
            "10.1145/1282280.1282340; Ojansivu and Heikkilä, Blur insensitive texture classification using local phase "
            "quantization, ICISP 2008, doi 10.1007/978-3-540-69905-7_27",
            licence="MIT; there are no weights",
            weightless=True,
        )
    ]
