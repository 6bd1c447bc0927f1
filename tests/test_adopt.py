"""Teachers from elsewhere: what is adopted segments like any other, and what would do harm is refused in a sentence."""

import json
import os
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.foreign_network import Foreign, Laid
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.weights_file import read_weights, require_safe_torch
from napari_medaka_kd.project import create_project
from napari_medaka_kd.settings import (
    AdoptSettings,
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    SegmentSettings,
    SelfTrainingSettings,
)
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import whole
from napari_medaka_kd.workflow.adopt import adopt, read_classes
from napari_medaka_kd.workflow.label import label_from
from napari_medaka_kd.workflow.propose import score, segment
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.teach import student_looks

ORGANS = LabelSchema.from_ids({3: "Eye", 9: "swim bladder"})
EXACT = SegmentSettings(device="cpu", precision="float32")
THREE = {"out_channels": 3}
CLASSES = {1: "eye", 2: "swim_bladder"}


@pytest.fixture
def project(tmp_path):
    return create_project(tmp_path / "fish", "fish", ORGANS)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def small(classes=3, norm=None):
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), *([norm] if norm else []), nn.ReLU(), nn.Conv3d(4, classes, 3, padding=1)]
    return nn.Sequential(*layers).eval()


def script(network, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(file))
    return file


def taken(project, file, classes=CLASSES, **knobs):
    return drain(adopt(project, file, "foreign", AdoptSettings(**knobs), classes))


def refused(project, file, classes=CLASSES, **knobs):
    """What a person is told: plain sentences on one line."""
    with pytest.raises(UserError) as told:
        taken(project, file, classes, **knobs)
    assert "\n" not in str(told.value)
    assert not (project.folder / "checkpoints" / "foreign" / "checkpoint.json").exists()
    return str(told.value)


def asked(project, card, shape=(16, 16, 24)):
    image = torch.rand(1, card.network.channels, *shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return image, card.load(project.checkpoint("foreign"))(image)


def test_torchscript_is_probed_and_answers_as_it_did_before(project, tmp_path):
    network = small()
    card = taken(project, script(network, tmp_path / "net.ts"))
    looks = card.network
    assert (looks.architecture, looks.dimensions, looks.channels) == ("torchscript", 3, 1)
    assert (looks.classes, looks.gives, looks.tile_statistics, looks.window) == ((0, 1, 2), "logits", False, None)
    assert looks.reach == (2, 2, 2)
    assert looks.stride == (8, 8, 8)
    image, answer = asked(project, Checkpoint.open(project.checkpoint("foreign")))
    torch.testing.assert_close(answer, network(image).detach())


def test_weights_of_our_own_are_known_by_their_names_and_kept_without_a_pickle(project, tmp_path):
    network = build(NetworkSettings(dimensions=2, widths=(4, 6), coordinates=False), 3).eval()
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in network.state_dict().items())
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "net.pt")
    card = taken(project, tmp_path / "net.pt")
    assert card.network.architecture == "medaka_unet"
    assert card.network.arguments["widths"] == [4, 6]
    assert card.network.stride == (1, 8, 8)
    assert sorted(os.listdir(project.checkpoint("foreign"))) == ["checkpoint.json", "weights.safetensors"]
    image, answer = asked(project, card)
    torch.testing.assert_close(answer, network(image).detach())


def monai_network(name):
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.dynunet import DynUNet
    from monai.networks.nets.segresnet import SegResNet
    from monai.networks.nets.unet import UNet

    torch.manual_seed(0)
    strides = {"strides": (1, 2, 2), "kernel_size": (3, 3, 3), "upsample_kernel_size": (2, 2)}
    return {
        "monai_unet": lambda: UNet(2, 1, 3, (4, 8), (2,), num_res_units=1, norm="BATCH"),
        "monai_basic_unet": lambda: BasicUNet(2, 1, 3, (4, 4, 8, 8, 8, 4)),
        "monai_dynunet": lambda: DynUNet(2, 1, 3, **strides, filters=(4, 6, 8), norm_name="BATCH"),
        "monai_segresnet": lambda: SegResNet(2, init_filters=8, in_channels=1, out_channels=3, blocks_down=(1, 2),
                                             blocks_up=(1,)),
    }[name]().eval()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "statistics"),
    [
        (
            "monai_unet",
            {"channels": (4, 8), "strides": (2,), "num_res_units": 1, "norm": "batch", "out_channels": 3},
            0,
        ),
        ("monai_basic_unet", {}, 1),
        ("monai_dynunet", {}, 0),
        ("monai_segresnet", {}, 1),
    ],
)
def test_weights_of_monai_are_rebuilt_from_what_they_say(project, tmp_path, name, arguments, statistics):
    network = monai_network(name)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    card = taken(project, tmp_path / "net.pth", arguments=arguments)
    assert card.network.architecture == name
    assert card.network.tile_statistics == bool(statistics)
    image, answer = asked(project, card, (1, 32, 32))
    torch.testing.assert_close(answer[:, :, 0], network(image[:, :, 0]).detach(), rtol=1e-4, atol=1e-4)


def test_what_the_weights_do_not_say_is_asked_for(project, tmp_path):
    torch.save(monai_network("monai_unet").state_dict(), tmp_path / "net.pth")
    assert "--set arguments." in refused(project, tmp_path / "net.pth")
    wrong = {"channels": (4, 16), "strides": (2,), "out_channels": 3}
    assert "do not fit monai_unet" in refused(project, tmp_path / "net.pth", arguments=wrong)
    huge = {"channels": (4, 10**9), "strides": (2,), "out_channels": 3}
    assert "4096" in refused(project, tmp_path / "net.pth", arguments=huge)


class Harm:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_would_do_something_is_refused_and_does_nothing(project, tmp_path):
    torch.save({"state_dict": Harm(tmp_path / "done")}, tmp_path / "net.pt")
    assert "plain tensors" in refused(project, tmp_path / "net.pt")
    assert not (tmp_path / "done").exists()


def test_archives_that_could_become_larger_than_they_are_are_refused(project, tmp_path):
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("net/data.pkl", bytes(100_000_000))
    assert "are packed" in refused(project, tmp_path / "packed.pt")
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "wide.pt")
    assert "claims more values" in refused(project, tmp_path / "wide.pt")


@pytest.mark.parametrize("name", ["net.pt", "net.onnx", "net.ts", "net.safetensors", "net.zip"])
def test_rubbish_is_refused_in_a_sentence(project, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 rubbish" * 9)
    refused(project, tmp_path / name)
    refused(project, tmp_path / "none" / name)


@pytest.mark.parametrize("version", ["2.9.1", "1.13", "nightly"])
def test_a_torch_that_reads_pickles_unsafely_is_refused(version):
    with pytest.raises(UserError, match="Update torch"):
        require_safe_torch(version)
    require_safe_torch("2.10.0+cpu")


class Saver(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "done")
        return x


class Mapper(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("done", True, 4).sum()


@pytest.mark.parametrize("network", [Saver, Mapper])
def test_torchscript_that_opens_files_is_refused_before_it_runs(project, tmp_path, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "beyond the network" in refused(project, script(network(), tmp_path / "net.ts"))
    assert not (tmp_path / "done").exists()


def test_an_archive_with_two_parts_of_one_name_is_refused(project, tmp_path):
    script(small(), tmp_path / "net.ts")
    with zipfile.ZipFile(tmp_path / "net.ts", "a") as archive:
        archive.writestr(archive.namelist()[0].upper(), b"")
    assert "two parts" in refused(project, tmp_path / "net.ts")


def test_torchscript_with_pickled_objects_in_it_is_refused(project, tmp_path):
    script(small(), tmp_path / "net.ts")
    with zipfile.ZipFile(tmp_path / "net.ts", "a") as archive:
        archive.writestr("net/extra/more.pkl", b"cos\nsystem\n")
    assert "pickled objects" in refused(project, tmp_path / "net.ts")


def test_a_network_that_normalises_tiles_is_noticed(project, tmp_path):
    class Own(nn.Module):
        """Instance norm by hand, which no list of names would find."""

        def __init__(self):
            super().__init__()
            self.inner = small()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner((x - x.mean()) / (x.std() + 1e-3))

    for network in (Own(), small(norm=nn.InstanceNorm3d(4))):
        project.checkpoint("foreign").joinpath("checkpoint.json").unlink(missing_ok=True)
        card = taken(project, script(network, tmp_path / "net.ts"))
        assert card.network.tile_statistics
        assert card.network.window == (96, 96, 96)
        assert any("blended" in sentence for sentence in card.history["said"])


def test_classes_that_are_one_organ_add_up_and_others_are_background():
    card = Checkpoint(name="a", network=NetworkSettings(), organs=ORGANS).network
    assert card.architecture == "unet"
    from napari_medaka_kd.networks.foreign import ForeignSettings

    looks = ForeignSettings(architecture="onnx", dimensions=3, classes=(0, 2, 0, 2), gives="probabilities")
    given = torch.rand(1, 4, 2, 3, 4).softmax(dim=1)
    found = Foreign(Laid(Fixed(given), 3), looks, 3)(torch.zeros(1, 1, 2, 3, 4)).softmax(dim=1)
    torch.testing.assert_close(found[:, 0], given[:, 0] + given[:, 2])
    torch.testing.assert_close(found[:, 2], given[:, 1] + given[:, 3])
    assert not found[:, 1].any()


class Fixed(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, image):
        return self.answer


def test_one_channel_is_one_organ_against_background():
    from napari_medaka_kd.networks.foreign import ForeignSettings

    chance = torch.rand(1, 1, 2, 3, 4)
    for gives, answer in (("probabilities", chance), ("logits", chance.logit())):
        looks = ForeignSettings(architecture="onnx", dimensions=3, classes=(0, 1), gives=gives)
        found = Foreign(Laid(Fixed(answer), 3), looks, 2)(torch.zeros(1, 1, 2, 3, 4)).softmax(dim=1)
        torch.testing.assert_close(found[:, 1:], chance, rtol=1e-4, atol=1e-5)


def test_classes_without_a_name_become_background_and_that_is_said(project, tmp_path):
    card = taken(project, script(small(classes=4), tmp_path / "net.ts"), {3: "EYE"})
    assert card.network.classes == (0, 0, 0, 1)
    assert "swim bladder" in card.history["said"][0]
    assert "1 (?), 2 (?)" in card.history["said"][1]


def test_without_names_classes_are_the_organs_in_order_or_are_asked_for(project, tmp_path):
    card = taken(project, script(small(), tmp_path / "net.ts"), {})
    assert card.network.classes == (0, 1, 2)
    assert "1=Eye, 2=swim bladder" in card.history["said"][0]
    project.checkpoint("foreign").joinpath("checkpoint.json").unlink()
    assert "--class" in refused(project, script(small(classes=5), tmp_path / "net.ts"), {})
    assert "no class 7" in refused(project, tmp_path / "net.ts", {7: "eye"})
    assert "no organ 'fin'" in refused(project, tmp_path / "net.ts", {1: "fin"})


def test_classes_are_named_by_words_and_by_a_file(tmp_path):
    (tmp_path / "organs.toml").write_text('[organs]\n1 = "eye"\n2 = "gut"\n')
    assert read_classes(["2=liver"], tmp_path / "organs.toml") == {1: "eye", 2: "liver"}
    with pytest.raises(UserError, match="1=liver"):
        read_classes(["liver"], None)


def test_a_checkpoint_of_another_project_is_taken_with_its_history(project, tmp_path):
    looks = NetworkSettings(dimensions=2, widths=(2, 3))
    theirs = Checkpoint(name="theirs", network=looks, organs=ORGANS, trained_on=("far",), history={"verb": "train"})
    theirs.save(build(looks, 3), tmp_path / "theirs")
    card = taken(project, tmp_path / "theirs", {})
    assert (card.name, card.network, card.trained_on) == ("foreign", looks, ("far",))
    assert card.history["was"] == {"verb": "train"}
    with pytest.raises(UserError, match="already"):
        taken(project, tmp_path / "theirs", {})


def test_a_file_that_was_exchanged_after_its_adoption_is_refused(project, tmp_path):
    card = taken(project, script(small(), tmp_path / "net.ts"))
    script(small(classes=4), project.checkpoint("foreign") / "network.ts")
    with pytest.raises(UserError, match="not the file that was adopted"):
        card.load(project.checkpoint("foreign"))


def organs_by_intensity(project):
    """A foreign network that finds two organs of the made-up fish, after its first class, by brightness alone."""
    network = nn.Sequential(nn.Conv3d(1, 3, 1)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([4.0, 2.0, -4.0]))
    first, second = project.schema.names[:2]
    return network, {1: second, 2: first}


def test_the_whole_way_with_a_foreign_teacher(make_project, tmp_path):
    project = make_project(unlabelled=1, labelled=2, held_out=0)
    network, classes = organs_by_intensity(project)
    file = script(network, tmp_path / "net.ts")
    card = taken(project, file, classes)
    assert drain(segment(project, "foreign", EXACT, ["fish-02"])) == ("fish-02",)
    case = project.case("fish-02")
    found, body = case.labels("foreign").volume.read(), case.body
    image = torch.from_numpy(encode(case.volume.read(), whole(case.volume.shape), body, card.network))[None]
    chosen = network(image).detach()[0].argmax(0).numpy()
    inside = np.zeros(found.shape, bool)
    inside[body.box] = True
    inside &= body.inside(whole(found.shape))
    ids = np.array([0, project.schema.ids[1], project.schema.ids[0]])
    np.testing.assert_array_equal(found, ids[chosen] * inside)
    knobs = QualitySettings(copies=4, critic_steps=0)
    assert drain(score(project, "foreign", knobs, ["fish-02"])) == ("fish-02",)
    student = student_looks(card.network)
    assert (student.dimensions, student.coordinates, student.members) == (3, False, 1)
    few = FitSettings(steps=2, save_every=9, validate_every=9, device="cpu", precision="float32")
    settings = DistilSettings(
        network=NetworkSettings(dimensions=3, widths=(2, 3), coordinates=False),
        patches=PatchSettings(patch=(16, 16, 16), batch=1),
        fit=few,
        strategy=SelfTrainingSettings(unlabelled=1),
    )
    assert drain(distil(project, "student", "foreign", settings)).history["teacher"] == "foreign"


def test_a_teacher_that_is_blended_teaches_by_its_label_maps_alone(make_project, tmp_path):
    project = make_project(unlabelled=1, labelled=1, held_out=0)
    network, classes = organs_by_intensity(project)
    layers = nn.Sequential(nn.InstanceNorm3d(1), network[0]).eval()
    taken(project, script(layers, tmp_path / "net.ts"), classes, window=(16, 16, 16))
    drain(segment(project, "foreign", EXACT, ["fish-01"]))
    assert project.case("fish-01").labels("foreign").volume.read().any()
    drain(score(project, "foreign", QualitySettings(copies=4, critic_steps=0), ["fish-01"]))
    with pytest.raises(UserError, match="distil_weight=0"):
        drain(distil(project, "student", "foreign", DistilSettings()))


def test_labels_that_were_taken_from_a_teacher_do_not_tell_how_good_it_is(make_project, tmp_path):
    project = make_project(unlabelled=2, labelled=0, held_out=0)
    network, classes = organs_by_intensity(project)
    taken(project, script(network, tmp_path / "net.ts"), classes)
    drain(segment(project, "foreign", EXACT))
    drain(label_from(project, "fish-00", "foreign"))
    with pytest.raises(UserError, match="None of the animals"):
        drain(score(project, "foreign", QualitySettings(copies=4, critic_steps=0)))


def test_the_command_says_what_it_assumed(project, tmp_path):
    file = script(small(classes=4), tmp_path / "net.ts")
    words = ["adopt", str(project.folder), str(file), "--name", "other", "--class", "1=Eye", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "swim bladder" in json.loads(done.stdout.splitlines()[-1])["said"][0]
    assert project.checkpoint("other").is_dir()


# --- MONAI bundles


@pytest.fixture
def bundle(tmp_path):
    """One whose configs would make a folder if anything in them were called."""
    folder = tmp_path / "fish_bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    done = str(tmp_path / "done")
    harm = {"_target_": "os.mkdir", "path": done}
    program = {"imports": ["$import os"], "run": f"$os.mkdir({done!r})", "network_def": harm}
    for name in ("inference.json", "train.json", "metadata_extra.json"):
        (folder / "configs" / name).write_text(json.dumps(program))
    (folder / "configs" / "inference.yaml").write_text(f"run: $__import__('os').mkdir({done!r})\n")
    names = {"0": "background", "1": "SWIM_BLADDER", "2": "fin", "3": "eye"}
    formats = {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [32, 48, 48], "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"num_channels": 4, "channel_def": names}},
    }
    text = {"version": f"$os.mkdir({done!r})", "network_data_format": formats, "network_def": harm}
    (folder / "configs" / "metadata.json").write_text(json.dumps(text))
    yield folder
    assert not (tmp_path / "done").exists()


def test_a_bundle_is_taken_by_its_weights_and_metadata_and_its_configs_are_not_run(project, bundle):
    script(small(classes=4, norm=nn.InstanceNorm3d(4)), bundle / "models" / "model.ts")
    card = taken(project, bundle, {})
    assert card.network.classes == (0, 2, 0, 1)
    assert card.network.window == (32, 48, 48)
    assert any("2 (fin)" in sentence for sentence in card.history["said"])
    project.checkpoint("foreign").joinpath("checkpoint.json").unlink()
    (bundle / "models" / "model.ts").unlink()
    torch.save(build(NetworkSettings(dimensions=2, widths=(4, 6), coordinates=False), 4).state_dict(),
               bundle / "models" / "model.pt")  # fmt: skip
    assert taken(project, bundle, {}).network.architecture == "medaka_unet"


def test_a_bundle_with_a_pickle_that_would_do_something_is_refused(project, bundle, tmp_path):
    torch.save(Harm(tmp_path / "done"), bundle / "models" / "model.pt")
    assert "plain tensors" in refused(project, bundle, {})


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[1, 2]", '{"network_data_format": 7}', " " * 1_000_001])
def test_a_bundle_with_odd_metadata_is_refused_or_taken_as_nameless(project, bundle, text):
    (bundle / "configs" / "metadata.json").write_text(text)
    refused(project, bundle, {})


def test_a_bundle_of_several_channels_or_an_archive_is_refused(project, bundle, tmp_path):
    formats = {"network_data_format": {"inputs": {"image": {"num_channels": 4}}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(formats))
    assert "4 channels" in refused(project, bundle, {})
    assert "Unpack" in refused(project, tmp_path / "bundle.zip", {})


# --- adapters


ADAPTER = """
import torch

class Bright:
    dimensions, in_channels, classes = 3, 1, 3
    stride, reach, tile_statistics = (4, 4, 4), (1, 1, 1), False

    def __init__(self, file):
        self.level = float(file.read_text())

    def logits(self, patch):
        return torch.cat((torch.zeros_like(patch), patch - self.level, self.level - patch), dim=1)

class Half:
    def __init__(self, file):
        self.dimensions = 3
"""


@pytest.fixture
def _adapters(tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "brightness-1.0.dist-info").mkdir(parents=True)
    (site / "brightness_module.py").write_text(ADAPTER)
    (site / "brightness-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: brightness\nVersion: 1.0\n"
    )
    points = "[napari_medaka_kd.adapters]\nbright = brightness_module:Bright\nhalf = brightness_module:Half\n"
    (site / "brightness-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "level.txt").write_text("0.5")


@pytest.mark.usefixtures("_adapters")
def test_an_installed_adapter_runs_its_own_file(project, tmp_path):
    card = taken(project, tmp_path / "level.txt", adapter="bright")
    assert (card.network.architecture, card.network.stride, card.network.reach) == ("adapter", (4, 4, 4), (1, 1, 1))
    image, answer = asked(project, card)
    np.testing.assert_allclose(answer[:, 1:2].numpy(), image.numpy() - 0.5)
    assert "lacks" in refused_again(project, tmp_path, "half")
    assert "installed are: bright, half" in refused_again(project, tmp_path, "none")


def refused_again(project, tmp_path, adapter):
    project.checkpoint("foreign").joinpath("checkpoint.json").unlink(missing_ok=True)
    return refused(project, tmp_path / "level.txt", adapter=adapter)


def test_what_a_file_of_weights_is_not_is_said():
    with pytest.raises(UserError, match="plain tensors"):
        read_weights(b"rubbish", "net.safetensors")
