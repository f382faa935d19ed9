"""The arguments of models and image processors, and the configs that they name."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from training.runtime.arguments import flag
from training.runtime.errors import NOT_JSON, InputError


@dataclass
class ProcessorArguments:
    """The image processor of a new encoder. It is saved beside the weights."""

    do_grayscale: bool = flag(False, "Train on luminance in three equal channels.")
    image_mean: list[float] = flag([0.5795, 0.4522, 0.3957], "One number, or red, green and blue.")
    image_std: list[float] = flag([0.2769, 0.2473, 0.2412], "One number, or red, green and blue.")


@dataclass
class ModelArguments:
    """The model to start from."""

    model: str | None = flag(None, "Folder or Hub id to start from. The default is a new model.")
    model_config: str | None = flag(None, "JSON file of SimFLEConfig fields, or a folder with config.json.")
    use_local_branch: bool | None = flag(None, "Override the config. False trains L = L_s alone.")
    masking: Literal["semantic", "random"] | None = flag(None, "Override the config.")

    def __post_init__(self):
        if self.model:
            check_model(self.model)

    @property
    def name(self) -> str:
        """The model's name in metrics.json."""
        return self.model or f"untrained {self.model_config or 'default configuration'}"


@contextmanager
def values_of(source: str | Path) -> Iterator[None]:
    """
    Errors about a model's files inside this context become an InputError that names the model.

    modeling_simfle and transformers raise ValueError for values in a config, a processor or weights, and transformers
    raises OSError without a number for a file that a folder or the Hub does not hold.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (ValueError, StrictDataclassError, OSError) as error:
        if isinstance(error, InputError) or getattr(error, "errno", None) is not None:
            raise
        raise InputError(f"{source}: {' '.join(str(error).split())}") from error
    except (AttributeError, LookupError, RuntimeError, TypeError) as error:
        if not is_of_transformers(error):
            raise
        raise InputError(
            f"{source}: transformers cannot read its JSON files, or its weights do not fit them ({error!r}); get the"
            " whole folder again."
        ) from error


def is_of_transformers(error: Exception) -> bool:
    """
    Whether transformers, or json on its behalf, raised an error: transformers (5.24) checks no type of a JSON file's
    values. An error of this kind that our own code raises is a bug.
    """
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    return not {"transformers", "json"}.isdisjoint(Path(place).parts[-4:-1])


def saved_config(source: str):
    """The SimFLEConfig of a folder or Hub id. Raises InputError: values that it does not take."""
    from modeling_simfle import SimFLEConfig

    with values_of(source):
        return SimFLEConfig.from_pretrained(source)


def check_model(source: str, flag: str = "--model ") -> None:
    """
    Raises InputError, before anything is made, where `source` is no local path and the Hub gives no config for it.

    Args:
        flag: the name of `source` in the sentence.
    """
    if Path(source).exists():
        return
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        hf_hub_download(source, "config.json")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())
        hub = f"the Hub ({constants.ENDPOINT})"
        raise InputError(f"{flag}{source} is no local folder, and {hub} gives no config.json: {reason}") from error


def read_config(arguments: ModelArguments):
    """The SimFLEConfig of the arguments. Raises InputError: an unknown field, or a value out of range."""
    from modeling_simfle import SimFLEConfig

    source = arguments.model_config or arguments.model
    if source is None:
        values = {}
    elif Path(source).is_file() or Path(source).is_dir():
        values = read_config_file(Path(source))
    elif arguments.model_config:
        raise InputError(f"--model_config {source} does not exist; give a JSON file or a folder with config.json.")
    else:
        values = saved_config(source).to_diff_dict()
    for name in ("use_local_branch", "masking"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    with values_of(source or "the configuration"):
        return SimFLEConfig(**values)


def read_config_file(path: Path, others: bool = False) -> dict:
    """
    Config fields from a JSON file, or from config.json of a folder.

    Args:
        others: whether the config of another kind of model may come back as it is.
    Raises:
        InputError: a file that cannot be read, or a field that SimFLEConfig does not have.
    """
    from modeling_simfle import SimFLEConfig

    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a JSON file of config fields, or a folder with config.json.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except NOT_JSON as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a mapping of config fields, not a {type(values).__name__}.")
    if values.get("model_type", "simfle") != "simfle":
        if others:
            return values
        raise InputError(f"{path} is the config of a {values['model_type']!r} model, not of a 'simfle' model.")
    known = {f.name for f in fields(SimFLEConfig)} | {
        *("model_type", "transformers_version", "auto_map", "custom_pipelines", "num_labels")
    }
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{path}: unknown config field {', '.join(unknown)}.")
    for name in ("transformers_version", "auto_map", "model_type"):  # written anew at every save
        values.pop(name, None)
    return values
