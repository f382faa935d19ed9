"""What a model card says of the data that the weights were trained on: FER+'s facts for FER+, none for other sets."""

from training.publishing.card_facts import Facts, data_format, dataset_word

FERPLUS_DATA = """\
FER+ (Barsoum, Zhang, Canton Ferrer, Zhang, ICMI 2016): gray images of 48 x 48 pixels, labelled anew by ten
taggers each. The images are for research; the labels are under the MIT licence. The split is its owners'. Majority
protocol, for labels: votes of one are dropped, the largest of what remains must exceed half of it, and images that
unknown or not-a-face wins are left out, which leaves 25,045 training, 3,191 validation and 3,137 test images; soft
labels are the remaining votes for the eight expressions, normalised.

FER+ repeats itself: its 28,558 training rows are 27,334 distinct pictures, and 279 of the 3,579 validation pictures
equal a training one pixel by pixel. Training images that equal a validation image were left out of all training, and
accuracy is also given without the validation images that repeat a training one."""
FERPLUS_CITATION = """
@inproceedings{barsoum2016training,
  title     = {Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution},
  author    = {Barsoum, Emad and Zhang, Cha and Canton Ferrer, Cristian and Zhang, Zhengyou},
  booktitle = {ACM International Conference on Multimodal Interaction (ICMI)},
  year      = {2016},
  note      = {arXiv:1608.01041}
}"""
FERPLUS_TERMS = "The images that they were trained on are given for research."
FERPLUS_AMONG = "FER+'s images, on which they were trained too, are given for research."
UNKNOWN_TERMS = "The terms of the training images are not noted here: ask their owners before you use the weights."


def training_data(facts: Facts, names: list[str], terms: str | None) -> str:
    """
    Of all trainings, those before included.

    Args:
        names: of the data sets, for those without a text of their own. terms: a sentence about the images, or None.
    """
    others = [training for training in facts.recipe if data_format(training) != "ferplus"]
    if not others:
        return "\n\n".join(filter(None, [FERPLUS_DATA, terms]))
    sets = list(dict.fromkeys((dataset_word(t), t["arguments"].get("train_split") or "train") for t in others))
    if names:
        sets = [(", ".join(names), sets[-1][1])]
    said = "; ".join(f"{name}, split `{split}`" for name, split in sets)
    return "\n\n".join([f"{said}. {terms or UNKNOWN_TERMS}", *([FERPLUS_DATA] if facts.saw_ferplus else [])])


def image_terms(facts: Facts, terms: str | None) -> str:
    """Sentences for LICENSE."""
    if not facts.saw_ferplus:
        return terms or UNKNOWN_TERMS
    if all(data_format(training) == "ferplus" for training in facts.recipe):
        return terms or FERPLUS_TERMS
    return f"{terms or UNKNOWN_TERMS} {FERPLUS_AMONG}"


def pixels(facts: Facts) -> str:
    side = facts.preprocessing["size"]["height"]
    if facts.is_ferplus:
        return (
            f"The training images are gray and 48 pixels wide (seen at {side}): wrinkles, small movements and colour"
            " are not in them, and larger pictures add nothing that it could use."
        )
    return f"Faces are seen at {side} x {side} pixels: smaller detail is lost."


def posing(facts: Facts) -> str:
    if facts.is_ferplus:
        return "Many training faces are posed: expect it to be worse on spontaneous, faint and mixed expressions."
    return (
        "How the training faces came to look as they do, posed or not, is not noted here: expect it to be worse on"
        " faces unlike them, and on faint and mixed expressions."
    )


def people(facts: Facts) -> str:
    if facts.is_ferplus:
        return (
            "Who is depicted in the training images is not known: no list of persons, ages, genders or origins comes"
            " with them, so differences in accuracy between groups of people were not measured and must be expected."
        )
    return (
        "Who is depicted in the training images is not noted here: differences in accuracy between groups of people"
        " were not measured and must be expected."
    )
