"""Back ends: all of them say what float32 says, and the choice falls on none that does not."""

import functools
import importlib.util
import json
import sys

import numpy as np
import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.backends.choose import DOUBT, Ahead, Sample, ask_float32, choose, distance
from napari_medaka_kd.networks.backends.remembered import FILE
from napari_medaka_kd.networks.backends.table import EXACT, TABLE, Entry, available, make
from napari_medaka_kd.networks.backends.torch_backend import TorchBackend
from napari_medaka_kd.networks.backends.verdict import NORMS, folded
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.volume import whole

CPU = torch.device("cpu")
TILE = (8, 16, 24)
MUCH = 10**9
AHEAD = Ahead(TILE, MUCH)
TOSSED = {"float32": 2e-4, "bfloat16": 0.02}  # share of the voxels: networks that learned nothing often hardly decide
LOOKS = {
    "2-D": NetworkSettings(dimensions=2, widths=(4, 8)),
    "3-D": NetworkSettings(dimensions=3, widths=(4, 8)),
    "2-D ensemble": NetworkSettings(dimensions=2, widths=(4, 8), members=2),
    "3-D ensemble": NetworkSettings(dimensions=3, widths=(4, 8), members=2),
}
QUICK = sorted(name for name, entry in TABLE.items() if entry.here(CPU) and not entry.slow_to_start)
looks_of = pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS)


@torch.no_grad()
def network_of(looks, classes=5, seed=0):
    """With the statistics of one that was trained, and all classes alike frequent."""
    network = build(looks, classes, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.uniform_(0.2, 1.0, generator=generator)
    for member in network.members if looks.members > 1 else [network]:
        member.head.weight.normal_(0, 1, generator=generator)
        member.head.bias -= member(torch.from_numpy(scan())[None]).mean(dim=(0, 2, 3, 4))
    return network


def scan(shape=TILE, seed=0):
    """Smooth, as scans are."""
    z, y, x = np.meshgrid(*(np.linspace(0, 3, side, dtype=np.float32) for side in shape), indexing="ij")
    waves = [np.sin(z * (k + 1) + seed) * np.cos(y * (k + 2)) + np.sin(x * (k + 1)) for k in range(4)]
    return np.stack(waves).astype(np.float32)


def sample(shape=TILE, seed=0):
    """All of a scan."""
    return Sample(scan(shape, seed), whole(shape))


PART = Sample(scan(), (slice(2, 7), slice(3, 9), slice(11, 20)))


def make_here(name, network, looks):
    if name not in available(network, looks, CPU):
        pytest.skip(f"this machine has no {name}")
    return make(name, network, looks, TILE)


@functools.cache
def pair_of(name, kind):
    """A network and its back end, made once for all tests that only ask it."""
    network = network_of(LOOKS[kind])
    return network, make_here(name, network, LOOKS[kind])


@pytest.fixture
def without_compilers(monkeypatch):
    """Compiling takes longer than all other tests together."""
    for name in [name for name in TABLE if TABLE[name].slow_to_start]:
        monkeypatch.delitem(TABLE, name)


@looks_of
@torch.inference_mode()
def test_the_exact_back_end_says_what_the_members_vote_for(looks):
    network, image = network_of(looks), scan()
    classes, doubt = make(EXACT, network, looks, TILE)(image, whole(TILE))
    members = network.members if looks.members > 1 else [network]
    votes = torch.stack([member(torch.from_numpy(image)[None]).softmax(dim=1)[0] for member in members])
    chosen = votes.mean(dim=0).argmax(dim=0)
    agreed = torch.stack([vote.gather(0, chosen[None])[0] for vote in votes]).mean(dim=0)
    assert len(np.unique(classes)) > 2
    assert np.mean(classes == chosen.numpy()) > 0.9999
    assert np.abs(doubt - 255 * (1 - agreed.numpy())).max() <= 0.51
    assert classes.dtype == doubt.dtype == np.uint8


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("kind", LOOKS)
def test_every_back_end_agrees_with_float32_on_tiles_of_any_size(name, kind):
    network, backend = pair_of(name, kind)
    truth = ask_float32(network, (sample(), sample((4, 8, 2)), sample((8, 4, 20), seed=1), PART))
    different, off = distance(backend, truth)
    assert different <= TOSSED[name.split()[-1]]
    assert off <= DOUBT
    assert backend.name == name


@pytest.mark.compiler
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
@looks_of
def test_a_compiled_network_agrees_with_float32(looks):
    network = network_of(looks)
    backend = make_here("compiled bfloat16", network, looks)
    different, off = distance(backend, ask_float32(network, (sample(), sample((4, 8, 2)), PART)))
    assert different <= TOSSED["bfloat16"]
    assert off <= DOUBT


@pytest.mark.parametrize("name", QUICK)
def test_an_answer_is_not_overwritten_by_the_next(name):
    _, backend = pair_of(name, "3-D")
    classes, doubt = backend(scan(), whole(TILE))
    before = classes.copy(), doubt.copy()
    backend(scan(seed=2), whole(TILE))
    assert np.array_equal(classes, before[0])
    assert np.array_equal(doubt, before[1])


@pytest.mark.parametrize("name", QUICK)
def test_a_back_end_leaves_its_network_as_it_was(name):
    network, backend = pair_of(name, "3-D")
    backend(scan(), whole(TILE))
    fresh = network_of(LOOKS["3-D"]).state_dict()
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", QUICK)
def test_more_classes_than_a_byte_holds_are_told_apart(name):
    looks = NetworkSettings(dimensions=2, widths=(4, 4))
    network = network_of(looks, classes=300)
    network.head.bias.data[290] += 1000
    classes, _ = make_here(name, network, looks)(scan(), whole(TILE))
    assert classes.dtype == np.uint16
    assert np.all(classes == 290)


@looks_of
@torch.inference_mode()
def test_folding_takes_every_norm_away_and_changes_no_answer(looks):
    network, image = network_of(looks), torch.from_numpy(scan())[None]
    lean = folded(network)
    assert not [module for module in lean.modules() if isinstance(module, NORMS)]
    assert torch.allclose(lean(image), network(image), atol=1e-3)


@looks_of
@torch.inference_mode()
def test_heads_stay_float32_so_that_two_likely_classes_are_seldom_equal(looks):
    network = network_of(looks)
    member = folded(network, torch.bfloat16)
    member = member.members[0] if looks.members > 1 else member
    logits = member(torch.from_numpy(scan((16, 64, 64)))[None].bfloat16())
    tops = logits.topk(2, dim=1).values[0]
    equal, equal_if_rounded = (int(torch.count_nonzero(x[0] == x[1])) for x in (tops, tops.bfloat16()))
    assert logits.dtype == torch.float32
    assert equal_if_rounded > 10 * (equal + 1)


def test_a_back_end_that_is_not_here_is_refused_by_name():
    with pytest.raises(UserError, match="no back end 'abacus' here") as caught:
        make("abacus", network_of(LOOKS["2-D"]), LOOKS["2-D"], TILE)
    assert EXACT in caught.value.remedy


needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@needs_openvino
def test_a_network_is_traced_once_for_all_volumes_since_torch_frees_no_trace(monkeypatch):
    traced, trace = [], torch.jit.trace
    monkeypatch.setattr(torch.jit, "trace", lambda *given, **more: traced.append(1) or trace(*given, **more))
    looks, first, second = LOOKS["2-D"], network_of(LOOKS["2-D"], seed=31), network_of(LOOKS["2-D"], seed=32)
    said = [
        make("openvino float32", network, looks, TILE)(sample().image, sample().inner)
        for network in (first, first, second)
    ]
    assert len(traced) == 2
    np.testing.assert_array_equal(said[0][0], said[1][0])
    assert (said[0][0] != said[2][0]).any()


@needs_openvino
def test_openvino_finds_no_package_to_report_with():
    pair_of("openvino float32", "2-D")
    assert sys.modules["openvino_telemetry"] is None


# --- the choice


class Hasty:
    """Answers at once, and like float32 but for one in ``every`` voxels and ``doubt`` too much."""

    def __init__(self, every, doubt):
        self.every, self.doubt = every, doubt
        self.name, self.answers = "hasty float32", {}

    def make(self, name, network, looks, tile, soft):
        self.exact = TorchBackend(name, network, torch.float32)
        return self

    def __call__(self, image, inner):
        key = image.tobytes()
        if key not in self.answers:
            classes, doubt = self.exact(image, inner)
            if self.every:
                classes.ravel()[:: self.every] += 1
            self.answers[key] = classes, np.minimum(doubt.astype(int) + self.doubt, 255).astype(np.uint8)
        return self.answers[key]


def choose_with(monkeypatch, entry, folder=None, voxels=MUCH):
    for name in set(TABLE) - {EXACT}:
        monkeypatch.delitem(TABLE, name)
    monkeypatch.setitem(TABLE, "hasty float32", entry)
    looks = LOOKS["3-D"]
    return choose(network_of(looks), looks, Ahead(TILE, voxels), sample(), folder).name


def test_a_faster_back_end_that_agrees_is_taken(monkeypatch):
    assert choose_with(monkeypatch, Entry(lambda on: True, Hasty(0, 0).make)) == "hasty float32"


def test_what_is_slow_to_start_is_tried_only_where_much_is_to_be_computed(monkeypatch, tmp_path):
    slow = Entry(lambda on: True, Hasty(0, 0).make, slow_to_start=True)
    assert choose_with(monkeypatch, slow, tmp_path, voxels=1000) == EXACT
    assert not (tmp_path / FILE).exists()
    assert choose_with(monkeypatch, slow, tmp_path) == "hasty float32"
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(("every", "doubt"), [(100, 0), (0, 10)], ids=["other classes", "other doubt"])
def test_a_faster_back_end_that_is_wrong_is_not_taken(monkeypatch, every, doubt):
    assert choose_with(monkeypatch, Entry(lambda on: True, Hasty(every, doubt).make)) == EXACT


def test_a_back_end_that_is_wrong_only_about_narrow_tiles_is_not_taken(monkeypatch):
    class Narrow(Hasty):
        def __call__(self, image, inner):
            classes, doubt = super().__call__(image, inner)
            return (np.zeros_like(classes) if image.shape[3] == 2 else classes), doubt

    assert choose_with(monkeypatch, Entry(lambda on: True, Narrow(0, 0).make)) == EXACT


def test_a_back_end_that_fails_is_not_taken(monkeypatch):
    def fail(name, network, looks, tile):
        raise OSError("a library is missing")

    assert choose_with(monkeypatch, Entry(lambda on: True, fail)) == EXACT


def test_the_choice_is_remembered_until_the_weights_change(tmp_path, without_compilers):
    looks = LOOKS["3-D"]
    first = choose(network_of(looks), looks, AHEAD, sample(), tmp_path).name
    (known,) = json.loads((tmp_path / FILE).read_text())
    assert json.loads((tmp_path / FILE).read_text())[known]["name"] == first
    # Another name in the file is believed, so it is not measured again.
    (tmp_path / FILE).write_text(json.dumps({known: {"name": EXACT}}))
    assert choose(network_of(looks), looks, AHEAD, sample(), tmp_path).name == EXACT
    assert list(json.loads((tmp_path / FILE).read_text())) == [known]
    choose(network_of(looks, seed=1), looks, AHEAD, sample(), tmp_path)
    assert len(json.loads((tmp_path / FILE).read_text())) == 2


def test_the_choice_depends_on_the_tile(tmp_path, monkeypatch):
    looks = LOOKS["2-D"]
    for name in set(TABLE) - {EXACT}:
        monkeypatch.delitem(TABLE, name)
    for tile in (TILE, (8, 16, 16)):
        choose(network_of(looks), looks, Ahead(tile, MUCH), sample(tile), tmp_path)
    assert len(json.loads((tmp_path / FILE).read_text())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "[" * 5000])
def test_a_damaged_memory_is_measured_anew(tmp_path, monkeypatch, text):
    (tmp_path / FILE).write_text(text)
    for name in set(TABLE) - {EXACT}:
        monkeypatch.delitem(TABLE, name)
    looks = LOOKS["2-D"]
    assert choose(network_of(looks), looks, AHEAD, sample(), tmp_path).name == EXACT
    assert EXACT in (tmp_path / FILE).read_text()
