"""Which modules of a LoRA a base model has a place for."""

import pytest

from influencerai_dagster.media.lora_fit import LoraFit, lora_fit
from influencerai_dagster.media.safetensors_files import SafetensorsHeader, TensorInfo

Shapes = dict[str, tuple[int, ...]]
_WIDTHS = {1: 320, 2: 320, 4: 640, 5: 640, 7: 1280, 8: 1280}
_LAYERS = ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ff.net.0.proj", "ff.net.2")


def header(shapes: Shapes) -> SafetensorsHeader:
    tensors = {key: TensorInfo("F16", shape) for key, shape in shapes.items()}
    return SafetensorsHeader("x.safetensors", {}, tensors)


def sizes(layer: str, width: int) -> tuple[int, int]:
    """Output and input of a layer."""
    return {
        "attn2.to_k": (width, 768),
        "ff.net.0.proj": (8 * width, width),
        "ff.net.2": (width, 4 * width),
    }.get(layer, (width, width))


def sd15() -> Shapes:
    """The attention layers of SD 1.5's U-Net and its text encoder, as the checkpoint names them."""
    blocks = {f"input_blocks.{number}.1": width for number, width in _WIDTHS.items()}
    blocks |= {"middle_block.1": 1280}
    blocks |= {f"output_blocks.{n}.1": {1: 1280, 2: 640, 3: 320}[n // 3] for n in range(3, 12)}
    shapes: Shapes = {}
    for block, width in blocks.items():
        unit = f"model.diffusion_model.{block}"
        shapes[f"{unit}.proj_in.weight"] = (width, width, 1, 1)
        shapes[f"{unit}.proj_out.weight"] = (width, width, 1, 1)
        for layer in _LAYERS:
            shapes[f"{unit}.transformer_blocks.0.{layer}.weight"] = sizes(layer, width)
            shapes[f"{unit}.transformer_blocks.0.{layer}.bias"] = (width,)
    shapes["model.diffusion_model.input_blocks.1.0.in_layers.2.weight"] = (320, 320, 3, 3)
    shapes["model.diffusion_model.input_blocks.3.0.op.weight"] = (320, 320, 3, 3)
    shapes["model.diffusion_model.output_blocks.2.1.conv.weight"] = (1280, 1280, 3, 3)
    for number in range(12):
        text = f"cond_stage_model.transformer.text_model.encoder.layers.{number}"
        shapes[f"{text}.self_attn.k_proj.weight"] = (768, 768)
    return shapes


def module(name: str, num_out: int, num_in: int, *kernel: int) -> Shapes:
    up = (num_out, 4, *(1 for _ in kernel))
    return {f"{name}.lora_down.weight": (4, num_in, *kernel), f"{name}.lora_up.weight": up}


def sd15_lora() -> Shapes:
    """What kohya trains of it, under diffusers' names."""
    blocks = {
        f"down_blocks_{level}_attentions_{number}": width
        for level, width in enumerate((320, 640, 1280))
        for number in (0, 1)
    }
    blocks |= {"mid_block_attentions_0": 1280}
    blocks |= {
        f"up_blocks_{level}_attentions_{number}": width
        for level, width in ((1, 1280), (2, 640), (3, 320))
        for number in (0, 1, 2)
    }
    shapes: Shapes = {}
    for block, width in blocks.items():
        shapes |= module(f"lora_unet_{block}_proj_in", width, width, 1, 1)
        for layer in _LAYERS:
            name = f"lora_unet_{block}_transformer_blocks_0_{layer.replace('.', '_')}"
            shapes |= module(name, *sizes(layer, width))
    for number in range(12):
        shapes |= module(f"lora_te_text_model_encoder_layers_{number}_self_attn_k_proj", 768, 768)
    return shapes


def test_a_lora_fits_the_base_model_that_it_was_trained_on() -> None:
    assert lora_fit(header(sd15_lora()), header(sd15())) == LoraFit(16 * 6 + 12, 0, 0)


def test_convolutions_are_found_under_the_checkpoints_names() -> None:
    lora = (
        module("lora_unet_down_blocks_0_resnets_0_conv1", 320, 320, 3, 3)
        | module("lora_unet_down_blocks_0_downsamplers_0_conv", 320, 320, 3, 3)
        | module("lora_unet_up_blocks_0_upsamplers_0_conv", 1280, 1280, 3, 3)
    )
    assert lora_fit(header(lora), header(sd15())) == LoraFit(3, 0, 0)


def test_what_a_smaller_base_model_does_not_have_is_counted() -> None:
    """As a distilled SD 1.5: some blocks are missing, others are narrower."""
    base = {key: shape for key, shape in sd15().items() if "output_blocks" not in key}
    base |= {
        key: (shape[0] // 2, *shape[1:]) for key, shape in base.items() if "input_blocks.1.1" in key
    }
    base |= {f"model.diffusion_model.out.{number}.weight": (4, 4) for number in range(100)}
    assert lora_fit(header(sd15_lora()), header(base)) == LoraFit(108, 9 * 6, 6)


def test_sdxl_and_flux_are_compared_by_their_own_names() -> None:
    xl = "input_blocks.4.1.transformer_blocks"
    base: Shapes = {
        f"model.diffusion_model.{xl}.{n}.attn1.to_q.weight": (640, 640) for n in range(100)
    }
    base["conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight"] = (8, 8)
    lora = module("lora_unet_input_blocks_4_1_transformer_blocks_7_attn1_to_q", 640, 640)
    lora |= module("lora_te1_text_model_encoder_layers_0_mlp_fc1", 8, 8)
    lora |= module("lora_te2_text_model_encoder_layers_0_mlp_fc1", 8, 8)
    assert lora_fit(header(lora), header(base)) == LoraFit(2, 0, 0)
    flux: Shapes = {f"double_blocks.{n}.img_attn.qkv.weight": (9216, 3072) for n in range(100)}
    lora = module("lora_unet_double_blocks_0_img_attn_qkv", 9216, 3072)
    lora |= module("lora_te1_text_model_encoder_layers_0_mlp_fc1", 8, 8)
    assert lora_fit(header(lora), header(flux)) == LoraFit(1, 0, 0)


@pytest.mark.parametrize(
    ("lora", "base"),
    [
        (sd15_lora(), {"down_blocks.0.attentions.0.proj_in.weight": (320, 320)}),
        ({"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight": (4, 3072)}, sd15()),
        ({}, sd15()),
    ],
    ids=["a base model with other names", "a LoRA with other names", "nothing"],
)
def test_of_unknown_names_nothing_is_said(lora: Shapes, base: Shapes) -> None:
    assert lora_fit(header(lora), header(base)) is None
