"""Quality: learned from labelled animals, moved by verdicts, kept on disk, and refused when damaged."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.quality.anatomy import ANATOMY, Anatomy, Flag
from napari_medaka_kd.quality.classifier import Examples, auroc
from napari_medaka_kd.quality.critic import criticise, judged_views, look, train_critic
from napari_medaka_kd.quality.distort import distort
from napari_medaka_kd.quality.evidence import FEATURES, SECOND_LOOKS, columns, read
from napari_medaka_kd.quality.facts import look_at
from napari_medaka_kd.quality.learn import Labelled, learn_quality, refit
from napari_medaka_kd.quality.quality import CLASSIFIER, CRITIC, TABLES, Quality, QualityScore
from napari_medaka_kd.quality.reasons import Teller, details_of
from napari_medaka_kd.quality.record import FILE, Record, mean_score, open_record, save_record
from napari_medaka_kd.quality.rules import Rules
from napari_medaka_kd.settings import QualitySettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.labels import LabelSchema

ORGANS = 2
SETTINGS = QualitySettings(copies=8, critic_steps=0, slab=6)


def fish(seed):
    """Organ 1 is dim, organ 2 bright."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((12, 16, 16), np.int64)
    for organ, z in ((1, 1), (2, 6)):
        y, x = rng.integers(2, 6, 2)
        classes[z : z + 5, y : y + 7, x : x + 7] = organ
    scan = 40 * (classes == 1) + 80 * (classes == 2) + rng.normal(5, 3, classes.shape)
    return Labelled(scan, classes, Body((slice(0, 12), slice(0, 16), slice(0, 16)), (0.0, 100.0)))


ANIMALS = [fish(seed) for seed in range(4)]


def teacher(number, scan):
    """Right where the scan is as it was; from some distortion on it loses half of an organ, and is in doubt."""
    classes, change = ANIMALS[number].classes.copy(), np.abs(scan - ANIMALS[number].image).mean()
    doubt = np.full(classes.shape, min(250, int(4 * change)), np.uint8)
    if change > 10:
        classes[:, :7] = 0
    return classes, doubt


@pytest.fixture(scope="module")
def learned():
    return drain(learn_quality(ANIMALS, (teacher,), ORGANS, SETTINGS))


def halved(classes):
    """Each organ without its left half."""
    left = classes.copy()
    for organ in range(1, ORGANS + 1):
        start = np.flatnonzero((classes == organ).any((0, 1)))[0]
        left[:, :, : start + 4][classes[:, :, : start + 4] == organ] = 0
    return left


def reading_of(animal, classes=None, doubt=4):
    classes = animal.classes if classes is None else classes
    return read(animal.image, classes, np.full(classes.shape, doubt, np.uint8), animal.body)


def scores(quality, reading):
    return {(score.organ, *score.slab): score.score for score in quality.judge(quality.evidence(reading))}


def test_a_good_organ_is_thought_better_of_than_a_faulty_one(learned):
    animal = fish(9)
    faulty = halved(animal.classes)
    good, bad = scores(learned, reading_of(animal)), scores(learned, reading_of(animal, faulty, 120))
    assert all(bad[unit] < good[unit] - 0.2 for unit in bad)
    assert learned.classifier.auroc > 0.6


def test_the_classifier_learns_from_every_animal(learned):
    assert set(learned.examples.animal) == {0, 1, 2, 3}
    assert len(learned.examples) == learned.classifier.examples
    assert 0 < learned.examples.good.mean() < 1


def test_every_organ_present_gets_a_score_its_evidence_and_plain_reasons(learned):
    animal = fish(9)
    faulty = halved(animal.classes)
    judged = learned.judge(learned.evidence(reading_of(animal, faulty, 120)))
    assert {score.organ for score in judged} == {1, 2}
    assert {score.slab for score in judged} == {(0, 6), (6, 12)}
    for score in judged:
        assert 0 <= score.score <= 1
        assert len(score.evidence) == len(FEATURES)
        assert len(score.reasons) <= 2
    assert any(score.reasons for score in judged)


def test_nothing_present_is_nothing_judged(learned):
    assert learned.judge(learned.evidence(reading_of(fish(9), np.zeros((12, 16, 16), np.int64)))) == ()


def test_verdicts_move_the_scores_towards_them(learned):
    reading = reading_of(fish(9))
    evidence = learned.evidence(reading)
    before = scores(learned, reading)
    for good in (True, False):
        judged = [(row, good, 0) for row in evidence.values()] * 3
        after = scores(refit(learned, judged, SETTINGS), reading)
        assert all((after[unit] > before[unit]) == good for unit in before)
    assert refit(learned, [], SETTINGS) is learned


def test_a_refit_starts_from_the_made_up_examples_each_time(learned):
    row = next(iter(learned.evidence(reading_of(fish(9))).values()))
    once = refit(learned, [(row, False, 0)], SETTINGS)
    assert refit(once, [(row, False, 0)], SETTINGS).classifier == once.classifier
    assert once.classifier.verdicts == 1


def test_a_refit_to_thousands_of_rows_is_a_matter_of_moments(learned):
    rng = np.random.default_rng(0)
    good = rng.random(5000) < 0.7
    many = Examples(rng.normal(0, 1, (5000, 10)) + good[:, None], good, np.ones(5000), np.arange(5000) % 40)
    quality = Quality(ORGANS, 6, learned.cohort, None, learned.classifier, many)
    began = time.perf_counter()
    refit(quality, [(many.evidence[0], True, 0)] * 30, SETTINGS)
    assert time.perf_counter() - began < 10  # 2 s are promised on a machine of one's own


def test_quality_comes_back_as_it_was_saved(learned, tmp_path):
    learned.save(tmp_path)
    again = Quality.open(tmp_path)
    reading = reading_of(fish(9))
    assert again.judge(again.evidence(reading)) == learned.judge(learned.evidence(reading))
    rows = [(row, True, 3) for row in learned.evidence(reading).values()]
    assert refit(again, rows, SETTINGS).classifier == refit(learned, rows, SETTINGS).classifier
    assert (again.organs, again.slab) == (ORGANS, 6)


def test_what_was_never_fitted_cannot_be_saved(learned, tmp_path):
    with pytest.raises(ValueError, match="fitted"):
        Quality(ORGANS, 0, learned.cohort, None, None, None).save(tmp_path)


@pytest.fixture(scope="module")
def with_critic():
    return drain(learn_quality(ANIMALS[:2], (teacher,), ORGANS, SETTINGS.model_copy(update={"critic_steps": 2})))


def test_with_a_critic_its_opinion_is_one_more_number(with_critic, tmp_path):
    with_critic.save(tmp_path)
    again, reading = Quality.open(tmp_path), reading_of(fish(9))
    assert {len(row) for row in with_critic.evidence(reading).values()} == {len(FEATURES) + 1}
    assert again.judge(again.evidence(reading)) == with_critic.judge(with_critic.evidence(reading))


def test_disagreement_counts_against_an_organ_for_who_learned_from_it_and_for_nobody_else(learned, tmp_path):
    def looking_again(number, scan):
        classes, doubt = teacher(number, scan)
        return classes, doubt, doubt

    again = drain(learn_quality(ANIMALS, (looking_again,), ORGANS, SETTINGS))
    again.save(tmp_path)
    again = Quality.open(tmp_path)
    agreed, torn = (
        replace(reading_of(fish(9)), disagreement=np.full(fish(9).classes.shape, value, np.uint8)) for value in (0, 200)
    )
    assert columns(len(next(iter(again.evidence(torn).values()))))[-2:] == SECOND_LOOKS
    assert all(scores(again, torn)[unit] < score for unit, score in scores(again, agreed).items())
    assert scores(again, reading_of(fish(9))) == scores(again, agreed)  # nobody looked again
    assert scores(learned, torn) == scores(learned, agreed)  # it learned without


def test_every_number_of_evidence_has_a_name():
    assert columns(len(FEATURES)) == FEATURES
    assert columns(len(FEATURES) + 1) == (*FEATURES, "critic")
    assert columns(len(FEATURES) + 3) == (*FEATURES, *SECOND_LOOKS, "critic")
    whole = len(FEATURES) + len(ANATOMY)
    assert columns(whole) == (*FEATURES, *ANATOMY)
    assert columns(whole + 3) == (*FEATURES, *SECOND_LOOKS, *ANATOMY, "critic")


@pytest.mark.parametrize("name", [CLASSIFIER, TABLES, CRITIC])
@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "noise"])
def test_a_damaged_quality_classifier_is_refused_in_one_sentence(with_critic, tmp_path, name, damage):
    with_critic.save(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "torn": whole[: len(whole) // 2], "noise": bytes(range(256)) * 20}[damage])
    with pytest.raises(UserError, match="no usable quality classifier") as told:
        Quality.open(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("card", ["[]", "5", '{"organs": 2}', '{"organs": 7, "slab": 6, "critic": true}'])
def test_a_quality_card_of_another_shape_is_refused(with_critic, tmp_path, card):
    with_critic.save(tmp_path)
    (tmp_path / CLASSIFIER).write_text(card)
    with pytest.raises(UserError):
        Quality.open(tmp_path)


def test_a_teacher_that_finds_nothing_now_and_then_is_no_obstacle():
    def forgetful(number, scan):
        classes, doubt = teacher(number, scan)
        return (classes * 0, doubt) if np.abs(scan - ANIMALS[number].image).mean() > 6 else (classes, doubt)

    assert drain(learn_quality(ANIMALS, (forgetful,), ORGANS, SETTINGS)).classifier.examples > 4


def test_a_teacher_that_finds_nothing_at_all_is_named():
    def blind(number, scan):
        return np.zeros(scan.shape, np.int64), np.zeros(scan.shape, np.uint8)

    with pytest.raises(UserError, match="finds no organ"):
        drain(learn_quality(ANIMALS, (blind,), ORGANS, SETTINGS.model_copy(update={"copies": 4})))


def test_one_small_animal_is_enough_to_begin_with():
    animal, settings = fish(0), QualitySettings(copies=4, critic_steps=0)
    only = (animal.classes == 1).astype(np.int64)

    def right(number, scan):
        return only, np.zeros(only.shape, np.uint8)

    quality = drain(learn_quality([Labelled(animal.image, only, animal.body)], (right,), ORGANS, settings))
    assert quality.classifier.examples == 2


def test_distortion_grows_with_severity_and_stays_finite():
    scan = fish(0).image.astype(np.uint16)
    changes = []
    for severity in (0.0, 0.5, 1.0):
        bent = [distort(scan, severity, np.random.default_rng(seed)) for seed in range(8)]
        assert all(np.isfinite(image).all() and image.dtype == np.float32 for image in bent)
        changes.append(np.mean([np.abs(image - scan).mean() for image in bent]))
    assert changes[0] < 0.05
    assert changes[0] < changes[1] < changes[2]
    assert np.isfinite(distort(np.full((4, 5, 6), 7), 1.0, np.random.default_rng(0))).all()


def test_a_critic_learns_to_see_which_organ_was_moved():
    torch.set_num_threads(1)

    def readings(seeds):
        for seed in seeds:
            animal, rng = fish(seed), np.random.default_rng(seed)
            moved = animal.classes
            for organ in (1, 2):
                if rng.random() < 0.5:
                    moved = np.where(moved == organ, 0, moved) + organ * (
                        np.roll(animal.classes == organ, (5, -4), (1, 2)) & (moved != 3 - organ)
                    )
            yield reading_of(animal, moved), animal.classes

    views = [view for reading, truth in readings(range(24)) for view in judged_views(reading, truth, 0, ORGANS, 0.75)]
    critic = drain(train_critic(views, ORGANS, 20, seed=0))
    answers, good = [], []
    for reading, truth in readings(range(100, 112)):
        (view,) = judged_views(reading, truth, 0, ORGANS, 0.75)
        opinion = criticise(critic, reading, 0, ORGANS)
        answers += [opinion[organ, 0, 12] for organ in (1, 2)]
        good += [bool(view.good[organ - 1]) for organ in (1, 2)]
    assert 0.2 < np.mean(good) < 0.8
    assert auroc(np.array(answers), np.array(good)) > 0.9


def test_a_critic_of_the_same_seed_is_the_same_critic():
    views = judged_views(reading_of(fish(0)), fish(1).classes, 6, ORGANS, 0.75)
    one, two = (drain(train_critic(views, ORGANS, 2, seed=1)).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_critic_judges_only_what_is_there():
    animal = fish(0)
    only = np.where(animal.classes == 1, 1, 0)
    (view,) = judged_views(reading_of(animal, only), animal.classes, 0, ORGANS, 0.75)
    assert view.good[0] == 1
    assert np.isnan(view.good[1])
    assert look(reading_of(animal), 5).keys() == {(0, 5), (5, 10), (10, 12)}


SCHEMA = LabelSchema.from_ids({4: "eye", 300: "gut"})
RECORD = Record(
    "teacher",
    "teacher.2",
    6,
    0.625,
    (QualityScore(2, (0, 6), 0.25, (0.5, -1.5), ("it jumps",)), QualityScore(1, (6, 12), 1.0, ())),
)


def test_a_record_comes_back_and_names_organs_by_their_id(tmp_path):
    save_record(RECORD, tmp_path, SCHEMA)
    assert open_record(tmp_path, SCHEMA) == RECORD
    assert [unit["organ"] for unit in json.loads((tmp_path / FILE).read_text())["units"]] == [300, 4]
    assert mean_score(RECORD.scores) == pytest.approx(0.625)
    assert np.isnan(mean_score(()))


def test_a_case_without_a_record_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="has not been scored"):
        open_record(tmp_path, SCHEMA)


@pytest.mark.parametrize(
    "change", [{"units": 5}, {"units": [{}]}, {"units": [{"organ": 70_000}]}, {"slab": "x"}, {"threshold": None}]
)
def test_a_damaged_record_is_refused(tmp_path, change):
    save_record(RECORD, tmp_path, SCHEMA)
    data = json.loads((tmp_path / FILE).read_text())
    if isinstance(change.get("units"), list) and change["units"][0]:
        change = {"units": [data["units"][0] | change["units"][0]]}
    (tmp_path / FILE).write_text(json.dumps(data | change))
    with pytest.raises(UserError, match="damaged"):
        open_record(tmp_path, SCHEMA)


def anatomical():
    """Rules and facts of the labelled animals, in their order."""
    rules = Rules(names=("yolk", "liver"))
    return Anatomy(rules, tuple(look_at(animal.classes, animal.voxel_size) for animal in ANIMALS))


@pytest.fixture(scope="module")
def with_anatomy():
    settings = SETTINGS.model_copy(update={"critic_steps": 2})
    return drain(learn_quality(ANIMALS, (teacher,), ORGANS, settings, anatomical()))


def test_anatomy_joins_the_evidence_and_is_kept_with_it(with_anatomy, tmp_path):
    with_anatomy.save(tmp_path)
    again, reading = Quality.open(tmp_path), reading_of(fish(9), halved(fish(9).classes))
    assert {len(row) for row in again.evidence(reading).values()} == {len(FEATURES) + len(ANATOMY) + 1}
    assert again.judge(again.evidence(reading)) == with_anatomy.judge(with_anatomy.evidence(reading))
    (tmp_path / "anatomy.json").write_text("[")
    with pytest.raises(UserError, match="no usable quality classifier"):
        Quality.open(tmp_path)


def test_what_was_saved_before_there_was_anatomy_still_opens_and_scores(with_critic, tmp_path):
    with_critic.save(tmp_path)
    assert not (tmp_path / "anatomy.json").exists()
    card = json.loads((tmp_path / CLASSIFIER).read_text())
    assert "anatomy" not in card
    old, reading = Quality.open(tmp_path), reading_of(fish(9))
    scores = old.judge(old.evidence(reading), Teller(("yolk", "liver")))
    assert {len(score.evidence) for score in scores} == {len(FEATURES) + 1}
    assert columns(len(FEATURES) + 1)[-1] == "critic"


def test_reasons_name_the_organ_the_factor_and_the_slice(learned):
    animal = fish(9)
    spoilt = np.where(animal.classes == 1, 1, 0)
    spoilt[4:] = np.roll(spoilt[4:], 5, axis=2)
    reading = reading_of(animal, spoilt)
    teller = Teller(("yolk", "liver"), details_of(reading, 6, learned.cohort, step=10.0), step=10.0)
    row = np.zeros(len(FEATURES))
    against = {name: np.where(np.arange(len(FEATURES)) == FEATURES.index(name), -3.0, 0.0) for name in FEATURES}
    assert teller.reasons((1, 0, 6), row, against["jump between slices"]) == ("yolk: jump at z = 40",)
    (size,) = teller.reasons((1, 0, 6), row, against["log size off cohort"])
    assert size.startswith("yolk: size 1.")
    assert size.endswith("× the cohort's")
    assert Teller().reasons((1, 0, 6), row, against["texture"]) == ("unusual texture",)


def test_a_broken_rule_is_the_first_reason_and_says_it_once():
    flags = (
        Flag("jump", (1,), "yolk: jump at z = 31", 31),
        Flag("volume", (1,), "yolk: volume 2.3× the cohort"),
        Flag("missing", (2,), "liver: missing"),
    )
    teller = Teller(("yolk", "liver"), flags=flags, step=10.0)
    against = np.where(np.isin(FEATURES, ["log size off cohort", "texture"]), -3.0, 0.0)
    both = ("yolk: jump at z = 31", "yolk: volume 2.3× the cohort", "yolk: unusual texture")
    assert teller.reasons((1, 0, 6), np.zeros(len(FEATURES)), against) == both
    assert teller.reasons((1, 6, 12), np.zeros(len(FEATURES)), against) == both[1:]


def test_every_number_has_its_words():
    teller = Teller(("yolk",))
    for count in (len(FEATURES) + 1, len(FEATURES) + 2, len(FEATURES) + len(ANATOMY) + 3):
        for place in range(count):
            against = np.where(np.arange(count) == place, -3.0, 0.0)
            (said,) = teller.reasons((1, 0, 6), np.ones(count), against)
            assert said.startswith("yolk: ")


def test_a_record_keeps_the_broken_rules_and_an_older_one_has_none(tmp_path):
    save_record(replace(RECORD, flags=("gut: missing",)), tmp_path, SCHEMA)
    assert open_record(tmp_path, SCHEMA).flags == ("gut: missing",)
    data = json.loads((tmp_path / FILE).read_text())
    del data["flags"]
    (tmp_path / FILE).write_text(json.dumps(data))
    assert open_record(tmp_path, SCHEMA) == RECORD


def test_the_critic_has_lessons_of_the_early_teacher_and_the_classifier_none():
    asked = []

    def told(who):
        def answer(number, scan):
            asked.append(who)
            return teacher(number, scan)

        return answer

    drain(learn_quality(ANIMALS, (told("late"), told("early")), ORGANS, SETTINGS))
    by_copy = [asked[first] for first in range(0, len(asked), len(ANIMALS))]
    assert by_copy == ["late"] * 4 + ["early"] + ["late"] * 3
