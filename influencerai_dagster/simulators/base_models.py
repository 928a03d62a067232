"""Write tiny stand-ins for base models: `python -m … FOLDER`.

They have the tensor names and shapes that their family is known by.

ComfyUI and kohya tell SD1.5, SDXL, FLUX and SVD apart by such names; the numbers are zeros.
"""

import sys
from pathlib import Path
from typing import Literal

from influencerai_dagster.core.lora_training import PRESETS, BaseModelFamily
from influencerai_dagster.core.sampling import UpscaleSampling, VideoSampling
from influencerai_dagster.files import write_whole
from influencerai_dagster.simulators.comfyui.safetensors_header import write_placeholder
from influencerai_dagster.simulators.sd_scripts.simulation.weights import safetensors_bytes

_UNET = "model.diffusion_model"
_TENSORS: dict[str, dict[str, list[int]]] = {
    "sd15": {
        f"{_UNET}.input_blocks.0.0.weight": [320, 4, 3, 3],
        f"{_UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 768],
        f"{_UNET}.out.2.bias": [4],
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": [77, 768],
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": [768],
        "first_stage_model.decoder.conv_in.bias": [512],
    },
    "sdxl": {
        f"{_UNET}.input_blocks.0.0.weight": [320, 4, 3, 3],
        f"{_UNET}.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [640, 2048],
        f"{_UNET}.label_emb.0.0.bias": [1280],
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": [768],
        "conditioner.embedders.1.model.ln_final.weight": [1280],
        "conditioner.embedders.1.model.transformer.resblocks.9.ln_1.weight": [1280],
        "first_stage_model.decoder.conv_in.bias": [512],
    },
    "flux": {
        "double_blocks.0.img_attn.norm.key_norm.scale": [128],
        "double_blocks.0.img_attn.proj.bias": [3072],
        "double_blocks.0.txt_attn.proj.bias": [3072],
        "single_blocks.0.linear2.bias": [3072],
        "img_in.weight": [3072, 64],
        "guidance_in.in_layer.bias": [3072],
        "final_layer.linear.weight": [64, 3072],
    },
    "svd": {
        f"{_UNET}.input_blocks.0.0.weight": [320, 8, 3, 3],
        f"{_UNET}.input_blocks.1.1.time_stack.0.norm1.weight": [320],
        f"{_UNET}.input_blocks.1.1.time_mixer.mix_factor": [1],
        f"{_UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 1024],
        "conditioner.embedders.0.open_clip.model.visual.ln_post.weight": [1280],
        "first_stage_model.decoder.conv_in.bias": [512],
    },
}
_BYTES_PER_VALUE = 2


def write_simulated_base_model(path: Path, family: BaseModelFamily | Literal["svd"]) -> None:
    """Write a base model that loads, is known for its family, and says SIMULATED."""
    header: dict[str, object] = {"__metadata__": {"simulated": "SIMULATED", "format": "pt"}}
    end = 0
    for name, shape in _TENSORS[family].items():
        start, size = end, _BYTES_PER_VALUE
        for side in shape:
            size *= side
        end += size
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, safetensors_bytes(header, bytes(end)))


def main() -> None:
    """Write every model that the presets and the templates name and that is missing."""
    models_dir = Path(sys.argv[1])
    families: dict[str, BaseModelFamily | Literal["svd"]] = {
        preset.base_model: preset.base_model_family
        for preset in PRESETS.values()
        if preset.base_model_family is not BaseModelFamily.FLUX  # four files, not one checkpoint
    }
    families[VideoSampling.model_fields["base_model"].default] = "svd"
    for name, family in families.items():
        path = models_dir / "checkpoints" / name
        if not path.exists():
            write_simulated_base_model(path, family)
    upscale_model = UpscaleSampling.model_fields["upscale_model"].default
    write_placeholder(models_dir / "upscale_models" / upscale_model, "ESRGAN")


if __name__ == "__main__":
    main()
