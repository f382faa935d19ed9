"""The metric Space's page: a table of predictions and references, and their measures."""

from pathlib import Path

import evaluate


def main() -> None:
    import gradio

    metric = evaluate.load(str(Path(__file__).resolve().with_name("fer_metrics.py")))

    def compute(table):
        integers = table.dropna().astype(int)
        return metric.compute(**{name: integers[name].tolist() for name in ("predictions", "references")})

    gradio.Interface(
        fn=compute,
        inputs=gradio.Dataframe(
            headers=["predictions", "references"],
            datatype="number",
            column_count=2,
            value=[[0, 0], [1, 1], [2, 1]],
        ),
        outputs=gradio.JSON(label="measures"),
        title="Expression measures",
        description=metric.description,
        flagging_mode="never",
    ).launch()


if __name__ == "__main__":
    main()
