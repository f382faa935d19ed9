"""The section "How to use" of a model card: sentences and snippets, of a SimFLE folder and of a plain one."""

from training.card_facts import Facts

EXAMPLE = "example_face.png"
LIES_THERE = f"`{EXAMPLE}` lies there too"
FACE = (
    f"{LIES_THERE}: a face drawn by this project's code (`training/synthetic_faces.py`), which depicts nobody. Give"
    " pictures of one face instead, cropped."
)
CLASSIFY = f"""from transformers import pipeline

classify = pipeline("image-classification", model="{{model}}", trust_remote_code=True)
print(classify("{EXAMPLE}"))"""
ENCODE = f"""from transformers import pipeline

encode = pipeline("image-feature-extraction", model="{{model}}", trust_remote_code=True, pool=True)
print(len(encode("{EXAMPLE}")[0]))"""
FEATURES = f"""from PIL import Image
from transformers import AutoModel
from transformers.models.auto.image_processing_auto import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("{{model}}", trust_remote_code=True)
model = AutoModel.from_pretrained("{{model}}", trust_remote_code=True)
features = model(**processor(Image.open("{EXAMPLE}"), return_tensors="pt")).pooler_output
print(features.shape)  # (1, {{width}})"""
PLAIN_CLASSIFY = CLASSIFY.replace(", trust_remote_code=True", "")
PLAIN_LOGITS = f"""from PIL import Image
from transformers import AutoModelForImageClassification
from transformers.models.auto.image_processing_auto import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("{{model}}")
model = AutoModelForImageClassification.from_pretrained("{{model}}")
logits = model(**processor(Image.open("{EXAMPLE}").convert("RGB"), return_tensors="pt")).logits
print(model.config.id2label[logits.argmax().item()])"""
JAVASCRIPT = f"""import {{{{ pipeline }}}} from "@huggingface/transformers";

const classify = await pipeline("image-classification", "{{model}}", {{{{ dtype: "fp32" }}}});
console.log(await classify("{EXAMPLE}"));"""


def how_to_use(facts: Facts, model: str) -> str:
    """
    Args:
        model: folder or Hub id in the snippets.
    """
    if facts.is_plain:
        return plain_usage(facts, model)
    first = (CLASSIFY if facts.is_classifier else ENCODE).format(model=model)
    features = FEATURES.format(model=model, width=facts.config["hidden_sizes"][-1])
    return (
        f"`trust_remote_code=True` runs the code that lies beside the weights in this folder. {FACE}\n\n"
        f"{block(first)}\n\nFeatures instead of classes:\n\n{block(features)}"
    )


def plain_usage(facts: Facts, model: str) -> str:
    """Stock classes in Python, and the ONNX files under transformers.js."""
    side = facts.preprocessing["size"]["height"]
    int8 = '; `dtype: "q8"` takes `onnx/model_quantized.onnx`, which is int8' if "int8" in facts.exports else ""
    return (
        "A plain ResNet: no code lies in this folder, and none is run but that of Transformers itself."
        f" {FACE}\n\n{block(PLAIN_CLASSIFY.format(model=model))}\n\n"
        f"The same by model and image processor:\n\n{block(PLAIN_LOGITS.format(model=model))}\n\n"
        f"In JavaScript, by transformers.js, on `onnx/model.onnx`{int8}. It reads from the Hub, or from a folder below"
        f" its `env.localModelPath`. It resizes without antialiasing: give it pictures of {side} x {side} pixels, or"
        f" its probabilities are not quite Python's.\n\n{block(JAVASCRIPT.format(model=model), 'js')}"
    )


def block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}\n```"
