"""Build the command line of a training, by base model family.

Every option is one that the trainer of that family has, as recorded in
recorded/kohya/args_*_network.json; a test compares them. The family's rules are those of
docs/protocols/kohya.md, "Trainers and presets". Why plain python and not `accelerate launch`:
docs/decisions/0002-plain-python-for-sd-scripts.md.
"""

from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.core.lora_training import BaseModelFamily, LoraConfig
from influencerai_dagster.errors import PermanentError

TRAINER_SCRIPTS = {
    BaseModelFamily.SD15: "train_network.py",
    BaseModelFamily.SDXL: "sdxl_train_network.py",
    BaseModelFamily.FLUX: "flux_train_network.py",
}
_NETWORK_MODULES = {
    BaseModelFamily.SD15: "networks.lora",
    BaseModelFamily.SDXL: "networks.lora",
    BaseModelFamily.FLUX: "networks.lora_flux",
}


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """One training to run; every path is on this machine.

    Attributes:
        sd_scripts_dir: a checkout of kohya-ss/sd-scripts.
        python: the interpreter that has its requirements.
        base_model_path: the checkpoint that `config.base_model` names.
        image_dir: this training's own copy of images and captions, nothing else in it.
        work_dir: for everything that the training writes; created if missing.
        output_name: name of the weights without its ending.
        tokenizer_cache_dir: tokenizers fetched before, for machines without internet.
        sample_prompts: what to draw at every `config.sample_every_n_steps`.
        clip_l_path: FLUX only, as are t5xxl_path and ae_path.
        time_limit_seconds: stop the training after so long; None for no limit.
        extra_variables: names of further environment variables to pass on.
    """

    sd_scripts_dir: Path
    python: Path
    config: LoraConfig
    base_model_path: Path
    image_dir: Path
    work_dir: Path
    output_name: str
    tokenizer_cache_dir: Path | None = None
    sample_prompts: tuple[str, ...] = ()
    clip_l_path: Path | None = None
    t5xxl_path: Path | None = None
    ae_path: Path | None = None
    time_limit_seconds: float | None = None
    extra_variables: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The trainer of the base model's family."""
        return TRAINER_SCRIPTS[self.config.base_model_family]

    @property
    def output_dir(self) -> Path:
        """Where kohya writes weights and sample images."""
        return self.work_dir / "output"

    @property
    def weights_path(self) -> Path:
        """Where kohya writes the final weights."""
        return self.output_dir / f"{self.output_name}.safetensors"

    @property
    def dataset_config_path(self) -> Path:
        """The dataset TOML."""
        return self.work_dir / "dataset.toml"

    @property
    def sample_prompts_path(self) -> Path:
        """The sample prompts."""
        return self.work_dir / "sample_prompts.txt"

    @property
    def log_path(self) -> Path:
        """The output of the trainer."""
        return self.work_dir / "train.log"

    @property
    def has_samples(self) -> bool:
        """Whether sample images are drawn while it trains."""
        return bool(self.sample_prompts) and self.config.sample_every_n_steps is not None


def training_command(training: TrainingSpec) -> list[str]:
    """Return the command that trains, to be run in the sd-scripts folder.

    Raises:
        PermanentError: the parameters contradict each other or the family.
    """
    check_config(training.config)
    config = training.config
    options: dict[str, object] = {
        "pretrained_model_name_or_path": training.base_model_path,
        "dataset_config": training.dataset_config_path,
        "output_dir": training.output_dir,
        "output_name": training.output_name,
        "save_model_as": "safetensors",
        "save_precision": "float" if config.mixed_precision == "no" else config.mixed_precision,
        "save_every_n_steps": config.save_every_n_steps,
        "tokenizer_cache_dir": training.tokenizer_cache_dir,
        "network_module": _NETWORK_MODULES[config.base_model_family],
        "network_dim": config.network_dim,
        "network_alpha": config.network_alpha,
        "network_train_unet_only": config.network_train_unet_only,
        "learning_rate": config.learning_rate,
        "unet_lr": config.unet_lr,
        "text_encoder_lr": None if config.network_train_unet_only else config.text_encoder_lr,
        "optimizer_type": config.optimizer_type,
        "lr_scheduler": config.lr_scheduler,
        "max_train_steps": config.max_train_steps,
        "mixed_precision": config.mixed_precision,
        "gradient_checkpointing": config.gradient_checkpointing,
        "fp8_base": config.fp8_base,
        "clip_skip": config.clip_skip,
        "seed": config.seed,
        "sdpa": True,
        # In memory, not on disk: kohya never notices that an image changed under its .npz.
        "cache_latents": True,
        # Latents are in memory, so workers would only cost /dev/shm, which containers keep small.
        "max_data_loader_n_workers": 0,
        **_family_options(training),
    }
    if training.has_samples:
        options["sample_every_n_steps"] = config.sample_every_n_steps
        options["sample_prompts"] = training.sample_prompts_path
    return [program_path(training.python), training.script, *_arguments(options)]


def program_path(program: Path) -> str:
    """Return a program's path for use in another folder; a bare name is left to PATH.

    Links stay: the Python of a venv is one.
    """
    return str(program) if len(program.parts) == 1 else str(program.absolute())


def check_config(config: LoraConfig) -> None:
    """Refuse parameters that kohya would reject late, or ignore.

    Raises:
        PermanentError: naming the parameter and what to do.
    """
    family = config.base_model_family
    problems = []
    if config.cache_text_encoder_outputs and family is BaseModelFamily.SD15:
        problems.append("cache_text_encoder_outputs does not exist for sd15: set it to false")
    if (
        family is BaseModelFamily.SDXL
        and config.cache_text_encoder_outputs
        and not config.network_train_unet_only
    ):
        problems.append("cache_text_encoder_outputs needs network_train_unet_only: set both")
    if config.blocks_to_swap and family is not BaseModelFamily.FLUX:
        problems.append("blocks_to_swap exists for flux only: leave it out")
    if config.clip_skip is not None and family is not BaseModelFamily.SD15:
        problems.append("clip_skip is for sd15 only: leave it out")
    if problems:
        text = f"The training parameters do not fit the base model family {family}: "
        raise PermanentError(text + "; ".join(problems))


def _family_options(training: TrainingSpec) -> dict[str, object]:
    config = training.config
    if config.base_model_family is BaseModelFamily.SD15:
        return {}
    options: dict[str, object] = {"cache_text_encoder_outputs": config.cache_text_encoder_outputs}
    if config.base_model_family is BaseModelFamily.SDXL:
        # The SDXL VAE overflows in 16 bit and gives NaN latents.
        return {**options, "no_half_vae": True}
    return {
        **options,
        "clip_l": training.clip_l_path,
        "t5xxl": training.t5xxl_path,
        "ae": training.ae_path,
        # As kohya's flux_train_network.md has them for FLUX.1 dev.
        "guidance_scale": 1.0,
        "model_prediction_type": "raw",
        "timestep_sampling": "shift",
        "discrete_flow_shift": 3.1582,
        "blocks_to_swap": config.blocks_to_swap or None,
    }


def _arguments(options: dict[str, object]) -> list[str]:
    arguments = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        shown = value.absolute() if isinstance(value, Path) else value
        arguments.append(f"--{name}" if value is True else f"--{name}={shown}")
    return arguments
