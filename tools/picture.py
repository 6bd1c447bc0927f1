"""A picture for the documentation: slices of a project's held-out animal under several of its label maps.

python tools/picture.py medaka-demo/project docs/img/demo.png manual="the true organs" qc_kd="the student's"
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from napari_medaka_kd.project import open_project
from napari_medaka_kd.workflow.assess import take_pictures

_LEGIBLE = 16  # organs; a longer legend tells nobody anything


def main(folder: Path, target: Path, maps: dict[str, str]) -> None:
    project = open_project(folder)
    case = next(case for case in project.cases if case.held_out)
    pictures = take_pictures(case, maps)
    palette = np.zeros((65_536, 3))
    for organ in project.schema.organs:
        palette[organ.id] = to_rgb(organ.color)
    figure = Figure(figsize=(9, 7.2), layout="constrained", facecolor="#101418")
    axes = figure.subplots(len(pictures), 1 + len(maps))
    for row, picture in zip(axes, pictures, strict=True):
        low, high = np.percentile(picture.image, (1, 99.7))
        grey = np.clip((picture.image - low) / (high - low), 0, 1)[..., None].repeat(3, axis=2)
        for panel, (title, ids) in zip(row, {"a scan": None, **picture.overlays}.items(), strict=True):
            shown = grey if ids is None else np.where(ids[..., None] > 0, 0.4 * grey + 0.6 * palette[ids], grey)
            panel.imshow(shown, interpolation="nearest", origin="lower")
            panel.set_axis_off()
            if picture is pictures[0]:
                panel.set_title(title, color="white")
    if len(project.schema.organs) <= _LEGIBLE:
        organs = [axes[0, 0].plot([], [], "s", color=o.color, label=o.name)[0] for o in project.schema.organs]
        legend = figure.legend(handles=organs, loc="outside lower center", ncols=6, frameon=False)
        for text in legend.get_texts():
            text.set_color("white")
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), {t: n for n, t in (word.split("=", 1) for word in sys.argv[3:])})
