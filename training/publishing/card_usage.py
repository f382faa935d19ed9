"""The section "How to use" of a model card: sentences and snippets, of a SimFLE folder and of a plain one."""

from training.publishing.card_facts import Facts

EXAMPLE = "example_face.png"
LIES_THERE = f"`{EXAMPLE}` lies there too"
FACE = (
    f"{LIES_THERE}: a face drawn by this project's code (`training/data/drawn_faces.py`), which depicts nobody. Give"
    " pictures of one face instead, cropped."
)
CLASSIFY = """from transformers import pipeline

classify = pipeline("image-classification", model="{model}", trust_remote_code=True)
print(classify("{example}"))"""
ENCODE = """from transformers import pipeline

encode = pipeline("image-feature-extraction", model="{model}", trust_remote_code=True, pool=True)
print(len(encode("{example}")[0]))"""
FEATURES = """from PIL import Image
from transformers import AutoModel
from transformers.models.auto.image_processing_auto import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("{model}", trust_remote_code=True)
model = AutoModel.from_pretrained("{model}", trust_remote_code=True)
features = model(**processor(Image.open("{example}"), return_tensors="pt")).pooler_output
print(features.shape)  # (1, {width})"""
PLAIN_CLASSIFY = CLASSIFY.replace(", trust_remote_code=True", "")
PLAIN_LOGITS = """from PIL import Image
from transformers import AutoModelForImageClassification
from transformers.models.auto.image_processing_auto import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("{model}")
model = AutoModelForImageClassification.from_pretrained("{model}")
logits = model(**processor(Image.open("{example}").convert("RGB"), return_tensors="pt")).logits
print(model.config.id2label[logits.argmax().item()])"""
JAVASCRIPT = """import {{ pipeline }} from "@huggingface/transformers";

const classify = await pipeline("image-classification", "{model}", {{ dtype: "fp32" }});
console.log(await classify("{example}"));"""


def how_to_use(facts: Facts, model: str, is_folder: bool) -> str:
    """
    Args:
        model: folder or Hub id in the snippets, which run where the folder's path leads to it.
    """
    names = {"model": model, "example": f"{model}/{EXAMPLE}" if is_folder else EXAMPLE}
    if facts.is_plain:
        return plain_usage(facts, names)
    first = (CLASSIFY if facts.is_classifier else ENCODE).format(**names)
    features = FEATURES.format(**names, width=facts.config["hidden_sizes"][-1])
    return (
        f"`trust_remote_code=True` runs the code that lies beside the weights in this folder. {FACE}\n\n"
        f"{block(first)}\n\nFeatures instead of classes:\n\n{block(features)}"
    )


def plain_usage(facts: Facts, names: dict[str, str]) -> str:
    """Stock classes in Python, and the ONNX files under transformers.js."""
    side = facts.preprocessing["size"]["height"]
    int8 = '; `dtype: "q8"` takes `onnx/model_quantized.onnx`, which is int8' if "int8" in facts.exports else ""
    return (
        "A plain ResNet: no code lies in this folder, and none is run but that of Transformers itself."
        f" {FACE}\n\n{block(PLAIN_CLASSIFY.format(**names))}\n\n"
        f"The same by model and image processor:\n\n{block(PLAIN_LOGITS.format(**names))}\n\n"
        f"In JavaScript, by transformers.js, on `onnx/model.onnx`{int8}. It reads from the Hub, or from a folder below"
        f" its `env.localModelPath`. It resizes without antialiasing: give it pictures of {side} x {side} pixels, or"
        f" its probabilities are not quite Python's.\n\n{block(JAVASCRIPT.format(**names), 'js')}"
    )


def block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"
