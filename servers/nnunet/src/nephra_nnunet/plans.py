"""What `plans.json` and `dataset.json` ask of inference, checked and in plain types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.architecture import Triple

Scheme = Literal[
    "CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization", "NoNormalization"
]
_TRAINING_FOLDER = "Take the file from the folder that nnUNetv2_train left."


@dataclass(frozen=True)
class Normalisation:
    """How one channel's intensities are brought to the range that training saw.

    Args:
        scheme: nnU-Net's name of it.
        mean, std, low, high: of the training set's foreground, in HU; only CT uses them.
        in_mask: statistics and values within the non-zero region only (z-score).
    """

    scheme: Scheme
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0
    in_mask: bool = False


@dataclass(frozen=True)
class Resampling:
    """How arrays are brought to another spacing.

    Args:
        order: of the spline.
        order_z: across the coarse axis, where that is resampled apart.
        apart: whether to resample the coarse axis apart; None lets the spacing decide.
    """

    order: int
    order_z: int
    apart: bool | None


@dataclass(frozen=True)
class Plans:
    """One configuration of the plans.

    Args:
        configuration: its name.
        patch: tile in voxels, after transposition.
        spacing_mm: of the network's input, after transposition.
        transpose: order of the reader's axes that the network takes.
        normalisation: per channel.
        image_resampling, logits_resampling: how to get to `spacing_mm`, and back.
        reorients: whether training brought every image to RAS+ first.
        network: the configuration as it stands in the file.
    """

    configuration: str
    patch: Triple
    spacing_mm: tuple[float, float, float]
    transpose: Triple
    normalisation: tuple[Normalisation, ...]
    image_resampling: Resampling
    logits_resampling: Resampling
    reorients: bool
    network: Mapping[str, Any]


@dataclass(frozen=True)
class Heads:
    """What the network's outputs mean.

    Args:
        names: of each output.
        numbers: the dataset's own number that each output writes.
        regions: outputs are overlapping regions, each written where its logit is positive, the
            later over the earlier; else the largest output wins, and the first is background.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    regions: bool


def read_plans(plans: Mapping[str, Any], configuration: str, channels: int) -> Plans:
    """Read one configuration of `plans.json`.

    Raises:
        BundleInvalid: it is not there, is no single 3D stage, or asks for an unknown step.
    """
    found = _inherit(plans, configuration)
    _check_stage(found, configuration)
    patch = found["patch_size"]
    spacing = found["spacing"]
    transpose = plans.get("transpose_forward", [0, 1, 2])
    if sorted(transpose) != [0, 1, 2] or len(spacing) != 3:
        raise BundleInvalid("The plans do not describe three axes.", _TRAINING_FOLDER)
    return Plans(
        configuration=configuration,
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        transpose=(int(transpose[0]), int(transpose[1]), int(transpose[2])),
        normalisation=_normalisations(plans, found, channels),
        image_resampling=_resampling(found, "data", 3),
        logits_resampling=_resampling(found, "probabilities", 1),
        reorients=plans.get("image_reader_writer") == "NibabelIOWithReorient",
        network=found,
    )


def read_heads(dataset: Mapping[str, Any]) -> Heads:
    """Read the outputs from `dataset.json`.

    Raises:
        BundleInvalid: no background, numbers with gaps, or regions without an order.
    """
    labels = {str(k): v for k, v in dict(dataset.get("labels", {})).items() if k != "ignore"}
    if labels.get("background") != 0:
        raise BundleInvalid("dataset.json declares no label 'background': 0.", _TRAINING_FOLDER)
    if any(isinstance(v, (list, tuple)) and len(v) > 1 for v in labels.values()):
        return _regions(labels, dataset.get("regions_class_order"))
    by_number = sorted((int(v[0] if isinstance(v, list) else v), k) for k, v in labels.items())
    numbers = tuple(number for number, _ in by_number)
    if numbers != tuple(range(len(numbers))):
        raise BundleInvalid(
            f"dataset.json numbers its labels {list(numbers)}; they must run from 0 without gaps.",
            _TRAINING_FOLDER,
        )
    return Heads(tuple(name for _, name in by_number), numbers, regions=False)


def channel_count(dataset: Mapping[str, Any]) -> int:
    """How many channels `dataset.json` declares.

    Raises:
        BundleInvalid: none.
    """
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if not channels:
        raise BundleInvalid("dataset.json declares no channels.", _TRAINING_FOLDER)
    return len(channels)


def _regions(labels: Mapping[str, Any], order: Any) -> Heads:
    names = tuple(name for name in labels if name != "background")
    if not isinstance(order, list) or len(order) != len(names):
        raise BundleInvalid(
            "dataset.json has regions, but 'regions_class_order' does not list one number each.",
            _TRAINING_FOLDER,
        )
    return Heads(names, tuple(int(n) for n in order), regions=True)


def _inherit(plans: Mapping[str, Any], name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    configurations = plans.get("configurations", {})
    if name not in configurations or name in seen:
        raise BundleInvalid(
            f"The plans hold no usable configuration '{name}'; "
            f"they hold: {', '.join(configurations) or 'none'}.",
            "Take plans.json and checkpoint from one and the same training.",
        )
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    return {**_inherit(plans, parent, (*seen, name)), **own} if parent else own


def _check_stage(configuration: Mapping[str, Any], name: str) -> None:
    if configuration.get("previous_stage"):
        raise BundleInvalid(
            f"The configuration '{name}' is the second stage of a cascade; cascades are not "
            "supported.",
            "Use a single-stage configuration such as 3d_fullres.",
        )
    if len(configuration.get("patch_size", ())) != 3:
        raise BundleInvalid(
            f"The configuration '{name}' is not 3D; 2D networks are not supported.",
            "Use a 3D configuration such as 3d_fullres.",
        )
    preprocessor = configuration.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise BundleInvalid(
            f"The plans ask for the preprocessor '{preprocessor}', which is not known.",
            "Only nnU-Net's DefaultPreprocessor is supported.",
        )


def _normalisations(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: int
) -> tuple[Normalisation, ...]:
    schemes = configuration.get("normalization_schemes", ())
    masked = configuration.get("use_mask_for_norm") or [False] * channels
    unknown = sorted(set(schemes) - set(get_args(Scheme)))
    if unknown or len(schemes) != channels:
        raise BundleInvalid(
            f"The plans ask for the normalisation {', '.join(unknown) or 'of other channels'}; "
            f"known are {', '.join(get_args(Scheme))}, one per channel.",
            "Train with one of the known schemes.",
        )
    fingerprint = plans.get("foreground_intensity_properties_per_channel") or plans.get(
        "foreground_intensity_properties_by_modality", {}
    )
    return tuple(
        _normalisation(scheme, fingerprint.get(str(n)), bool(masked[n]))
        for n, scheme in enumerate(schemes)
    )


def _normalisation(
    scheme: Scheme, fingerprint: Mapping[str, float] | None, masked: bool
) -> Normalisation:
    if scheme != "CTNormalization":
        return Normalisation(scheme, in_mask=masked and scheme == "ZScoreNormalization")
    if not fingerprint:
        raise BundleInvalid(
            "The plans ask for CT normalisation, but hold no intensities of the training set.",
            _TRAINING_FOLDER,
        )
    return Normalisation(
        scheme,
        mean=float(fingerprint["mean"]),
        std=float(fingerprint["std"]),
        low=float(fingerprint["percentile_00_5"]),
        high=float(fingerprint["percentile_99_5"]),
    )


def _resampling(configuration: Mapping[str, Any], kind: str, order: int) -> Resampling:
    name = configuration.get(f"resampling_fn_{kind}", "resample_data_or_seg_to_shape")
    if name != "resample_data_or_seg_to_shape":
        raise BundleInvalid(
            f"The plans ask for the resampling '{name}', which is not known.",
            "Only nnU-Net's resample_data_or_seg_to_shape is supported.",
        )
    keywords = configuration.get(f"resampling_fn_{kind}_kwargs") or {}
    return Resampling(
        order=int(keywords.get("order", order)),
        order_z=int(keywords.get("order_z", 0)),
        apart=keywords.get("force_separate_z"),
    )
