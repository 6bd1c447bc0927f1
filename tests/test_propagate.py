"""propagate: the atlas's labels on other animals, written like any label map, and resumed."""

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import add_case, create_project, open_project
from napari_medaka_kd.settings import FitSettings, PropagateSettings
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.propagate import propagate

ORGANS = LabelSchema.from_ids({3: "heart", 7: "liver"})
QUICK = PropagateSettings(grid=16, registration_steps=2, fit=FitSettings(save_every=1))


def animal(turned):
    """A long bright body with a heart at one end; upside down where ``turned``."""
    ids = np.zeros((24, 20, 16), np.uint8)
    ids[4:20, 6:13, 5:11] = 7
    ids[5:9, 7:12, 6:10] = 3
    scan = np.select([ids == 3, ids == 7], [900, 500], 100).astype(np.uint16)
    size = (10.0, 10.0, 10.0)
    scan, ids = (np.ascontiguousarray(each[::-1, ::-1]) if turned else each for each in (scan, ids))
    return Volume((scan,), size, "box"), LabelMap(Volume((ids,), size), ORGANS)


@pytest.fixture
def project(tmp_path):
    made = create_project(tmp_path / "boxes", "boxes", ORGANS)
    drain(add_case(made, *animal(turned=False), "lab", held_out=False))
    drain(add_case(made, animal(turned=True)[0], None, "wild", held_out=False))
    return made


def dice(project, truth):
    found = project.case("wild").labels("propagated").volume.read()
    return [2 * ((found == o) & (truth == o)).sum() / ((found == o).sum() + (truth == o).sum()) for o in ORGANS.ids]


def test_the_labels_of_the_atlas_come_to_lie_on_an_animal_that_is_upside_down(project):
    assert drain(propagate(project, "propagated", QUICK)) == ("wild",)
    assert min(dice(project, animal(turned=True)[1].volume.read())) > 0.75
    assert "propagated" in project.case("wild").label_names
    assert "propagated" not in project.case("lab").label_names


def test_cancelled_and_called_again_it_writes_the_same_labels(project):
    job = propagate(project, "propagated", QUICK)
    for progress in job:
        if progress.doing == "registration" and progress.done == 1:
            job.close()
    drain(propagate(project, "propagated", QUICK))
    drain(propagate(project, "once", QUICK))
    one, other = (project.case("wild").labels(name).volume.read() for name in ("propagated", "once"))
    np.testing.assert_array_equal(one, other)


def test_with_nothing_to_lay_it_onto_it_is_refused_in_a_sentence(project):
    with pytest.raises(UserError, match="no animal to lay the atlas onto"):
        drain(propagate(project, "propagated", QUICK, ["lab"]))
    with pytest.raises(UserError, match="called 'wild'"):
        drain(propagate(project, "propagated", QUICK.model_copy(update={"atlas": "wild"})))


def test_the_command_line_has_it(project):
    argv = ["propagate", str(project.folder), "--atlas", "lab", "--set", "grid=16", "--set", "registration_steps=0"]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    assert "onto 1 cases" in done.output
    assert open_project(project.folder).case("wild").label_names == ("propagated",)
