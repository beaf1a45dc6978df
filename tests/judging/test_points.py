"""One number for one picture: by whom it is measured, what it is worth, and that it orders as comparisons do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import kendalltau

from earshot.data.writer import PairSetWriter
from earshot.errors import DataError, InputError
from earshot.judging.model import RewardModel
from earshot.judging.pictures import take_picture
from earshot.judging.points import WORLD, Reference, Scale, check_scale, fit_scale, load_reference, log_odds, meaning
from earshot.types import Estimate, Pair, Votes
from tests.judging.opinions import Opinionated, shade

MODEL = RewardModel(Opinionated())
PROMPT = "a grey square"


def reference_of(*brightnesses: int, name: str = "grey") -> Reference:
    return Reference(name, tuple(take_picture(shade(b), argument="reference") for b in brightnesses))


def scale_of(reference: Reference, factor: float = 1.0) -> Scale:
    return Scale(factor, 40, "greys", MODEL.identity(), reference.fingerprint)


def test_the_win_rate_is_the_mean_over_the_reference_and_points_are_its_log_odds_times_the_factor():
    reference = reference_of(100, 140)
    (told,) = MODEL.points(PROMPT, [shade(120)], against=reference, scale=scale_of(reference, 2.0))
    # σ(1) = 0.7311 against 100, σ(-1) = 0.2689 against 140: an even match, which is 0 points
    assert told.win_rate.value == pytest.approx(0.5) and told.win_rate.n == 2
    assert told.points.value == pytest.approx(0.0, abs=1e-9)
    (better,) = MODEL.points(PROMPT, [shade(140)], against=reference, scale=scale_of(reference, 2.0))
    # σ(2) = 0.8808 and 0.5 against itself: (2 · 0.6904 + ½) / 3 = 0.6269, of which the log-odds are 0.5192
    assert better.win_rate.value == pytest.approx((0.8808 + 0.5) / 2, abs=1e-4)
    assert better.points.value == pytest.approx(2 * 0.5192, abs=1e-3)
    assert better.reference == f"grey {reference.fingerprint}"
    assert better.points.low < better.points.value < better.points.high


def test_a_higher_win_rate_never_has_fewer_points_and_no_rate_has_infinitely_many():
    for n in (2, 16, 64):
        rates = np.linspace(0, 1, 101)
        points = [log_odds(float(rate), n) for rate in rates]
        assert np.isfinite(points).all() and (np.diff(points) > 0).all()


def test_a_better_picture_has_more_points_and_a_picture_has_its_own_whoever_is_asked_about_with_it():
    reference = reference_of(90, 110, 130, 150)
    scale = scale_of(reference)
    images = [shade(b) for b in range(60, 190, 10)]
    told = [one.points.value for one in MODEL.points(PROMPT, images, against=reference, scale=scale)]
    assert told == sorted(told) and len(set(told)) == len(told)
    (alone,) = MODEL.points(PROMPT, images[3:4], against=reference, scale=scale)
    assert alone.points.value == pytest.approx(told[3])


def test_nothing_is_guessed_where_no_comparison_came_out():
    reference = reference_of(100, 140)
    silent = RewardModel(Opinionated(malformed=("forward",)))
    (told,) = silent.points(PROMPT, [shade(120)], against=reference, scale=scale_of(reference))
    assert told.win_rate.value is None and told.points.value is None and told.points.n == 0


def test_points_of_thirty_pictures_order_as_their_round_robin_does_by_either_of_two_references():
    model = RewardModel(Opinionated(noise=0.1))
    taus, between = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        images = [shade(int(b)) for b in rng.choice(np.arange(60, 200), 30, replace=False)]
        strengths = _round_robin(model, images)
        by = []
        for name in ("one", "other"):
            reference = reference_of(*(int(b) for b in rng.choice(np.arange(60, 200), 16, replace=False)), name=name)
            scale = scale_of(reference)
            by.append(model.points(PROMPT, images, against=reference, scale=scale))
            taus.append(kendalltau([one.points.value for one in by[-1]], strengths).statistic)
        pairs = list(zip(*([told.points for told in points] for points in by), strict=True))
        between.append(np.mean([abs(a.value - b.value) <= np.hypot(_half(a), _half(b)) for a, b in pairs]))
    assert min(taus) > 0.9
    # Which pictures are in a reference moves all points by it together, so that they are within or without in herds.
    assert np.mean(between) > 0.9


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


def _round_robin(model: RewardModel, images: list) -> list[float]:
    from earshot.judging.tournament import all_pairs
    from earshot.stats.bradley_terry import fit_strengths

    couples = all_pairs(len(images)).tolist()
    answers = model.answer([model.question(prompt=PROMPT, first=images[i], second=images[j]) for i, j in couples])
    wins = np.zeros((len(images), len(images)))
    for (i, j), answer in zip(couples, answers, strict=True):
        wins[i, j], wins[j, i] = answer.p_first, 1 - answer.p_first
    return fit_strengths(wins).value.tolist()


def greys(n: int, factor: float) -> list[Pair]:
    """Pairs whose raters are as sure as the model's points times a factor are."""
    rng, pairs, reference = np.random.default_rng(0), [], reference_of(80, 110, 140, 170)
    for k in range(n):
        first, second = (int(b) for b in rng.integers(70, 180, 2))
        gap = _log_odds(first, reference) - _log_odds(second, reference)
        share = float(expit(factor * gap))
        pairs.append(Pair(str(k), PROMPT, shade(first), shade(second), Votes(share, 1 - share)))
    return pairs


def _log_odds(brightness: int, reference: Reference) -> float:
    (told,) = MODEL.points(PROMPT, [shade(brightness)], against=reference)
    return float(logit((4 * told.win_rate.value + 0.5) / 5))


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_the_scale_is_found_by_which_votes_follow_the_points(factor):
    reference = reference_of(80, 110, 140, 170)
    scale = fit_scale(greys(40, factor), reference, MODEL.answer, data="greys", model=MODEL.identity())
    assert scale.factor == pytest.approx(factor, rel=1e-3) and scale.n == 40
    # One point more is preferred by σ(1) = 73 % of the raters.
    assert "73 %" in meaning("grey", scale) and "40 pairs of greys" in meaning("grey", scale)


def test_votes_that_do_not_follow_the_points_have_no_scale():
    turned = [replace(pair, votes=pair.votes.swapped()) for pair in greys(10, 1.0)]
    reference = reference_of(80, 110, 140, 170)
    with pytest.raises(DataError, match="greys: no scale fits its votes"):
        fit_scale(turned, reference, MODEL.answer, data="greys", model={})
    with pytest.raises(DataError, match="no validation pairs"):
        fit_scale([], reference, MODEL.answer, data="greys", model={})


def test_a_scale_is_of_one_model_and_one_reference():
    one, other = reference_of(100, 140), reference_of(90, 150)
    with pytest.raises(InputError, match="was fitted with reference"):
        MODEL.points(PROMPT, [shade(120)], against=other, scale=scale_of(one))
    with pytest.raises(InputError, match="was fitted with model"):
        check_scale(scale_of(one), one, {"name": "another"})
    (told,) = MODEL.points(PROMPT, [shade(120)], against=one)
    assert told.scale is None and told.points.value is None and "no scale was fitted" in told.as_dict()["meaning"]
    (told,) = MODEL.points(PROMPT, [shade(120)], against=one, scale=scale_of(one))
    assert told.points.value is not None and json.loads(json.dumps(told.as_dict()))["scale"]["n"] == 40


def test_a_reference_is_a_folder_of_pictures_or_a_pair_set_and_the_same_one_has_the_same_fingerprint(tmp_path: Path):
    for brightness in (90, 110, 130):
        shade(brightness).save(tmp_path / f"{brightness}.png")
    shade(130).save(tmp_path / "copy.png")
    (tmp_path / "notes.txt").write_text("no picture")
    folder = load_reference(tmp_path)
    assert len(folder.pictures) == 3 and folder.name == tmp_path.name
    with PairSetWriter(tmp_path / "set") as writer:
        writer.add(Pair("a", "x", tmp_path / "90.png", tmp_path / "110.png", Votes(1.0, 0.0)))
        writer.add(Pair("b", "y", tmp_path / "110.png", tmp_path / "130.png", Votes(1.0, 0.0)))
    pairs = load_reference(tmp_path / "set")
    assert pairs.fingerprint == folder.fingerprint != load_reference(tmp_path, pictures=2).fingerprint
    (tmp_path / "empty").mkdir()
    for wrong, message in ((tmp_path / "empty", "holds 0 different pictures"), (tmp_path / "gone", "is no folder")):
        with pytest.raises(InputError, match=message):
            load_reference(wrong)
    with pytest.raises(InputError, match="expected at least 2"):
        load_reference(tmp_path, pictures=1)


def test_the_shipped_reference_is_drawn_by_the_worlds_generator():
    from earshot.lab.overoptimise.pictures import draw

    reference = load_reference(WORLD)
    drawn = [take_picture(one.images[0], argument="drawn").digest for one in draw(16, 1, seed=99)]
    assert sorted(one.digest for one in reference.pictures) == sorted(drawn)
