"""nnU-Net's trainer, made to finish on two CPU cores: bf16, short epochs, a wall-clock limit."""

from __future__ import annotations

import time
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

TURN_RAD = 0.2


class CpuTrainer(nnUNetTrainer):  # type: ignore[misc]
    """Trains for ``limit_s`` of wall clock; the learning rate falls with the time used."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = 1e-2
        self.oversample_foreground_percent = 0.5
        self.num_iterations_per_epoch = 40
        self.num_val_iterations_per_epoch = 2
        self.num_epochs = 10_000
        self.save_every = 2
        self.limit_s = 600.0
        self._started = 0.0
        # A picture per epoch takes as long as a step.
        self.logger.plot_progress_png = lambda *_: None

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:  # noqa: N802
        """No mirroring: left and right of the body differ, and inference is to be one pass."""
        patch = self.configuration_manager.patch_size
        self.inference_allowed_mirroring_axes = None
        return (-TURN_RAD, TURN_RAD), False, [int(1.15 * n) for n in patch], ()

    @staticmethod
    def get_training_transforms(
        patch_size: Any,
        rotation_for_DA: Any,  # noqa: N803
        deep_supervision_scales: Any,
        *_: Any,
        **__: Any,
    ) -> BasicTransform:
        """A light set: the phantoms vary by themselves."""
        spatial = SpatialTransform(
            patch_size,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_elastic_deform=0,
            p_rotation=0.15,
            rotation=rotation_for_DA,
            p_scaling=0.2,
            scaling=(0.85, 1.2),
            p_synchronize_scaling_across_axes=0.5,
            bg_style_seg_sampling=False,
            border_mode_seg="constant",
            padding_value_seg=-1,
        )
        some = BGContrast((0.85, 1.18))
        steps = [
            spatial,
            RandomTransform(MultiplicativeBrightnessTransform(some, False, 1), 0.15),
            RandomTransform(ContrastTransform(some, True, False, 1), 0.15),
            RandomTransform(GammaTransform(BGContrast((0.8, 1.3)), 0, False, 1, 1), 0.15),
            RemoveLabelTansform(-1, 0),
        ]
        if deep_supervision_scales is not None:
            steps.append(DownsampleSegForDSTransform(ds_scales=deep_supervision_scales))
        return ComposeTransforms(steps)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step under bf16, which these CPUs multiply natively; the loss stays fp32."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.network(batch["data"])
        loss = self.loss([one.float() for one in outputs], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}

    def validation_step(self, batch: dict[str, Any]) -> Any:
        """nnU-Net's step under bf16 too."""
        with torch.autocast("cpu", torch.bfloat16):
            return super().validation_step(batch)

    def configure_optimizers(self) -> Any:
        """AdamW: within some hundred steps it gets further than momentum does."""
        optimizer = torch.optim.AdamW(self.network.parameters(), 3e-3, weight_decay=1e-3)
        share = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self._remaining() ** 0.9)
        return optimizer, _EpochStep(share)

    def _remaining(self) -> float:
        if not self._started:
            return 1.0
        return max(0.01, 1.0 - (time.monotonic() - self._started) / self.limit_s)

    def on_epoch_end(self) -> None:
        """Stop when the time is used up."""
        super().on_epoch_end()
        if time.monotonic() - self._started > self.limit_s:
            self.num_epochs = self.current_epoch

    def run_training(self) -> None:
        """nnU-Net's loop, ended by the clock instead of by a count."""
        self.on_train_start()
        self._started = time.monotonic()
        while self.current_epoch < self.num_epochs:
            self._epoch()
        self.on_train_end()

    def _epoch(self) -> None:
        self.on_epoch_start()
        self.on_train_epoch_start()
        batches = self.dataloader_train
        losses = [self.train_step(next(batches)) for _ in range(self.num_iterations_per_epoch)]
        self.on_train_epoch_end(losses)
        with torch.no_grad():
            self.on_validation_epoch_start()
            count = self.num_val_iterations_per_epoch
            results = [self.validation_step(next(self.dataloader_val)) for _ in range(count)]
            self.on_validation_epoch_end(results)
        self.on_epoch_end()

    def plot_network_architecture(self) -> None:
        """Not needed."""

    def _save_debug_information(self) -> None:
        """Not wanted: it names the machine."""


class _EpochStep:
    """A scheduler that takes nnU-Net's epoch argument."""

    def __init__(self, inner: torch.optim.lr_scheduler.LambdaLR) -> None:
        self._inner = inner

    def step(self, _: int) -> None:
        """Read the clock again."""
        self._inner.step()
