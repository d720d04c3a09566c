"""What `plans.json` and `dataset.json` ask of inference, checked and in plain types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.architecture import Triple
from nephra_nnunet.documents import TRAINING_FOLDER, understood

Scheme = Literal[
    "CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization", "NoNormalization"
]
#: nnU-Net's readers of medical volumes → whether they turn images to RAS+.
_READERS: Mapping[str, bool] = {
    "SimpleITKIO": False,
    "SimpleITKIOWithReorient": True,
    "NibabelIO": False,
    "NibabelIOWithReorient": True,
}
_RESAMPLING = "resample_data_or_seg_to_shape"
#: nnU-Net's threshold for a coarse axis; plans may name it, but only as it is.
_ANISOTROPY = 3


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
    with understood("plans.json"):
        found = _inherit(plans, configuration)
        _check_stage(found, configuration)
        reorients = _read_reader(plans)
        patch = [int(n) for n in found["patch_size"]]
        spacing = [float(s) for s in found["spacing"]]
        transpose = [int(a) for a in plans.get("transpose_forward", (0, 1, 2))]
        _check_axes(patch, spacing, transpose)
        return Plans(
            configuration=configuration,
            patch=(patch[0], patch[1], patch[2]),
            spacing_mm=(spacing[0], spacing[1], spacing[2]),
            transpose=(transpose[0], transpose[1], transpose[2]),
            normalisation=_normalisations(plans, found, channels),
            image_resampling=_resampling(found, "data", range(6)),
            # The labels' export interpolates linearly or by the nearest only.
            logits_resampling=_resampling(found, "probabilities", range(2)),
            reorients=reorients,
            network=found,
        )


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
    _check_preprocessor(configuration)


def _check_preprocessor(configuration: Mapping[str, Any]) -> None:
    preprocessor = configuration.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise BundleInvalid(
            f"The plans ask for the preprocessor '{preprocessor}', which is not known.",
            "Only nnU-Net's DefaultPreprocessor is supported.",
        )


def _read_reader(plans: Mapping[str, Any]) -> bool:
    """Whether training turned images to RAS+, which its reader says."""
    manager = plans.get("label_manager", "LabelManager")
    if manager != "LabelManager":
        raise BundleInvalid(
            f"The plans ask for the label manager '{manager}', which is not known.",
            "Only nnU-Net's LabelManager is supported.",
        )
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    if reader not in _READERS:
        raise BundleInvalid(
            f"The plans name the image reader '{reader}'; how it lays out a CT's axes is not "
            f"known. Known are {', '.join(_READERS)}.",
            "Train with one of those readers.",
        )
    return _READERS[reader]


def _check_axes(patch: Sequence[int], spacing: Sequence[float], transpose: Sequence[int]) -> None:
    if sorted(transpose) != [0, 1, 2] or len(spacing) != 3:
        raise BundleInvalid("The plans do not describe three axes.", TRAINING_FOLDER)
    if min(patch) < 1 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise BundleInvalid(
            f"The plans give the patch {list(patch)} and the spacing {list(spacing)} mm, "
            "which are not all positive.",
            TRAINING_FOLDER,
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
            TRAINING_FOLDER,
        )
    names = ("mean", "std", "percentile_00_5", "percentile_99_5")
    mean, std, low, high = (float(fingerprint[name]) for name in names)
    if not all(math.isfinite(n) for n in (mean, std, low, high)) or low > high:
        raise BundleInvalid(
            "The plans' intensities of the training set are not numbers.", TRAINING_FOLDER
        )
    return Normalisation(scheme, mean=mean, std=std, low=low, high=high)


def _resampling(configuration: Mapping[str, Any], kind: str, orders: range) -> Resampling:
    """Read one resampling; what is left out has the default of nnU-Net's own function."""
    name = configuration.get(f"resampling_fn_{kind}", _RESAMPLING)
    if name != _RESAMPLING:
        raise BundleInvalid(
            f"The plans ask for the resampling '{name}', which is not known.",
            f"Only nnU-Net's {_RESAMPLING} is supported.",
        )
    keywords = dict(configuration[f"resampling_fn_{kind}_kwargs"])
    found = Resampling(
        order=int(keywords.pop("order", 3)),
        order_z=int(keywords.pop("order_z", 0)),
        apart=keywords.pop("force_separate_z", False),
    )
    as_expected = {"is_seg": False, "separate_z_anisotropy_threshold": _ANISOTROPY}
    strange = [k for k, v in keywords.items() if k not in as_expected or v != as_expected[k]]
    if strange or found.apart not in (None, True, False):
        raise BundleInvalid(
            f"The plans ask for {', '.join(strange) or 'force_separate_z'} in the resampling of "
            f"{kind}, which is not known.",
            "Use the resampling that nnU-Net plans by itself.",
        )
    if found.order not in orders or found.order_z not in orders:
        raise BundleInvalid(
            f"The plans resample {kind} with splines of order {found.order} (order_z "
            f"{found.order_z}); supported are orders {orders[0]} to {orders[-1]}.",
            "Set 'order' and 'order_z' of the plans to a supported order; nnU-Net's own are 3 for "
            "data and 1 for probabilities.",
        )
    return found
