"""How the families are trained where nothing else is said.

``edge`` has the defaults of the settings themselves for HR. The published families are trained as their authors did
(Hu et al., CVPR 2023, section 4.1, and their code), but for the distance to the keyframe: theirs is always 11
(``distance: 11``), here it is drawn, so that all distances are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, cast

_Values = Mapping[str, object]

# Without what ``edge`` adds to the plain recipe.
_PLAIN: _Values = {"loss_stride": 1, "region": 0.0, "warm_up": 0, "average": 0.0, "validate_every": 1}
_CAMVID: _Values = {**_PLAIN, "optimiser": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "epochs": 100}
# A pair at 2048×1024 takes 23 MB: one of each labelled frame.
_CITYSCAPES: _Values = {
    **_PLAIN,
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "epochs": 200,
    "crop": (512, 1024),
    "variants": (1,),
    "validation_variants": 1,
    "bitrate": 5_000_000,
    "frame_rate": Fraction(17),
}
# Online hard example mining, on the output and both auxiliary ones.
_BISENET: _Values = {"hard_examples": 0.7}

# The student starts from the teacher's weights and has less to find.
_EDGE_LR: _Values = {"epochs": 90, "learning_rate": 3e-3, "average": 0.998, "validate_every": 5}

_HR: Mapping[str, _Values] = {
    "camvid-psp18": _CAMVID,
    "camvid-bise18": {**_CAMVID, **_BISENET},
    "cityscapes-psp18": {**_CITYSCAPES, "auxiliary": 0.4},
    "cityscapes-bise18": {**_CITYSCAPES, **_BISENET},
}
_LR: Mapping[str, _Values] = {
    "edge": _EDGE_LR,
    **{name: {**values, "start": "scratch"} for name, values in _HR.items()},
}
# Videos of one's own show what a device will see: they need less of what makes few stills stand for many cameras.
_UNLABELLED: _Values = {"zoom_out": 0.8, "zoom_in": 1.25, "rotation": 1.0, "colour": 0.1}
# The share of the epochs that comes before fusion.
_FUSION_FROM = {"camvid-psp18": Fraction(1, 2), "camvid-bise18": Fraction(1, 2)}


def recipe(
    family: str, what: Literal["hr", "lr"], epochs: int | None = None, *, labels: bool = True
) -> dict[str, object]:
    """Return the settings of a family that are not the defaults, by name; none for a family without a recipe.

    Args:
        family: its name.
        what: the network.
        epochs: how many there will be, where that is not the recipe's own number: fusion comes in after a part of them.
        labels: whether there is labelled data.
    """
    values = dict((_LR if what == "lr" else _HR).get(family, {})) | ({} if labels else dict(_UNLABELLED))
    if what == "lr" and family in _FUSION_FROM:
        total = cast(int, values["epochs"]) if epochs is None else epochs
        values["fusion_from"] = int(total * _FUSION_FROM[family])
    return values
