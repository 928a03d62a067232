"""Check which keys and types a dataset TOML has at which level.

As recorded/kohya/toml_schema_probe.txt found them; a test replays those probes.
"""

from typing import Any

from influencerai_dagster.simulators.sd_scripts.simulation.errors import MultipleInvalid

_DATASET_ONLY: dict[str, tuple[type, ...]] = {
    "batch_size": (int,),
    "enable_bucket": (bool,),
    "bucket_no_upscale": (bool,),
    "bucket_reso_steps": (int,),
    "min_bucket_reso": (int,),
    "max_bucket_reso": (int,),
    "resolution": (int, list),
    "network_multiplier": (float,),
    "validation_split": (float,),
    "validation_seed": (int,),
}
_EVERYWHERE: dict[str, tuple[type, ...]] = {
    "num_repeats": (int,),
    "shuffle_caption": (bool,),
    "keep_tokens": (int,),
    "keep_tokens_separator": (str,),
    "secondary_separator": (str,),
    "caption_separator": (str,),
    "enable_wildcard": (bool,),
    "caption_prefix": (str,),
    "caption_suffix": (str,),
    "caption_extension": (str,),
    "class_tokens": (str,),
    "cache_info": (bool,),
    "color_aug": (bool,),
    "flip_aug": (bool,),
    "random_crop": (bool,),
    "face_crop_aug_range": (list,),
    "caption_dropout_rate": (float, int),
    "caption_dropout_every_n_epochs": (int,),
    "caption_tag_dropout_rate": (float, int),
    "token_warmup_min": (int,),
    "token_warmup_step": (float, int),
    "custom_attributes": (dict,),
    "resize_interpolation": (str,),
}
_SUBSET_ONLY: dict[str, tuple[type, ...]] = {
    "image_dir": (str,),
    "is_reg": (bool,),
    "alpha_mask": (bool,),
}
_ITEMS = {"resolution": int, "face_crop_aug_range": float}


def validate(config: dict[str, Any]) -> None:
    """Raise what kohya's validator raises for the first wrong key or type."""
    _check(config, {"general": (dict,), "datasets": (list,)}, "data")
    _check(config.get("general", {}), _DATASET_ONLY | _EVERYWHERE, "data['general']")
    for number, dataset in enumerate(config.get("datasets", [])):
        where = f"data['datasets'][{number}]"
        _check(dataset, _DATASET_ONLY | _EVERYWHERE | {"subsets": (list,)}, where)
        for index, subset in enumerate(dataset.get("subsets", [])):
            place = f"{where}['subsets'][{index}]"
            _check(subset, _EVERYWHERE | _SUBSET_ONLY, place)
            if "image_dir" not in subset:
                raise MultipleInvalid(f"required key not provided @ {place}['image_dir']")


def _check(table: dict[str, Any], types: dict[str, tuple[type, ...]], where: str) -> None:
    for key, value in table.items():
        place = f"{where}['{key}']"
        if key not in types:
            raise MultipleInvalid(f"extra keys not allowed @ {place}")
        item = _ITEMS.get(key)
        is_wrong_item = isinstance(value, list) and any(
            item is not None and not isinstance(one, item) for one in value
        )
        if not isinstance(value, types[key]) or is_wrong_item:
            expected = (item or types[key][0]).__name__
            raise MultipleInvalid(f"expected {expected} for dictionary value @ {place}")
