"""The way from phantoms to a trained checkpoint, through nnU-Net's own steps."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from nephra_phantom.bundles.dataset import write_raw
from nephra_phantom.bundles.plans import CONFIGURATION, PLANS_NAME, write_plans
from nephra_phantom.bundles.real_ct import RealCt
from nephra_phantom.bundles.tasks import VALIDATION_SEEDS, Task


def set_folders(work: Path) -> None:
    """Tell nnU-Net where to work; it reads these when it is first imported."""
    for name in ("raw", "preprocessed", "results"):
        folder = work / f"nnUNet_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder)
    os.environ.setdefault("nnUNet_n_proc_DA", "0")


def prepare(task: Task, work: Path, real: RealCt | None, processes: int) -> None:
    """Raw data set, fingerprint, plans, preprocessing and split; skipped where already done."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        preprocess_dataset,
    )

    split = work / "nnUNet_preprocessed" / task.dataset_name / "splits_final.json"
    if split.exists():
        return
    description = work / "nnUNet_raw" / task.dataset_name / "dataset.json"
    if not description.exists():
        write_raw(task, work / "nnUNet_raw", real, processes)
    held_out = [f"seed{seed}" for seed in VALIDATION_SEEDS]
    extract_fingerprints([task.dataset_id], num_processes=processes, clean=False, verbose=False)
    write_plans(task, work / "nnUNet_preprocessed")
    shutil.copyfile(description, split.parent / "dataset.json")
    preprocess_dataset(
        task.dataset_id,
        plans_identifier=PLANS_NAME,
        configurations=(CONFIGURATION,),
        num_processes=(processes,),
        verbose=False,
    )
    names = sorted(
        path.name.removesuffix(".nii.gz")
        for path in (work / "nnUNet_raw" / task.dataset_name / "labelsTr").glob("*.nii.gz")
    )
    learned = [name for name in names if name not in held_out]
    split.write_text(json.dumps([{"train": learned, "val": held_out}], indent=2))


def train(task: Task, work: Path, limit_s: float, threads: int) -> Path:
    """Train for ``limit_s`` seconds; returns the folder with plans, description and fold_0.

    A training that was broken off goes on from its latest checkpoint.
    """
    import torch

    from nephra_phantom.bundles.trainer import CpuTrainer

    torch.set_num_threads(threads)
    torch.manual_seed(task.dataset_id)
    folder = work / "nnUNet_preprocessed" / task.dataset_name
    plans = json.loads((folder / f"{PLANS_NAME}.json").read_text())
    latest = trained_folder(task, work) / "fold_0" / "checkpoint_latest.pth"
    plans["continue_training"] = latest.exists()
    description = json.loads((folder / "dataset.json").read_text())
    trainer = CpuTrainer(plans, CONFIGURATION, 0, description, torch.device("cpu"))
    trainer.limit_s = limit_s
    if latest.exists():
        trainer.load_checkpoint(str(latest))
    trainer.run_training()
    return Path(trainer.output_folder_base)


def trained_folder(task: Task, work: Path) -> Path:
    """Where ``train`` leaves its result."""
    return (
        work / "nnUNet_results" / task.dataset_name / f"CpuTrainer__{PLANS_NAME}__{CONFIGURATION}"
    )
