"""Define exceptions that print as those of the libraries under sd-scripts do."""


def _exception(module: str, name: str) -> type[Exception]:
    return type(name, (Exception,), {"__module__": module, "__doc__": f"As {module} has it."})


MultipleInvalid = _exception("voluptuous.error", "MultipleInvalid")
OutOfMemoryError = _exception("torch", "OutOfMemoryError")
SafetensorError = _exception("safetensors_rust", "SafetensorError")
TomlDecodeError = _exception("toml.decoder", "TomlDecodeError")
