"""docs/img/demo.png from a finished demo: slices of a held-out animal, its organs, the teacher's and the student's.

python tools/demo_picture.py medaka-demo docs/img/demo.png
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from napari_medaka_kd.project import open_project
from napari_medaka_kd.workflow.assess import take_pictures

MAPS = {"the true organs": "manual", "the teacher's": "teacher", "the student's": "qc_kd"}


def main(demo: Path, target: Path) -> None:
    project = open_project(demo / "project")
    case = next(case for case in project.cases if case.held_out)
    pictures = take_pictures(case, MAPS)
    palette = np.zeros((256, 3))
    for organ in project.schema.organs:
        palette[organ.id] = to_rgb(organ.color)
    figure = Figure(figsize=(9, 7.2), layout="constrained", facecolor="#101418")
    axes = figure.subplots(len(pictures), 1 + len(MAPS))
    for row, picture in zip(axes, pictures, strict=True):
        low, high = np.percentile(picture.image, (1, 99.7))
        grey = np.clip((picture.image - low) / (high - low), 0, 1)[..., None].repeat(3, axis=2)
        for panel, (title, ids) in zip(row, {"a scan": None, **picture.overlays}.items(), strict=True):
            shown = grey if ids is None else np.where(ids[..., None] > 0, 0.4 * grey + 0.6 * palette[ids], grey)
            panel.imshow(shown, interpolation="nearest")
            panel.set_axis_off()
            if picture is pictures[0]:
                panel.set_title(title, color="white")
    handles = [axes[0, 0].plot([], [], "s", color=organ.color, label=organ.name)[0] for organ in project.schema.organs]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    for text in legend.get_texts():
        text.set_color("white")
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
