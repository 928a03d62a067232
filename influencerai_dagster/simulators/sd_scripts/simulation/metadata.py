"""Build the ss_ metadata of a LoRA, with the keys of recorded/kohya/meta_good_mylora.txt."""

import argparse
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from influencerai_dagster.simulators.sd_scripts.simulation.dataset import SimulatedDataset

_ARCHITECTURES = {
    "train_network": ("stable-diffusion-v1/lora", "sd_v1"),
    "sdxl_train_network": ("stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0"),
    "flux_train_network": ("flux-1-dev/lora", "flux1"),
}
_FROM_OPTIONS = """
adaptive_noise_scale cache_latents caption_dropout_every_n_epochs caption_dropout_rate
caption_tag_dropout_rate clip_skip face_crop_aug_range fp8_base fp8_base_unet full_fp16
gradient_accumulation_steps gradient_checkpointing huber_c huber_scale huber_schedule
ip_noise_gamma ip_noise_gamma_random_strength learning_rate loss_type lowram lr_scheduler
lr_warmup_steps max_grad_norm max_token_length max_train_steps max_validation_steps
min_snr_gamma mixed_precision multires_noise_discount multires_noise_iterations network_alpha
network_dim network_dropout network_module noise_offset noise_offset_random_strength
output_name prior_loss_weight resize_interpolation scale_weight_norms seed text_encoder_lr
training_comment unet_lr v2 validate_every_n_epochs validate_every_n_steps validation_seed
validation_split zero_terminal_snr
"""
_MAX_HASHED_BYTES = 64 * 1024**2


def lora_metadata(
    trainer: str,
    args: argparse.Namespace,
    dataset: SimulatedDataset,
    *,
    steps: int,
    started_at: float,
) -> dict[str, str]:
    """Return the metadata of a checkpoint after so many steps."""
    architecture, base_model_version = _ARCHITECTURES[trainer]
    batches = max(1, dataset.num_train_images // dataset.batch_size)
    base_model = Path(args.pretrained_model_name_or_path)
    tags = {subset.name: subset.tag_frequency for subset in dataset.subsets}
    folders = {
        subset.name: {"n_repeats": subset.num_repeats, "img_count": len(subset.captions)}
        for subset in dataset.subsets
    }
    digest = _hash(base_model)
    values: dict[str, object] = {
        **{f"ss_{name}": getattr(args, name) for name in _FROM_OPTIONS.split()},
        "modelspec.architecture": architecture,
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "modelspec.implementation": "diffusers",
        "modelspec.implementation_version": "sd-scripts/simulated",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "{}x{}".format(*dataset.resolution),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": args.output_name,
        "ss_base_model_version": base_model_version,
        "ss_debiased_estimation": args.debiased_estimation_loss,
        "ss_dataset_dirs": json.dumps(folders),
        "ss_datasets": json.dumps([asdict(dataset)]),
        "ss_epoch": -(-steps // batches),
        "ss_new_sd_model_hash": digest,
        "ss_num_batches_per_epoch": batches,
        "ss_num_epochs": -(-args.max_train_steps // batches),
        "ss_num_reg_images": 0,
        "ss_num_train_images": dataset.num_train_images,
        "ss_num_validation_images": 0,
        "ss_optimizer": args.optimizer_type,
        "ss_sd_model_hash": digest[:8],
        "ss_sd_model_name": base_model.name,
        "ss_sd_scripts_commit_hash": "(unknown)",
        "ss_session_id": 0,
        "ss_steps": steps,
        "ss_tag_frequency": json.dumps(tags),
        "ss_training_finished_at": time.time(),
        "ss_training_started_at": started_at,
        "simulated": "SIMULATED",
    }
    return {key: str(value) for key, value in values.items()}


def _hash(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _MAX_HASHED_BYTES:
        return ""  # a real checkpoint takes longer to hash than its training to simulate
    return hashlib.sha256(path.read_bytes()).hexdigest()
