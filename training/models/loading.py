"""Loading models and image processors. Transformers is imported when a function is called."""

from dataclasses import asdict
from pathlib import Path

from training.models.arguments import (
    ModelArguments,
    ProcessorArguments,
    check_model,
    read_config,
    read_config_file,
    saved_config,
    values_of,
)
from training.runtime.errors import InputError


def make_processor(arguments: ProcessorArguments, size: int):
    """The SimFLEImageProcessor of a run; one number for mean or deviation serves all three channels."""
    from modeling_simfle import SimFLEImageProcessor

    mean, std = (v * 3 if len(v) == 1 else v for v in (arguments.image_mean, arguments.image_std))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(f"--image_mean {mean} and --image_std {std} must be one or three numbers, deviations above 0.")
    options: dict = {"image_mean": mean, "image_std": std, "do_grayscale": arguments.do_grayscale}
    with values_of("the image processor"):
        return SimFLEImageProcessor(size={"height": size, "width": size}, **options)


def load_processor(folder: str | Path, trust_remote_code: bool = False):
    """A folder's image processor. Under transformers 5.17 without torchvision the top-level name is a dummy."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    import modeling_simfle  # noqa: F401 - registers the Auto classes

    with values_of(folder):
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)


def load_weights(kind, source: str, needed: str = "", **options):
    """
    A model from a folder or Hub id, in float32, whatever type it was saved in.

    Args:
        kind: its class, or an Auto class. needed: the beginning of the names of the weights that must be there; other
            weights may be new. options: of `from_pretrained`.
    Raises:
        InputError: weights that are missing, damaged or not those of the metrics.json beside them; a config that
            cannot be used.
    """
    import torch
    from safetensors import SafetensorError

    from modeling_simfle.hub_folder_simfle import check_weights

    folder = Path(source)
    with values_of(source):
        check_weights(folder)  # an error here; `from_pretrained` only warns
    if hasattr(kind, "config_class") and (folder / "config.json").is_file():
        read_config_file(folder, others=True)
    try:
        with values_of(source):
            model, report = kind.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    except SafetensorError as error:
        raise InputError(f"{source}: its weights are cut off or damaged ({error}); get them again.") from error
    # A trained model does not use the counts of batches, and many converted ResNets have none.
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
        class_names: of its outputs; None where they do not matter. They do not change an untrained encoder.
        view_size: replaces the processor's. which: "encoder", or "target" of a pretraining folder.
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
    model = SimFLEForImageClassification(encoder.config)  # without a warning about its new classifier
    model.encoder = encoder
    processor = load_processor(model_arguments.model)
    check_unused(model_arguments, processor_arguments, processor)
    if view_size:
        processor.size = {"height": view_size, "width": view_size}
    return model, processor


def check_unused(model_arguments, processor_arguments, processor) -> None:
    """
    Checks the flags of a new encoder beside --model, which brings its own config and `processor`.

    Raises:
        InputError: a flag that is not at its default and differs from the model's value.
    """
    import numpy as np

    from modeling_simfle import SimFLEConfig

    source = model_arguments.model
    for name, default in asdict(type(processor_arguments)()).items():
        value, used = getattr(processor_arguments, name), getattr(processor, name, None)
        wanted = value * 3 if isinstance(value, list) and len(value) == 1 else value  # one number for all channels
        if value != default and np.ravel(wanted).tolist() != np.ravel(used).tolist():
            raise InputError(f"--{name} {value} is not what {source} was trained with, {used}; leave it out.")
    given = [name for name, value in asdict(model_arguments).items() if name != "model" and value is not None]
    if not given:
        return
    wanted, used = read_config(model_arguments), saved_config(source)
    for name in SimFLEConfig.__annotations__:
        if name != "model_type" and getattr(wanted, name) != getattr(used, name):
            raise InputError(
                f"--{' or --'.join(given)} asks for {name} {getattr(wanted, name)!r}, and {source} has"
                f" {getattr(used, name)!r}; leave {'it' if len(given) == 1 else 'them'} out, or --model."
            )


def load_target(source: str, labels: dict):
    """The target encoder of a pretraining folder. Raises InputError on another kind of folder."""
    from modeling_simfle import SimFLEForPreTraining

    architectures = saved_config(source).architectures or ["bare config"]
    if "SimFLEForPreTraining" not in architectures:
        raise InputError(
            f"--which target: {source} holds a {', '.join(architectures)}, which has no target; give a pretraining"
            " folder, or leave --which out."
        )
    return load_weights(SimFLEForPreTraining, source, **labels).target_encoder


def load_classifier(source: str, trust_remote_code: bool = False):
    """
    A saved classifier in float32 and eval mode, its image processor, and its device.

    Args:
        source: folder or Hub id of any image-classification model. trust_remote_code: run the code in its folder.
    Raises:
        InputError: another kind of folder, weights that are damaged or not those of the metrics.json beside them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification

    import modeling_simfle  # noqa: F401 - registers the Auto classes

    if not source:
        raise InputError("--model is missing; give the folder or Hub id of a classifier.")
    check_model(source, flag="")
    with values_of(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    if not any(str(name).endswith("ForImageClassification") for name in config.architectures or []):
        raise InputError(
            f"{source} holds a {', '.join(map(str, config.architectures or ['bare config']))}, not a classifier."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_weights(AutoModelForImageClassification, source, trust_remote_code=trust_remote_code)
    return model.eval().to(device), load_processor(source, trust_remote_code), device
