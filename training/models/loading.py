"""Models and image processors for the scripts, from their arguments. Transformers is imported when called."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from training.runtime.errors import InputError


@dataclass
class ProcessorArguments:
    """How pictures become tensors. Saved beside the weights, so that inference sees what training saw."""

    do_grayscale: bool = field(default=False, metadata={"help": "luminance in three equal channels"})
    image_mean: list[float] = field(
        default_factory=lambda: [0.5795, 0.4522, 0.3957], metadata={"help": "one number, or red, green, blue"}
    )
    image_std: list[float] = field(
        default_factory=lambda: [0.2769, 0.2473, 0.2412], metadata={"help": "one number, or red, green, blue"}
    )


@dataclass
class ModelArguments:
    """Which model."""

    model: str | None = field(default=None, metadata={"help": "folder or Hub id to start from; else from scratch"})
    model_config: str | None = field(
        default=None, metadata={"help": "JSON file of SimFLEConfig fields, or a folder with config.json"}
    )
    use_local_branch: bool | None = field(default=None, metadata={"help": "over the config; false is L = L_s"})
    masking: Literal["semantic", "random"] | None = field(default=None, metadata={"help": "over the config"})

    def __post_init__(self):
        if self.model:
            check_model(self.model)

    @property
    def name(self) -> str:
        """As metrics.json has it."""
        return self.model or f"untrained {self.model_config or 'default configuration'}"


def check_model(source: str, flag: str = "--model ") -> None:
    """
    Raises ValueError, before anything is made, where `source` is no path here and the Hub gives no config for it.

    Args:
        flag: how the sentence names it.
    """
    if Path(source).exists():
        return
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    hub = f"the Hub ({constants.ENDPOINT})"
    try:
        hf_hub_download(source, "config.json")
    except GatedRepoError as error:
        raise InputError(f"{flag}{source} is gated on {hub}; ask for access there and log in.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(f"{flag}{source} is no folder here and no model on {hub}; check the name.") from error
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError too
        raise InputError(
            f"{flag}{source} is no folder here, and {hub} cannot be reached; check the name, or the network."
        ) from error
    except EntryNotFoundError as error:
        raise InputError(f"{flag}{source} on {hub} has no config.json; give a model of transformers.") from error
    except HfHubHTTPError as error:
        raise InputError(f"{flag}{source} is no folder here, and {hub} did not give it: {error}") from error


def read_config(arguments: ModelArguments):
    """The SimFLEConfig of the arguments. Raises ValueError: an unknown field, or a value out of range."""
    from huggingface_hub.errors import StrictDataclassError

    from modeling_simfle import SimFLEConfig

    source = arguments.model_config or arguments.model
    try:
        if source is None:
            values = {}
        elif Path(source).is_file() or Path(source).is_dir():
            values = read_config_file(Path(source))
        elif arguments.model_config:
            raise InputError(f"--model_config {source} does not exist; give a JSON file or a folder with config.json.")
        else:
            values = SimFLEConfig.from_pretrained(source).to_diff_dict()
        for name in ("use_local_branch", "masking"):
            if getattr(arguments, name) is not None:
                values[name] = getattr(arguments, name)
        return SimFLEConfig(**values)
    except StrictDataclassError as error:
        raise InputError(f"{source}: {error}") from error


def read_config_file(path: Path, others: bool = False) -> dict:
    """
    Config fields from a JSON file; a field that SimFLEConfig does not have is an error naming it.

    Args:
        others: whether the config of another kind of model will do, as it is.
    """
    from modeling_simfle import SimFLEConfig

    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a JSON file of config fields, or a folder with config.json.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a mapping of config fields, not a {type(values).__name__}.")
    if values.get("model_type", "simfle") != "simfle":
        if others:
            return values
        raise InputError(f"{path} is the config of a {values['model_type']!r} model, not of a 'simfle' one.")
    known = {f.name for f in fields(SimFLEConfig)} | {
        *("model_type", "transformers_version", "auto_map", "custom_pipelines", "num_labels")
    }
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"{path}: unknown config field {', '.join(unknown)}.")
    for name in ("transformers_version", "auto_map", "model_type"):  # written anew at every save
        values.pop(name, None)
    return values


def make_processor(arguments: ProcessorArguments, size: int):
    """The SimFLEImageProcessor of a run; one number for mean or deviation serves all three channels."""
    from modeling_simfle import SimFLEImageProcessor

    mean, std = (v * 3 if len(v) == 1 else v for v in (arguments.image_mean, arguments.image_std))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(f"--image_mean {mean} and --image_std {std} must be one or three numbers, deviations above 0.")
    options: dict = {"image_mean": mean, "image_std": std, "do_grayscale": arguments.do_grayscale}
    return SimFLEImageProcessor(size={"height": size, "width": size}, **options)


def load_processor(folder: str | Path, trust_remote_code: bool = False):
    """A folder's image processor. Under transformers 5.17 without torchvision the top-level name is a dummy."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    import modeling_simfle  # noqa: F401 - registers the Auto classes

    return AutoImageProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)


def load_weights(kind, source: str, needed: str = "", **options):
    """
    A model from a folder or Hub id, in float32, whatever it was saved in.

    Args:
        kind: its class, or an Auto class. needed: what the names begin with of the weights that must be there; others
            may be new. options: of `from_pretrained`.
    Raises:
        ValueError: weights that are missing, damaged or not those of the metrics.json beside them; unknown fields in
            the config.
    """
    import torch
    from safetensors import SafetensorError

    from modeling_simfle.hub_folder_simfle import check_weights

    folder = Path(source)
    check_weights(folder)  # an error here; `from_pretrained` only warns
    if hasattr(kind, "config_class") and (folder / "config.json").is_file():
        read_config_file(folder, others=True)
    try:
        model, report = kind.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    except SafetensorError as error:
        raise InputError(f"{source}: its weights are cut off or damaged ({error}); get them again.") from error
    # A count of batches is of no use to a model that is done; many a converted ResNet has none.
    counts = "num_batches_tracked"
    missing = sorted(n for n in report["missing_keys"] if n.startswith(needed) and not n.endswith(counts))
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} weights of a {type(model).__name__}, {missing[0]} among them; give a folder"
            " that holds them."
        )
    return model


def load_encoder(
    model_arguments: ModelArguments,
    processor_arguments: ProcessorArguments,
    class_names,
    view_size: int | None,
    which: str = "encoder",
):
    """
    The classifier over --model's encoder (or an untrained one of --model_config), and the image processor.

    Args:
        class_names: of its outputs; None where they do not matter. An untrained encoder of a seed is the same for all.
        view_size: over the processor's. which: "encoder", or "target" of a pretraining folder.
    """
    from modeling_simfle import SimFLEForImageClassification, SimFLEModel

    labels: dict = {}
    if class_names is not None:
        labels = {"id2label": dict(enumerate(class_names)), "label2id": {n: i for i, n in enumerate(class_names)}}
    if not model_arguments.model:
        if which == "target":
            raise InputError("--which target needs --model, a pretraining folder; an untrained encoder has no target.")
        config = read_config(model_arguments)
        for name, value in labels.items():
            setattr(config, name, value)
        return SimFLEForImageClassification(config), make_processor(processor_arguments, view_size or 224)
    if which == "target":
        encoder = load_target(model_arguments.model, labels)
    else:
        encoder = load_weights(SimFLEModel, model_arguments.model, **labels)
    model = SimFLEForImageClassification(encoder.config)  # its new classifier is not worth a warning here
    model.encoder = encoder
    processor = load_processor(model_arguments.model)
    check_unused(model_arguments, processor_arguments, processor)
    if view_size:
        processor.size = {"height": view_size, "width": view_size}
    return model, processor


def check_unused(model_arguments, processor_arguments, processor) -> None:
    """
    Flags of a new encoder beside --model, whose own config and `processor` are used: they may only say the same.

    A value that is the flag's default counts as not given.

    Raises:
        ValueError: naming the first that differs.
    """
    import numpy as np

    from modeling_simfle import SimFLEConfig

    source = model_arguments.model
    for name, default in asdict(type(processor_arguments)()).items():
        value, found = getattr(processor_arguments, name), getattr(processor, name, None)
        wanted = value * 3 if isinstance(value, list) and len(value) == 1 else value  # one number for all channels
        if value != default and np.ravel(wanted).tolist() != np.ravel(found).tolist():
            raise InputError(f"--{name} {value} is not what {source} was trained with, {found}; leave it out.")
    given = [name for name, value in asdict(model_arguments).items() if name != "model" and value is not None]
    if not given:
        return
    wanted, found = read_config(model_arguments), SimFLEConfig.from_pretrained(source)
    for name in SimFLEConfig.__annotations__:
        if name != "model_type" and getattr(wanted, name) != getattr(found, name):
            raise InputError(
                f"--{' or --'.join(given)} asks for {name} {getattr(wanted, name)!r}, and {source} has"
                f" {getattr(found, name)!r}; leave {'it' if len(given) == 1 else 'them'} out, or --model."
            )


def load_target(source: str, labels: dict):
    """The target encoder of a pretraining folder. Raises ValueError on another kind of folder."""
    from modeling_simfle import SimFLEConfig, SimFLEForPreTraining

    architectures = SimFLEConfig.from_pretrained(source).architectures or ["bare config"]
    if "SimFLEForPreTraining" not in architectures:
        raise InputError(
            f"--which target: {source} holds a {', '.join(architectures)}, which has no target; give a pretraining"
            " folder, or leave --which out."
        )
    return load_weights(SimFLEForPreTraining, source, **labels).target_encoder


def load_classifier(source: str, trust_remote_code: bool = False):
    """
    A saved classifier in float32 and eval mode, its image processor, its device.

    Args:
        source: folder or Hub id of any image-classification model. trust_remote_code: run the code that lies beside it.
    Raises:
        ValueError: another kind of folder, weights that are damaged or not those of the metrics.json beside them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification

    import modeling_simfle  # noqa: F401 - registers the Auto classes

    if not source:
        raise InputError("--model is missing; give the folder or Hub id of a classifier.")
    check_model(source, flag="")
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    if not any(name.endswith("ForImageClassification") for name in config.architectures or []):
        raise InputError(f"{source} holds a {', '.join(config.architectures or ['bare config'])}, not a classifier.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_weights(AutoModelForImageClassification, source, trust_remote_code=trust_remote_code)
    return model.eval().to(device), load_processor(source, trust_remote_code), device
