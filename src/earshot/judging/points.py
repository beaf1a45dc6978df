"""Points: one number for one picture, from comparing it with the pictures of a reference set.

A reference's pictures are judged beside the picture under the picture's own prompt, whatever they were made from: the
question is always which of two pictures people prefer for that prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import expit, logit

from earshot.data.pairset import read_pairs
from earshot.data.rows import has_metadata
from earshot.errors import DataError, InputError
from earshot.files import read_json_object
from earshot.images import SUFFIXES
from earshot.judging.pictures import Picture, take_picture
from earshot.judging.ranking import Answer, p_against
from earshot.metrics.temperature import fit_temperature
from earshot.stats.resampling import bootstrap_mean
from earshot.types import Estimate, Pair, hash_of

WORLD: Final = "world"
"""The reference that ships with Earshot: pictures of the synthetic world, for models that know no others."""
PICTURES: Final = 16
"""Of a reference, unless another number is asked for: an image costs as many comparisons."""
_SHIPPED: Final = Path(__file__).with_name("references")


@dataclass(frozen=True)
class Reference:
    """Pictures to measure by.

    Attributes:
        name: What results call it: a folder's name, or `world`.
        pictures: Different ones.
    """

    name: str
    pictures: tuple[Picture, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of all pixels: scores by references with the same one can be compared."""
        return hashlib.sha256("\0".join(sorted(one.digest for one in self.pictures)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Scale:
    """What a difference of points is worth to people, for one model and one reference.

    Attributes:
        factor: Points are the log-odds of the win rate times this.
        n: Validation pairs that it was fitted on.
        data: What their set is called.
        model: `identity` of the model.
        reference: Fingerprint of the reference.
    """

    factor: float
    n: int
    data: str
    model: Mapping[str, Any]
    reference: str

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any], place: Path) -> Scale:
        """Raises:
        DataError: It is no such record.
        """
        try:
            found = cls(
                float(record["factor"]),
                int(record["n"]),
                str(record["data"]),
                dict(record["model"]),
                str(record["reference"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place}: is no scale ({error!r}); 'earshot scale' makes one") from error
        if not 0 < found.factor < float("inf"):
            raise DataError(f"{place}: its factor is {found.factor}, expected a finite number above 0")
        return found


@dataclass(frozen=True)
class Points:
    """What is said of one picture.

    Attributes:
        win_rate: The mean probability of being preferred to a picture of the reference, for the picture's own prompt,
            both orders averaged; its 95 % interval is over pictures of such a reference, `n` those compared with.
        points: Bradley–Terry log-odds against the average picture of the reference, in units of the scale: of two
            pictures the one with d more is preferred by 1 / (1 + e^-d) of the raters. Missing without a scale.
        reference: Its name and fingerprint, as `name fingerprint`.
        scale: Of the points; None where none was fitted for this model and reference.
    """

    win_rate: Estimate
    points: Estimate
    reference: str
    scale: Scale | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = None if self.scale is None else {"factor": self.scale.factor, "n": self.scale.n, "data": self.scale.data}
        return {
            "win_rate": self.win_rate.as_record(),
            "points": self.points.as_record(),
            "reference": self.reference,
            "scale": told,
            "meaning": meaning(self.reference, self.scale),
        }


def meaning(reference: str, scale: Scale | None) -> str:
    """What the numbers mean, in a line or two; shown wherever they are."""
    rate = f"win_rate: mean probability of being preferred, for this prompt, to a picture of reference {reference}"
    if scale is None:
        return f"{rate}; no points, for no scale was fitted for this model and reference ('earshot scale')"
    return (
        f"{rate}; points: 0 is its average picture, and 1 point more is preferred by 73 % of the raters "
        f"(Bradley-Terry, fitted on {scale.n} pairs of {scale.data})"
    )


def load_reference(source: str | Path, *, pictures: int = PICTURES) -> Reference:
    """The reference of a name or a folder.

    Args:
        source: `world`, a pair set, or a folder of image files.
        pictures: At most so many, of all of them those whose file names have the smallest hashes.

    Raises:
        InputError: There is no such folder, or no number of pictures.
        DataError: It holds fewer than two different pictures, or one that is refused.
    """
    if pictures < 2:
        raise InputError(f"{pictures} reference pictures are asked for, expected at least 2")
    folder = _SHIPPED / WORLD if str(source) == WORLD else Path(source)
    if not folder.is_dir():
        raise InputError(f"{source}: is no folder, expected a pair set, a folder of images, or '{WORLD}'")
    if has_metadata(folder):
        files: list[Any] = [image for pair in read_pairs(folder) for image in (pair.first, pair.second)]
    else:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (*SUFFIXES.values(), ".jpeg"))
    found: dict[str, Picture] = {}
    for file in sorted(dict.fromkeys(files), key=lambda file: (hash_of(file.name), file)):
        one = take_picture(file, argument=str(source))
        found[one.digest] = one
        if len(found) == pictures:
            break
    if len(found) < 2:
        raise DataError(f"{source}: holds {len(found)} different pictures, expected at least 2 to measure by")
    return Reference(folder.name, tuple(found.values()))


def load_scale(path: Path) -> Scale:
    """What `earshot scale` wrote.

    Args:
        path: The JSON file.

    Raises:
        InputError: There is no such file.
        DataError: It is no scale.
    """
    return Scale.of(read_json_object(path, what="a scale"), path)


def check_scale(scale: Scale, reference: Reference, model: Mapping[str, Any]) -> None:
    """Lets a scale pass that was fitted for a model and a reference.

    Raises:
        InputError: It is of another model or another reference.
    """
    for what, found, expected in (
        ("reference", scale.reference, reference.fingerprint),
        ("model", dict(scale.model), dict(model)),
    ):
        if found != expected:
            raise InputError(
                f"the scale was fitted with {what} {found}, and this is {expected}; 'earshot scale' fits it anew"
            )


def points_of(
    prompt: str,
    images: Sequence[Picture],
    reference: Reference,
    answer: Answer,
    *,
    scale: Scale | None = None,
    seed: int = 0,
) -> list[Points]:
    """Points of each image.

    Args:
        prompt: What the images were made from.
        images: Any number.
        reference: What to measure by.
        answer: Who is asked.
        scale: Of this reference and whoever is asked; None gives win rates alone.
        seed: Of the sampling.
    """
    told = []
    for known in p_against(prompt, images, reference.pictures, answer, seed=seed):
        rate = bootstrap_mean(np.array(known, dtype=float), np.arange(len(known)))
        told.append(Points(rate, _points(rate, scale), f"{reference.name} {reference.fingerprint}", scale))
    return told


def _points(rate: Estimate, scale: Scale | None) -> Estimate:
    if scale is None or rate.value is None:
        return Estimate.missing()
    value, low, high = (
        None if p is None else scale.factor * log_odds(p, rate.n) for p in (rate.value, rate.low, rate.high)
    )
    return Estimate(value, low, high, rate.n)


def log_odds(rate: float, n: int) -> float:
    """Log-odds of a win rate over n references, with half a game won and half a game lost to an average one, so that
    they are finite; a higher rate has higher ones."""
    return float(logit((n * rate + 0.5) / (n + 1)))


def fit_scale(
    pairs: Iterable[Pair],
    reference: Reference,
    answer: Answer,
    *,
    data: str,
    model: Mapping[str, Any],
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Scale:
    """The factor by which log-odds of win rates become those of people's votes, with the least NLL.

    Args:
        pairs: For validation; those without votes, or of which a picture has no win rate, are passed over.
        reference: What the win rates are measured by.
        answer: Who is asked.
        data: What the pairs' set is called.
        model: `identity` of the model.
        seed: Of the sampling.
        progress: Called with the number of pairs done.

    Raises:
        DataError: There are none, or no factor is best, as where the points do not follow the votes at all.
    """
    gaps: list[float] = []
    shares: list[float] = []
    for done, pair in enumerate(pairs, start=1):
        if pair.votes.total:
            both = [take_picture(image, argument=f"pair '{pair.id}'") for image in (pair.first, pair.second)]
            known = p_against(pair.prompt, both, reference.pictures, answer, seed=seed)
            if all(known):
                first, second = (log_odds(sum(row) / len(row), len(row)) for row in known)
                gaps.append(first - second)
                shares.append(pair.votes.share_first)
        if progress is not None:
            progress(done)
    try:
        temperature = fit_temperature(expit(np.array(gaps)), np.array(shares))
    except DataError as error:
        raise DataError(f"{data}: no scale fits its votes ({error})") from error
    return Scale(1 / temperature, len(gaps), data, dict(model), reference.fingerprint)
