"""A DICOM series, in slices or in one file, is one volume that lies as it should; gaps and damage are refused."""

import itertools
import logging

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.open import open_volume

SHAPE, SIZE = (12, 20, 17), (5.0, 2.0, 1.5)  # voxels; µm
SOME = (slice(3, 9), slice(4, 20), slice(1, 6))
LPS = np.diag([-1.0, -1.0, 1.0])  # steps along x (right), y (front), z (up), as DICOM says them
SERIES = "1.2.826.0.1.3680043.8.498.1"


def voxels(dtype="u2"):
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def base(array, syntax=ExplicitVRLittleEndian, kind=CTImageStorage):
    """A data set with the pixels of ``array``, (y, x) or (z, y, x)."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = syntax, kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.SOPClassUID, data.SeriesInstanceUID, data.SeriesDescription = kind, SERIES, "fish"
    data.Rows, data.Columns = array.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * array.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(array.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data.PixelData = array.astype(array.dtype.newbyteorder(order)).tobytes()
    data["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"
    return data


def write(data, path, **others):
    for key, value in others.items():
        if value is None:
            delattr(data, key)
        else:
            setattr(data, key, value)
    if data.file_meta.TransferSyntaxUID == RLELossless:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(path, enforce_file_format=True)


def directions(axes=(2, 1, 0), flips=(0, 0, 0)):
    """Steps, LPS and mm, along the slices, rows and columns of a file whose axes are the world's ``axes``."""
    return [LPS[axis] * SIZE[2 - axis] / 1e3 * (-1 if flip else 1) for axis, flip in zip(axes, flips, strict=True)]


def series(folder, array, steps=None, name="IM{}.dcm", change=None, **how):
    """``array`` as a slice in each file, in an order that is not that of the slices."""
    along, down, right = directions() if steps is None else steps
    folder.mkdir(exist_ok=True)
    for number, page in enumerate(array):
        data = base(page, **how)
        data.InstanceNumber = number + 1
        data.ImagePositionPatient = [float(f"{value:.9g}") for value in 0.7 + number * along]
        data.ImageOrientationPatient = list(right / np.linalg.norm(right)) + list(down / np.linalg.norm(down))
        data.PixelSpacing = [f"{np.linalg.norm(step):.6g}" for step in (down, right)]
        write(
            data,
            folder / name.format(number * 7 % 12),
            **((change or {}).get(number, {}) | (change or {}).get("all", {})),
        )
    return folder


def enhanced(path, array, steps=None, kind=EnhancedCTImageStorage, **others):
    """``array`` as one file; each frame says where it lies."""
    along, down, right = directions() if steps is None else steps
    data = base(array, kind=kind)
    data.NumberOfFrames = len(array)
    measures, turned, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [float(np.linalg.norm(step)) for step in (down, right)]
    turned.ImageOrientationPatient = list(right / np.linalg.norm(right)) + list(down / np.linalg.norm(down))
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([turned])
    data.SharedFunctionalGroupsSequence, frames = Sequence([shared]), []
    for number in range(len(array)):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = list(map(float, number * along))
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    write(data, path, **others)
    return path


def matches(volume, array):
    assert volume.voxel_size == pytest.approx(SIZE, rel=1e-5)
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])
    np.testing.assert_array_equal(volume.read(), array)


SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_a_folder_of_slices_is_a_volume_whatever_their_names(tmp_path, syntax, dtype):
    volume = open_volume(series(tmp_path / "fish", voxels(dtype), syntax=syntax))
    assert (volume.shape, volume.dtype, volume.name) == (SHAPE, np.dtype(dtype), "fish")
    matches(volume, voxels(dtype))


@pytest.mark.parametrize("name", ["IM{}", "1.2.840.{}", "IM{}.DCM"])
def test_slices_need_no_ending(tmp_path, name):
    folder = series(tmp_path / "fish", voxels(), name=name)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / "README").write_text("about")
    (folder / ".hidden.dcm").write_bytes(b"junk")
    matches(open_volume(folder), voxels())


def test_a_multi_frame_file_is_a_volume(tmp_path):
    volume = open_volume(enhanced(tmp_path / "fish.dcm", voxels()))
    assert volume.name == "fish"
    matches(volume, voxels())
    matches(open_volume(enhanced(tmp_path / "fish", voxels())), voxels())


ORIENTATIONS = [(p, f) for p in itertools.permutations(range(3)) for f in itertools.product([0, 1], repeat=3)]


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::3])
def test_any_storage_order_gives_the_same_volume(tmp_path, axes, flips):
    stored = voxels().transpose([2 - axis for axis in axes])
    for axis, flip in enumerate(flips):
        stored = np.flip(stored, axis) if flip else stored
    matches(open_volume(enhanced(tmp_path / "fish.dcm", stored, directions(axes, flips))), voxels())


def test_values_are_rescaled_and_stay_whole_where_they_can(tmp_path):
    shifted = open_volume(
        series(
            tmp_path / "a",
            voxels(),
            change={"all": {"RescaleSlope": 1, "RescaleIntercept": -1024, "BitsStored": 12, "HighBit": 11}},
        )
    )
    assert shifted.dtype == np.int16
    matches(shifted, voxels().astype("i2") - 1024)
    wide = open_volume(series(tmp_path / "b", voxels(), change={"all": {"RescaleSlope": 2, "RescaleIntercept": -1024}}))
    assert wide.dtype == np.int32
    matches(wide, 2 * voxels().astype("i4") - 1024)
    broken = open_volume(series(tmp_path / "c", voxels(), change={"all": {"RescaleSlope": 0.5}}))
    assert broken.dtype == np.float32
    matches(broken, voxels() / 2)


def test_each_slice_has_a_scale_of_its_own(tmp_path):
    change = {3: {"RescaleSlope": 3, "RescaleIntercept": 5}}
    wanted = voxels("u1").astype("i4")
    wanted[3] = 3 * wanted[3] + 5
    volume = open_volume(series(tmp_path / "a", voxels("u1"), change=change))
    assert volume.dtype == np.int16
    matches(volume, wanted)


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_where_the_largest_value_is_the_darkest_values_are_turned_over(tmp_path, dtype):
    bits = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
    volume = open_volume(series(tmp_path / "a", voxels(dtype), change={"all": bits}))
    matches(volume, (4095 if dtype == "u2" else -1) - voxels(dtype))


def test_bits_above_those_stored_are_no_part_of_the_value(tmp_path):
    dirty = voxels() | 0xA000
    matches(open_volume(series(tmp_path / "a", dirty, change={"all": {"BitsStored": 12, "HighBit": 11}})), voxels())


@pytest.mark.parametrize("missing", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_a_voxel_size_is_asked_for_where_there_is_none(tmp_path, missing):
    folder = series(tmp_path / "a", voxels(), change={"all": {missing: None}})
    with pytest.raises(InvalidVolume, match="does not say how large"):
        open_volume(folder)
    volume = open_volume(folder, (3, 2, 1))
    assert volume.voxel_size == (3, 2, 1)
    np.testing.assert_array_equal(volume.read(), voxels())


def test_several_series_are_listed(tmp_path):
    series(tmp_path / "a", voxels(), name="one{}.dcm")
    series(
        tmp_path / "a",
        voxels()[:3],
        name="two{}.dcm",
        change={"all": {"SeriesInstanceUID": "1.2.3", "SeriesDescription": "scout"}},
    )
    with pytest.raises(InvalidVolume, match=r"12 of 'fish'.*3 of 'scout'.*folder of its own"):
        open_volume(tmp_path / "a")


def test_a_missing_a_doubled_and_a_tilted_slice_are_refused(tmp_path):
    folder = series(tmp_path / "gap", voxels())
    (folder / f"IM{5 * 7 % 12}.dcm").unlink()
    with pytest.raises(
        InvalidVolume, match=r"not evenly spaced: most are 0\.005 mm apart.*IM4\.dcm.*IM6\.dcm.*0\.01 mm"
    ):
        open_volume(folder)
    folder = series(tmp_path / "twice", voxels())
    (folder / "copy.dcm").write_bytes((folder / "IM0.dcm").read_bytes())
    with pytest.raises(InvalidVolume, match="not evenly spaced"):
        open_volume(folder)
    along, down, right = directions()
    with pytest.raises(InvalidVolume, match=r"shifted sideways by 0\.0005 mm"):
        open_volume(series(tmp_path / "tilted", voxels(), (along + 5e-4 * LPS[1], down, right)))


def test_slices_that_are_not_alike_are_refused(tmp_path):
    for name, page, others in (
        ("size", np.zeros((3, 4), "u2"), {}),
        ("type", voxels("i2")[0], {}),
        ("turned", voxels()[0], {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}),
        ("pixels", voxels()[0], {"PixelSpacing": [0.1, 0.1]}),
    ):
        folder = series(tmp_path / name, voxels())
        data = base(page)
        data.update(
            pydicom.dcmread(
                folder / "IM0.dcm", specific_tags=["ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient"]
            )
        )
        data.ImagePositionPatient = [0.7, 0.7, 0.7 + 12 * SIZE[0] / 1e3]
        write(data, folder / "IM12.dcm", **others)
        with pytest.raises(InvalidVolume, match=r"not like the first|not turned alike"):
            open_volume(folder)


@pytest.mark.parametrize(
    "others",
    [
        {"Rows": None},
        {"Rows": 2000},
        {"NumberOfFrames": 10**9},
        {"NumberOfFrames": -1},
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "RGB"},
        {"BitsStored": 17},
        {"HighBit": 3},
        {"BitsAllocated": 1},
        {"PixelData": None},
        {"PixelData": b""},
        {"PerFrameFunctionalGroupsSequence": Sequence([])},
        {"PerFrameFunctionalGroupsSequence": Sequence([Dataset()])},
        {"SharedFunctionalGroupsSequence": None},
    ],
)
def test_a_header_that_cannot_be_true_is_refused_on_opening(tmp_path, others):
    with pytest.raises(InvalidVolume):
        open_volume(enhanced(tmp_path / "a.dcm", voxels(), **others))


NUMBERS = {"PixelSpacing": ("28003000", 2), "ImagePositionPatient": ("20003200", 3)}
NUMBERS |= {"ImageOrientationPatient": ("20003700", 6), "RescaleSlope": ("28005310", 1)}


UNTRUE = [*itertools.product(NUMBERS, (b"nan", b"inf", b"0")), ("PixelSpacing", b"-1")]


@pytest.mark.parametrize(("key", "number"), UNTRUE)
def test_numbers_that_cannot_be_true_are_refused(tmp_path, key, number):
    folder = series(tmp_path / "a", voxels(), change={"all": {"RescaleSlope": 1}})
    element, count = NUMBERS[key]
    told = b"\\".join([number] * count)
    told += b" " * (len(told) % 2)
    for file in folder.iterdir():
        content = file.read_bytes()
        at = content.index(bytes.fromhex(element) + b"DS") + 6
        after = at + 2 + int.from_bytes(content[at : at + 2], "little")
        file.write_bytes(content[:at] + len(told).to_bytes(2, "little") + told + content[after:])
    with pytest.raises(InvalidVolume):
        open_volume(folder)


def test_what_cannot_be_decoded_is_said_on_opening(tmp_path):
    data = base(voxels()[0], syntax=ExplicitVRLittleEndian)
    data.PixelData = pydicom.encaps.encapsulate([b"\0" * 50])
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InvalidVolume, match=r"JPEG-LS Lossless.*Export it without compression"):
        open_volume(tmp_path / "a.dcm")
    write(base(voxels()[0], syntax=DeflatedExplicitVRLittleEndian), tmp_path / "b.dcm")
    with pytest.raises(InvalidVolume, match=r"Deflated.*without compression"):
        open_volume(tmp_path / "b.dcm")


def test_a_picture_junk_and_a_bare_header_are_refused(tmp_path):
    folder = series(tmp_path / "a", voxels()[:1])
    with pytest.raises(InvalidVolume, match="2-D image"):
        open_volume(folder)
    with pytest.raises(InvalidVolume, match="2-D image"):
        open_volume(folder / "IM0.dcm")
    (tmp_path / "junk.dcm").write_bytes(np.random.default_rng(0).bytes(400))
    (tmp_path / "bare").write_bytes(bytes(128) + b"DICM")
    for name in ("junk.dcm", "bare"):
        with pytest.raises(InvalidVolume, match=name):
            open_volume(tmp_path / name)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_cut_off_file_is_refused(tmp_path, syntax, caplog):
    caplog.set_level(logging.CRITICAL, "pydicom")
    folder = series(tmp_path / "a", voxels(), syntax=syntax)
    content = (folder / "IM0.dcm").read_bytes()
    for end in range(0, len(content) - 8, len(content) // 25):  # the last 8 bytes may be but a mark of the end
        (folder / "IM0.dcm").write_bytes(content[:end])
        with pytest.raises(UserError):
            open_volume(folder).read()


def test_a_file_cut_off_after_opening_is_refused_when_it_is_read(tmp_path):
    path = enhanced(tmp_path / "a.dcm", voxels())
    volume = open_volume(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidVolume, match="10 bytes are missing"):
        volume.read()


def test_a_region_opens_only_the_files_of_its_own_slices(tmp_path):
    folder = series(tmp_path / "a", voxels())
    volume = open_volume(folder)
    (folder / "IM0.dcm").unlink()
    np.testing.assert_array_equal(volume.read(SOME), voxels()[SOME])
    with pytest.raises(InvalidVolume, match=r"IM0\.dcm"):
        volume.read()
