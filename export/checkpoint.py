"""Checkpoints: state dicts from files or from memory, matched with the family that they belong to."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from arseg_edge.errors import CheckpointError
from arseg_edge.export.families import Family, families, find_family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.palette import ClassSet

CheckpointSource = str | os.PathLike[str] | Mapping[str, Any]
"""A ``.pth``, ``.pt`` or ``.safetensors`` file, or a state dict of tensors or arrays.

Of a file that holds several state dicts, ``FILE:KEY`` is the one under that key (of one inside another, ``KEY.KEY``).
"""

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64}
_CLASSES = "classes"
_NAMED = 3  # keys that an error message lists of each kind
_LONGEST_KEY = 200
_STATE_DICT = "state_dict"
_DEEPEST = 3
"""Dicts within dicts that a state dict is looked for in."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel, ``AveragedModel`` and ``torch.compile`` put in front of parameters' names."""
_AVERAGED = "n_averaged"
"""What ``AveragedModel`` keeps beside them."""
_OWN_WRAPPER = re.compile(r"^(?:(?:model|module|_orig_mod)\.)+")
"""The same, and the attribute that a training program keeps a network under."""


@dataclass(frozen=True)
class Checkpoint:
    """A state dict: keys without what PyTorch's wrappers put in front, float32 or whole numbers, all finite."""

    name: str
    """Where it is from, for messages: the file's name."""
    tensors: Mapping[str, Tensor]
    sha256: str | None
    """Of the file, in hexadecimal; None for a state dict from memory."""
    classes: ClassSet | None
    """What it was trained for, where it says so (``state_dict_for``)."""

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r}, {len(self.tensors)} tensors)"


def read_checkpoint(source: CheckpointSource, name: str = "state dict") -> Checkpoint:
    """Return what ``source`` holds; ``name`` is what messages call a source that is not a file.

    Of a pickle nothing but tensors is loaded. A dict that holds a state dict, under ``state_dict`` or any other key, is
    unwrapped. Raises ``CheckpointError`` for a file that is missing, unreadable or more than tensors, for one that
    holds no state dict or several, and for values that are not finite numbers.
    """
    if isinstance(source, Mapping):
        return _checkpoint(name, source, None)
    path, key = Path(source), None
    if not path.exists() and ":" in path.name:
        file, _, key = os.fspath(source).rpartition(":")
        path = Path(file)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {kind}: give a .pth, .pt or .safetensors file")
    return _checkpoint(path.name, _read(path), file_sha256(path), key)


def state_dict_for(classes: ClassSet, network: nn.Module) -> Mapping[str, Tensor]:
    """Return the network's state dict, to be saved, with the classes that it was trained for.

    The keys are the network's alone. The classes are metadata of the dict, beside the versions that PyTorch keeps
    there of each layer: ``torch.save`` writes them, and who does not look for them does not see them.
    """
    state = network.state_dict()
    colours = {name: list(colour) for name, colour in zip(classes.names, classes.colours, strict=True)}
    _metadata(state)[_CLASSES] = colours
    return state


def _metadata(state: object) -> dict[str, Any]:
    """Return what a state dict has of the network as a whole beside its tensors."""
    found = getattr(state, "_metadata", None)
    whole = found.get("") if isinstance(found, Mapping) else None
    return whole if isinstance(whole, dict) else {}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong comes as an exception
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(
                f"{path} holds {refused[1]} beside tensors, and loading such objects can run code: "
                "save model.state_dict() alone"
            ) from error
        raise CheckpointError(f"{path} is not a readable checkpoint: copy or download it again") from error
    except Exception as error:  # damaged files make the readers raise anything, down to KeyError
        reason = (str(error).splitlines() or ["it ends too early"])[0][:120].rstrip(" .:")
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason}): copy or download it again") from error


def _checkpoint(name: str, content: object, sha256: str | None, key: str | None = None) -> Checkpoint:
    if isinstance(content, Mapping):
        found = _state_dicts(content)
        if key is None and not _is_state_dict(content) and found:
            key = _the_one(name, found)
        if key is not None:
            if key not in found:
                there = f"it has {', '.join(found)}" if found else "it has none"
                raise CheckpointError(f"{name} has no state dict under {key!r}: {there}")
            content = found[key]
            name = name if key == _STATE_DICT else f"{name}:{key}"
    return Checkpoint(name, _clean(name, content), sha256, _classes(name, _metadata(content).get(_CLASSES)))


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    values = content.values()
    return any(isinstance(value, Tensor | np.ndarray) for value in values) and not any(
        isinstance(value, Mapping) for value in values
    )


def _state_dicts(content: Mapping[Any, Any], depth: int = _DEEPEST) -> dict[str, Mapping[Any, Any]]:
    """Return the state dicts inside a dict, by their keys; those inside of others have both keys, with a dot."""
    found: dict[str, Mapping[Any, Any]] = {}
    for key, value in content.items():
        # An optimiser's state is under numbers.
        if not isinstance(key, str) or not isinstance(value, Mapping) or not value:
            continue
        if all(isinstance(each, str) for each in value) and _is_state_dict(value):
            found[key] = value
        elif depth > 1:
            found |= {f"{key}.{inner}": each for inner, each in _state_dicts(value, depth - 1).items()}
    return found


def _the_one(name: str, found: Mapping[str, Mapping[Any, Any]]) -> str:
    """Return the key of the only state dict, or of the one that is called so."""
    if len(found) > 1 and _STATE_DICT not in found:
        example = next(iter(found))
        raise CheckpointError(
            f"{name} holds several state dicts ({_some(list(found))}): name one, as {name}:{example}, or save it alone"
        )
    return _STATE_DICT if _STATE_DICT in found else next(iter(found))


def _classes(name: str, content: object) -> ClassSet | None:
    if content is None:
        return None
    entries = list(content.items()) if isinstance(content, Mapping) else []
    for key, colour in entries:
        levels = colour if isinstance(colour, list) else []
        if not isinstance(key, str) or len(levels) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in levels):
            entries = []
            break
    if not entries:
        raise CheckpointError(f"{name}: its classes are no names with colours: train it again, or save it without them")
    return ClassSet(tuple(key for key, _ in entries), tuple((r, g, b) for _, (r, g, b) in entries))


def _clean(name: str, content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        kind = f"{'an empty ' if isinstance(content, Mapping) else ''}{type(content).__name__}"
        raise CheckpointError(f"{name} holds no state dict but {kind}: save model.state_dict()")
    if not _is_state_dict(content) and any(isinstance(value, Mapping) for value in content.values()):
        keys = _some([str(key)[:40] for key in content])
        raise CheckpointError(f"{name} holds no state dict under any of its keys ({keys}): save model.state_dict()")
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        stripped = _unwrapped(str(key))
        if stripped == _AVERAGED:
            continue
        if len(stripped) > _LONGEST_KEY or not stripped.isprintable():
            raise CheckpointError(f"{name}: {stripped[:40]!r}… is no parameter's name: save a state dict")
        if stripped in tensors:
            prefixes = " or ".join(map(repr, _WRAPPERS))
            raise CheckpointError(f"{name} has {stripped} twice, with and without {prefixes}: keep one")
        tensors[stripped] = _tensor(name, stripped, value)
    return tensors


def _unwrapped(key: str) -> str:
    """Return a parameter's name without what wrappers put in front; compiled parts have it further inside, too."""
    while prefix := next((each for each in _WRAPPERS if key.startswith(each)), None):
        key = key.removeprefix(prefix)
    return key.replace("._orig_mod.", ".")


def _tensor(name: str, key: str, value: object) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        value = torch.from_numpy(value)
    if not isinstance(value, Tensor) or value.dtype not in _DTYPES or value.layout != torch.strided:
        kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{name}: {key} is {kind}, not numbers: save model.state_dict() alone")
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.float()
    if not value.isfinite().all():
        raise CheckpointError(f"{name}: {key} has values that are NaN or infinite: use an earlier checkpoint")
    return value


def _layout(family: Family, fused: bool) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = family.build_ar() if fused else family.build_hr()
    return {key: value.shape for key, value in cast(nn.Module, network).state_dict().items()}


def _named_as_in(layout: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the network's names, which may differ in wrappers' prefixes in front."""
    bare = {_OWN_WRAPPER.sub("", key): key for key in layout}
    found = {_OWN_WRAPPER.sub("", key): value for key, value in tensors.items()}
    if len(bare) < len(layout) or len(found) < len(tensors):  # then prefixes tell parameters apart
        return dict(tensors)
    return {bare.get(key, key): value for key, value in found.items()}


def completed(
    family: Family, layout: Mapping[str, torch.Size], tensors: Mapping[str, Tensor], fused: bool
) -> dict[str, Tensor]:
    """Return the tensors under all the names that the family's network, of that layout, has for them.

    Args:
        family: says which names mean the same.
        layout: the shapes of the network's state dict.
        tensors: by name, maybe with wrappers' prefixes.
        fused: whether it is the network for LR frames.
    """
    named = _named_as_in(layout, tensors)
    completed = {key: value for key, value in named.items() if fused or not key.startswith(family.unused_in_hr)}
    for one, other in family.same_weights:
        for there, missing in ((one, other), (other, one)):
            for key in [key for key in completed if key.startswith(there)]:
                completed.setdefault(missing + key.removeprefix(there), completed[key])
    return completed


@dataclass(frozen=True)
class _Mismatch:
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def __str__(self) -> str:
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshapen),
        )
        return ", ".join(f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in kinds if keys)


def _some(keys: list[str]) -> str:
    rest = ", …" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + rest


def _mismatch(family: Family, checkpoint: Checkpoint, fused: bool) -> _Mismatch:
    wanted = _layout(family, fused)
    found = {key: value.shape for key, value in completed(family, wanted, checkpoint.tensors, fused).items()}
    return _Mismatch(
        missing=[key for key in wanted if key not in found],
        unexpected=[key for key in found if key not in wanted],
        misshapen=[
            f"{key} {tuple(found[key])} for {tuple(shape)}"
            for key, shape in wanted.items()
            if key in found and found[key] != shape
        ],
    )


def family_of(family: str | Family | None, hr: Checkpoint, ar: Checkpoint | None) -> Family:
    """Return the family of two checkpoints: a name's, or recognised where it is None; one handed in is checked.

    ``ar`` is None where there is no more than the HR checkpoint.

    A family that takes the classes of its data is returned for those that the checkpoints name.

    Raises ``CheckpointError`` for files that were trained for different classes, and as ``recognise_family`` and
    ``find_family`` do.
    """
    if hr.classes is not None and ar is not None and ar.classes is not None and hr.classes.names != ar.classes.names:
        ours, theirs = (", ".join(each.names) for each in (hr.classes, ar.classes))
        raise CheckpointError(
            f"{hr.name} was trained for the classes {ours}, {ar.name} for {theirs}: give an LR checkpoint "
            "whose teacher was this HR checkpoint"
        )
    if family is None:
        return recognise_family(hr, ar)
    found = find_family(family)
    return _for_classes_of(found, hr, ar) if isinstance(family, str) else found


def _for_classes_of(family: Family, hr: Checkpoint, ar: Checkpoint | None) -> Family:
    classes = hr.classes or (ar.classes if ar else None)
    return family if classes is None or family.for_classes is None else family.for_classes(classes)


def recognise_family(hr: Checkpoint, ar: Checkpoint | None) -> Family:
    """Return the registered family that the checkpoints fit, by the names and shapes of their tensors.

    Raises ``CheckpointError`` when none does, with how they differ from the nearest, or when several do.
    """
    candidates = [_for_classes_of(family, hr, ar) for family in families()]
    nothing = _Mismatch([], [], [])
    known = [
        (family, _mismatch(family, hr, False), _mismatch(family, ar, True) if ar else nothing) for family in candidates
    ]
    fitting = [family for family, of_hr, of_ar in known if not of_hr and not of_ar]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(family.name for family in fitting)
        files = f"{hr.name} and {ar.name} fit" if ar else f"{hr.name} fits"
        raise CheckpointError(f"{files} several families: name one of {names}")
    if ar and any(not _mismatch(family, ar, False) and not _mismatch(family, hr, True) for family in candidates):
        raise CheckpointError(f"{hr.name} and {ar.name} are swapped: give the one without fusion as HR")
    nearest, of_hr, of_ar = min(known, key=lambda entry: len(entry[1]) + len(entry[2]))
    details = "; ".join(f"{file.name} has {found}" for file, found in ((hr, of_hr), (ar, of_ar)) if file and found)
    remedy = "give two files of one family" if ar else "give a known family's, or name your own family"
    raise CheckpointError(f"no known family fits; for {nearest.name}, the nearest, {details}: {remedy}")


def load_hr(family: Family, checkpoint: Checkpoint) -> SegmentationNetwork:
    """Return the family's network for keyframes with these weights, float32, in evaluation mode.

    Raises ``CheckpointError`` naming what is missing, unexpected, or of another shape.
    """
    return _load(family, checkpoint, family.build_hr(), fused=False)


def load_ar(family: Family, checkpoint: Checkpoint) -> FusionNetwork:
    """Return the family's network for LR frames, with its fusion and these weights, float32, in evaluation mode."""
    return cast(FusionNetwork, _load(family, checkpoint, family.build_ar(), fused=True))


def _load(family: Family, checkpoint: Checkpoint, network: SegmentationNetwork, *, fused: bool) -> SegmentationNetwork:
    mismatch = _mismatch(family, checkpoint, fused)
    if mismatch:
        role = "AR (low resolution with fusion)" if fused else "HR (keyframe)"
        raise CheckpointError(
            f"{checkpoint.name} does not fit {family.name}: {mismatch}: give this family's {role} checkpoint"
        )
    module = cast(nn.Module, network)
    # Where a layer has two names and their weights differ, the name that the network registers last counts,
    # as with PyTorch's own loading.
    layout = {key: value.shape for key, value in module.state_dict().items()}
    module.load_state_dict(completed(family, layout, checkpoint.tensors, fused))
    return network
