"""Which models are served: TensorFlow Serving's ModelConfig, read from models.config and checked.

Rules and texts are those of tensorflow_serving/model_servers/server_core.cc.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format

from client.errors import DigitsError
from client.proto.config_pb2 import ModelConfig, ModelServerConfig
from serving.errors import ServingError, invalid

PLATFORM = "tensorflow"
Models = Mapping[str, ModelConfig]
"""The configured models by name."""


def from_folder(model_dir: Path) -> ModelConfig:
    """Configure a folder of versions under its own name, the newest to be served."""
    return ModelConfig(name=model_dir.name, base_path=str(model_dir), model_platform=PLATFORM)


def read(path: Path) -> dict[str, ModelConfig]:
    """Read models.config, the file of --model_config_file. Raises DigitsError naming the file and the fault."""
    try:
        content = text_format.Parse(path.read_text("utf-8"), ModelServerConfig())
        if content.HasField("model_config_list"):  # a file that is just being written is empty
            return checked(content.model_config_list.config, {})
        reason = "no model_config_list in it"
    except OSError as error:
        reason = error.strerror or "cannot be read"
    except (text_format.ParseError, UnicodeDecodeError, ServingError) as error:
        reason = f"not a configuration of models: {error}".rstrip(".")
    raise DigitsError(f"{path}: {reason}. An example is serving/tensorflow_serving/models.config")


def checked(configs: Iterable[ModelConfig], current: Models) -> dict[str, ModelConfig]:
    """Give configurations by name. Raises ServingError for those that cannot follow the current ones."""
    models: dict[str, ModelConfig] = {}
    for config in configs:
        if config.name in models:
            raise invalid(f"Illegal to list model {config.name} multiple times in config list")
        models[config.name] = config
    for config in models.values():
        if not Path(config.base_path).is_absolute():
            raise invalid(
                f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            )
    for config in models.values():
        _check_platform(config, current.get(config.name))
    return models


def _check_platform(config: ModelConfig, current: ModelConfig | None) -> None:
    name, platform = config.name, config.model_platform
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {name}"
        )
    if current and current.model_platform != platform:
        raise invalid(
            f"Illegal to change a model's platform. For model {name} platform was {current.model_platform} "
            f"and new platform requested is {platform}"
        )
    if platform != PLATFORM:
        raise invalid(f"Model {name} requests unsupported platform {platform}")
