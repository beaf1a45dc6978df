"""The published sets that protocols belong to, by what their pairs say of themselves, and numbers published on them.

Figures are of the whole set. One is *recounted* where the answers behind it were measured here, by the command that
`docs/protocols.md` gives, and *quoted* otherwise: then whoever published it may have counted in another way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from earshot.benchmarks.answers import Judged


@dataclass(frozen=True)
class Benchmark:
    """A published set of pairs."""

    title: str
    example: Mapping[str, Any]
    """A row of a file of answers that every protocol of the set can measure."""
    source: str | None = None
    """What its pairs say they are of; None where any set will do."""
    split: str | None = None
    n_pairs: int | None = None
    """None where it is not known to us."""

    def stranger(self, judged: Judged) -> str | None:
        """Why these are not all of its pairs and no others, in words; None where they are, as far as can be known."""
        if self.source is None:
            return None
        whole = "" if self.n_pairs is None else f", {self.n_pairs:,} pairs"
        if judged.origin is None or judged.origin.source != self.source:
            of = "that do not say of which set" if judged.origin is None else f"of {judged.origin.source}"
            return f"{len(judged):,} pairs {of}; not {self.title}{whole}"
        if self.split is not None and judged.origin.split != self.split:
            return f"{len(judged):,} pairs of the split {judged.origin.split}; not {self.title}{whole}"
        n_pairs = self.n_pairs or len(judged) + judged.n_left_out
        if len(judged) != n_pairs:
            return f"{len(judged):,} of the {n_pairs:,} pairs of {self.title}"
        return None

    def record(self, judged: Judged) -> dict[str, Any]:
        """As it stands in a JSON file: the set that the metric is of, and in `not` why these are not its pairs."""
        return {"title": self.title, "n_pairs": self.n_pairs, "not": self.stranger(judged)}


ANY = Benchmark("any pair set", {"image": "images/cat.png", "score": 0.71})
IMAGEREWARD = Benchmark(
    "ImageReward's test set",
    {"image": "part-005658/images/0040/45b0de4d-5a57-4ae3-8810-ffbd328204fd.webp", "score": 0.71},
    "imagereward", "test", 7_230,
)  # fmt: skip
HPDV2 = Benchmark("HPDv2's test set", {"image": "test/000000.jpg", "score": 0.71}, "hpdv2", "test", 15_300)
HPDV3 = Benchmark("HPDv3's test set", {"image": "images/cat.jpg", "score": 0.71}, "hpdv3", "test")
PICKAPIC = Benchmark(
    "Pick-a-Pic's test_unique", {"id": "test_unique-00000-1", "p_first": 0.81}, "pickapic", "test_unique", 500
)
GENAI_BENCH = Benchmark(
    "TIGER-Lab's GenAI-Bench, images",
    {"id": "test_v1-00000-1", "score_first": 1.3, "score_second": 0.4},
    "genai-bench-tiger", None, 1_735,
)  # fmt: skip
GENAI_BENCH_EDIT = Benchmark(
    "TIGER-Lab's GenAI-Bench, edits",
    {"id": "test_v1-00000-1", "score_first": 1.3, "score_second": 0.4},
    "genai-bench-tiger-edit", None, 919,
)  # fmt: skip
EDITREWARD_BENCH = Benchmark("EditReward-Bench", {"id": "2pair-0001", "p_first": 0.81}, "editreward-bench", None, 1_524)
MMRB2 = Benchmark(
    "Multimodal RewardBench 2, text-to-image",
    {"id": "t2i-0001", "choice_forward": "first", "choice_swapped": "second"},
    "mmrb2", "test", 1_000,
)  # fmt: skip
MJBENCH = Benchmark("MJ-Bench, quality", {"id": "human-0000", "p_first": 0.81}, "mjbench")
RAPIDATA = Benchmark("Rapidata's preference sets", {"id": "train-00000-1", "p_first": 0.81}, "rapidata")


class Figure(NamedTuple):
    """A published number."""

    who: str
    percent: float
    source: str
    recounted: bool = False

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON file; the value as a share, as everywhere."""
        how = "recounted" if self.recounted else "quoted"
        return {"who": self.who, "value": round(self.percent / 100, 5), "source": self.source, "how": how}


_NOTES = "PROTOCOLS.md"
_TEXTS = "the judges' texts in TIGER-Lab's repository"


def _judges(gpt4o: float, gemini: float, **others: float) -> tuple[Figure, ...]:
    percents = {"gpt4o": gpt4o, "gemini-1.5-pro": gemini, **others}
    return tuple(Figure(who, percent, _TEXTS, recounted=True) for who, percent in percents.items())


FIGURES: Mapping[str, tuple[Figure, ...]] = {
    "imagereward-micro": (
        Figure("MPS", 67.5, _NOTES),
        Figure("Listener-GRPO, micro or macro not said", 67.4, "arXiv 2506.22832, abstract"),
        Figure("HPSv3", 66.8, _NOTES),
        Figure("ImageReward", 65.1, _NOTES),
        Figure("a single human", 65.3, _NOTES),
    ),
    "imagereward-macro": (Figure("HPSv2.1", 66.8, _NOTES),),
    "hpdv2": (
        Figure("HPSv3", 85.4, _NOTES),
        Figure("HPSv2.1", 84.1, _NOTES),
        Figure("MPS", 83.5, _NOTES),
        Figure("PickScore", 79.8, _NOTES),
    ),
    "hpdv3": (Figure("HPSv3", 76.9, _NOTES),),
    "genai-bench-four-way": _judges(45.6, 44.7, llava=37.0),
    "genai-bench-edit-four-way": _judges(53.5, 55.9, qwenVL=14.9),
    "genai-bench-edit-diff": _judges(72.2, 65.2, qwenVL=25.6),
    "genai-bench-diff": (
        Figure("UnifiedReward-Flex", 73.4, _NOTES),
        Figure("UnifiedReward-Think", 72.5, _NOTES),
        Figure("HPSv3", 70.9, _NOTES),
        *_judges(55.4, 56.2, llava=49.2),
    ),
    "mmrb2-reference": (
        Figure("Gemini 3 Pro", 74.4, _NOTES),
        Figure("UnifiedReward-Flex", 69.2, _NOTES),
        Figure("HPSv3", 60.2, _NOTES),
        Figure("Qwen2.5-VL-7B", 50.4, _NOTES),
    ),
}
"""By the name of the protocol."""
