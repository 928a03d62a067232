"""Headers tell families; hostile and truncated files are refused by name."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.media.safetensors_files import (
    TensorInfo,
    base_model_family,
    check_lora_fits,
    file_sha256,
    lora_family,
    read_header,
)

DIFFUSERS_ATTENTION = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2"
SD15_LORA = {
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k.lora_down.weight": (4, 9),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, 4),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (
        4,
        768,
    ),
}
SDXL_LORA = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 4),
}
FLUX_LORA = {
    "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": (4, 3072),
    "lora_unet_double_blocks_0_img_attn_proj.lora_up.weight": (3072, 4),
}


def written(path: Path, shapes: Mapping[str, tuple[int, ...]], **metadata: str) -> Path:
    tensors = {key: np.zeros(shape, np.float16) for key, shape in shapes.items()}
    save_file(tensors, path, metadata=metadata or None)
    return path


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (SD15_LORA, BaseModelFamily.SD15),
        (SDXL_LORA, BaseModelFamily.SDXL),
        (FLUX_LORA, BaseModelFamily.FLUX),
        (
            {f"{DIFFUSERS_ATTENTION}.to_k.lora_A.weight": (4, 2048)},
            BaseModelFamily.SDXL,
        ),
        (
            {f"{DIFFUSERS_ATTENTION}.to_v.lora.down.weight": (4, 768)},
            BaseModelFamily.SD15,
        ),
        (
            {"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight": (4, 3072)},
            BaseModelFamily.FLUX,
        ),
        (
            {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 1280)},
            BaseModelFamily.SDXL,
        ),
        (
            {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.hada_w1_b": (4, 2048)},
            BaseModelFamily.SDXL,
        ),
    ],
    ids=[
        "sd15",
        "sdxl",
        "flux",
        "peft sdxl",
        "diffusers sd15",
        "diffusers flux",
        "te only",
        "loha",
    ],
)
def test_a_lora_tells_its_family(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], family: BaseModelFamily
) -> None:
    path = written(tmp_path / "x.safetensors", shapes)
    assert lora_family(path) is family
    assert lora_family(read_header(path)) is family


@pytest.mark.parametrize(
    ("key", "shape", "family"),
    [
        (
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
            (320, 768),
            BaseModelFamily.SD15,
        ),
        (
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            (640, 2048),
            BaseModelFamily.SDXL,
        ),
        (
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
            (320, 768),
            BaseModelFamily.SD15,
        ),
        ("double_blocks.0.img_attn.proj.weight", (3072, 3072), BaseModelFamily.FLUX),
        (
            "model.diffusion_model.double_blocks.0.img_attn.proj.weight",
            (3072, 3072),
            BaseModelFamily.FLUX,
        ),
    ],
    ids=["sd15", "sdxl", "diffusers sd15", "flux", "flux checkpoint"],
)
def test_a_base_model_tells_its_family(
    tmp_path: Path, key: str, shape: tuple[int, ...], family: BaseModelFamily
) -> None:
    assert base_model_family(written(tmp_path / "m.safetensors", {key: shape})) is family


@pytest.mark.parametrize(
    "shapes",
    [
        {"lora_unet_down_blocks_0_attn2_to_k.lora_down.weight": (4, 1024)},
        {"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": (4, 1536)},
        {
            "diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight": (4, 3072),
            "diffusion_model.txt_in.individual_token_refiner.blocks.0.lora_A.weight": (4, 3072),
        },
    ],
    ids=["sd2", "sd3", "hunyuan video"],
)
def test_a_lora_of_another_architecture_is_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]]
) -> None:
    with pytest.raises(PermanentError, match=r"odd\.safetensors.*not supported.*tensors begin"):
        lora_family(written(tmp_path / "odd.safetensors", shapes))


def test_a_file_without_lora_weights_is_no_lora(tmp_path: Path) -> None:
    path = written(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": (4, 4)})
    with pytest.raises(PermanentError, match=r"vae\.safetensors has no LoRA weights.*conv_in"):
        lora_family(path)
    with pytest.raises(PermanentError, match=r"vae\.safetensors is not an SD1\.5, SDXL or FLUX"):
        base_model_family(path)


def test_a_lora_that_fits_passes_and_one_that_does_not_is_refused_by_both_names(
    tmp_path: Path,
) -> None:
    lora = read_header(written(tmp_path / "face.safetensors", SDXL_LORA))
    check_lora_fits(lora, BaseModelFamily.SDXL)
    with pytest.raises(PermanentError, match=r"face\.safetensors.*for sdxl.*base model of sd15"):
        check_lora_fits(lora, BaseModelFamily.SD15)


def test_a_header_holds_metadata_and_shapes_of_all_dtypes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = {
        "__metadata__": {"ss_steps": "8"},
        "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [12, 16]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    found = read_header(path)
    assert dict(found.metadata) == {"ss_steps": "8"}
    assert found.tensors == {"a": TensorInfo("BF16", (2, 3)), "b": TensorInfo("F8_E4M3", (4,))}


def with_header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        struct.pack("<Q", 2**63 - 1) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 200_000_000) + b"{}",
        with_header(b"{not json"),
        with_header(b'{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}', b"\0" * 7),
        with_header(b'{"a":{"dtype":"F16","shape":[4],"data_offsets":[0,9]}}', b"\0" * 9),
        with_header(b'{"a":{"dtype":"F16","shape":[4],"data_offsets":[-8,0]}}', b"\0" * 8),
        b"PK\x03\x04" + b"\0" * 100,
    ],
    ids=[
        "empty",
        "two bytes",
        "largest header",
        "tebibyte header",
        "header beyond the file",
        "no json",
        "truncated",
        "wrong offsets",
        "negative offsets",
        "zip (a pickled .ckpt)",
    ],
)
def test_a_hostile_or_truncated_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match=r"bad\.safetensors is not a whole safetensors file"):
        read_header(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"none\.safetensors"):
        read_header(tmp_path / "none.safetensors")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
