"""What the settings of training take and mean; their names and defaults are in ``settings.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arseg_edge.training.values import (
    FLAG,
    PATH,
    RATE,
    SIZE,
    SOURCE,
    TEXT,
    VIDEOS,
    Kind,
    choice,
    choice_or_path,
    number,
    optional,
    several,
    whole,
)


@dataclass(frozen=True)
class Setting:
    """What is to be known of a setting beside its value."""

    kind: Kind
    help: str
    matters: bool = True
    """Whether what comes out depends on it."""


SETTINGS: Final[Mapping[str, Setting]] = {
    "family": Setting(TEXT, "The model family, or package.module:attribute; edge takes the data set's own classes."),
    # Data.
    "data": Setting(several(SOURCE), "A data set to train on; repeat it for several."),
    "exclude": Setting(several(TEXT), "Leave sequences or videos out, by name or regular expression; repeatable."),
    "hold_out": Setting(
        optional(whole(2), "auto"),
        "Hold out every N-th sequence of the first data set, or video, for validation; auto: 10.",
    ),
    "hold_together": Setting(
        whole(1), "That many neighbours count as one of them: stills of one drive keep neighbours that are held out."
    ),
    "validation": Setting(optional(SOURCE, "none"), "Validate on this data set, and hold nothing out."),
    "validation_variants": Setting(whole(1), "Pairs of each labelled frame in validation."),
    # Pairs of a keyframe and a labelled frame.
    "codec": Setting(TEXT, "Encoder of FFmpeg's."),
    "bitrate": Setting(whole(1000), "Bits a second."),
    "frame_rate": Setting(RATE, "Frames a second, which with the bit rate gives bits a frame."),
    "interval": Setting(whole(2), "Keyframe interval; the keyframe is at most N - 1 frames back."),
    "variants": Setting(
        several(whole(1)), "Pairs of each labelled frame, or stretch of a video; repeat it for one for each data set."
    ),
    "distance": Setting(optional(whole(1), "random"), "Frames to the keyframe in training; validation draws it."),
    # Augmentation.
    "crop": Setting(SIZE, "What training sees of an augmented frame."),
    "zoom_out": Setting(number(0, above=True), "Smallest scale of augmentation."),
    "zoom_in": Setting(number(0, above=True), "Largest scale of augmentation."),
    "rotation": Setting(number(0, 180), "Degrees at most, to either side."),
    "flip": Setting(FLAG, "Mirror every second frame, left to right."),
    "colour": Setting(number(0, 1), "Share by which brightness, contrast, saturation and gamma change."),
    # The loss.
    "loss_stride": Setting(
        optional(whole(1), "auto"),
        "The loss looks at every N-th pixel in each direction; auto: 2 if the family allows.",
    ),
    "hard_examples": Setting(
        optional(number(0, 1, above=True), "none"), "Count only pixels less sure of their class than this."
    ),
    "region": Setting(number(0), "Weight of the loss of regions (soft IoU)."),
    "auxiliary": Setting(number(0), "Weight of the loss of each auxiliary head, of families with such."),
    # The loop.
    "epochs": Setting(
        whole(1), "An epoch has as many steps as it takes to see each labelled frame, or stretch of a video, once."
    ),
    "batch_size": Setting(whole(2), "Frames a step."),
    "optimiser": Setting(choice("adam", "adamw", "sgd"), "sgd: momentum 0.9."),
    "learning_rate": Setting(number(0, above=True), "At its highest; it falls to 0 along a cosine."),
    "weight_decay": Setting(number(0), "Of the weights of convolutions."),
    "warm_up": Setting(whole(0), "Steps in which the learning rate rises to its highest."),
    "average": Setting(number(0, 0.99999), "Decay of the running average of the weights; 0 for none."),
    "precision": Setting(choice("auto", "float32", "bfloat16"), "Of convolutions; auto: bfloat16 on CUDA alone."),
    "validate_every": Setting(whole(1), "Epochs between validations; one always follows the last epoch."),
    "seed": Setting(whole(0, 2**31 - 1), "On one machine, with as many threads, the same seed: the same bits."),
    # The machine.
    "save_every": Setting(whole(1), "Steps between saves, and so at most lost when killed.", matters=False),
    "device": Setting(choice("auto", "cpu", "cuda"), "Where to train; auto: CUDA if it is there.", matters=False),
    "threads": Setting(optional(whole(1), "auto"), "Of PyTorch on the CPU.", matters=False),
    "processes": Setting(optional(whole(1), "auto"), "That make pairs; auto: the usable cores.", matters=False),
    "cache": Setting(optional(PATH, "auto"), "Folder for pairs; auto: pairs/ beside the output.", matters=False),
    # LR alone.
    "videos": Setting(
        several(VIDEOS), "A video without labels, or a folder of them, to learn from as HR sees it; repeatable."
    ),
    "stretches": Setting(
        whole(1), "At most so many stretches, from one keyframe to the next, of each video, drawn evenly over it."
    ),
    "hr": Setting(optional(PATH, "none"), "The teacher: an HR checkpoint, or a bundle, whose HR network it is."),
    "soft_labels": Setting(
        number(0), "Weight of the cross entropy to HR's probabilities, on the frames of videos without labels."
    ),
    "scale": Setting(number(0.3, 0.9), "Of the LR image to the frame."),
    "fusion_from": Setting(whole(0), "Epochs at the beginning without fusion."),
    "similarity": Setting(number(0), "Weight of the mean squared error to the HR feature."),
    "fusion": Setting(choice("attention", "sum"), "sum, for ablation: the warped feature is added as it is."),
    "motion": Setting(FLAG, "Off, for ablation: all displacements are zero."),
    "start": Setting(
        choice_or_path("teacher", "scratch"),
        "From the HR weights, from random ones, or from those of an LR checkpoint or of a bundle.",
    ),
}
