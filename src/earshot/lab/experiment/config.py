"""What an experiment can be told: arms that differ in stated keys, seeds, what is measured and what is compared.

Everything an arm does not override is shared by all of them. METHOD, "What has to be shown", is where the comparisons
come from; defaults without another source are our choice [C].
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from earshot.config.applications import Count
from earshot.config.loading import Config
from earshot.types import RedactionLevel
from earshot.world.pairs import WORLDS

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def seed_numbers(value: Any) -> Any:
    """`0-4`, `0,2,5-7`, one number or a list of numbers, as a tuple."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return tuple(value) if isinstance(value, list) else value
    numbers: list[int] = []
    for part in str(value).split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if found is None:
            raise ValueError(f"seeds are {value!r}, expected such as 0-4 or 0,2,3")
        low = int(found[1])
        numbers += range(low, int(found[2] or low) + 1)
    return tuple(numbers)


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(seed_numbers), Field(strict=False, min_length=1)
]


class WorldSetsConfig(Config):
    """Pair sets of the synthetic world, made once by `earshot world make`."""

    name: str = "colours"
    """Whose sets they are: a key of `earshot.world.pairs.WORLDS`."""
    pairs: Count = 4800
    """Pairs of the training set."""
    test_pairs: Count = 800
    """Pairs of every other set."""
    ood_pairs: Count | None = None
    """Pairs of each out-of-distribution set, where they are not `test_pairs`."""
    sets: Names = ("train", "test", "ood_combinations", "ood_style", "ood_raters")
    size: Annotated[int, Field(ge=16)] = 56
    """Side of the images in pixels."""
    seed: Annotated[int, Field(ge=0)] = 0


class PreparedModelConfig(Config):
    """What the experiment makes for itself with one of our commands; an arm names it `plan:NAME`, or a model in its
    folder `plan:NAME/FOLDER`."""

    command: Names
    """The words after `earshot`; `{out}` stands for the folder that the command is given, `{copy}` for the number of
    the copy."""
    folder: str = "."
    """Where in that folder the model lies."""
    copies: Count = 1
    """How many are made anew: a run of seed s has copy s modulo `copies`, so that no result hangs on one of them."""


class ArmConfig(Config):
    """One way to train."""

    kind: Literal["sft", "grpo", "none"]
    """`none` trains nothing: the model that the others begin with."""
    title: str | None = None
    """What tables and figures call it; its name by default."""
    role: Literal["arm", "control"] = "arm"
    """A control must not do as well as the listener does."""
    seeds: Seeds | None = None
    """Some of the plan's seeds; all of them by default. Arms are compared on the seeds that both have."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Laid over `base`, table by table; null takes a table out."""


class BaseConfig(Config):
    """What arms share: configurations of `earshot train`, without what the plan itself sets (out, seed, data.train)."""

    common: dict[str, Any] = Field(default_factory=dict)
    """Of both kinds."""
    sft: dict[str, Any] = Field(default_factory=dict)
    grpo: dict[str, Any] = Field(default_factory=dict)


class JudgingConfig(Config):
    """How every trained model is evaluated, as `earshot eval` takes it."""

    sets: Names
    listeners: dict[str, str] = Field(default_factory=dict)
    """By the name to report: a folder, hub id, `world:NAME` or `plan:NAME`."""
    samples: Count = 1
    pairs: Count | None = None
    """Only the first so many pairs of each set."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    max_new_tokens: Count = 512
    redaction: RedactionLevel = "verdict"
    batch: Count = 50
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class PrimaryConfig(Config):
    """A comparison that was chosen before the results: every one of `arms` on every one of `sets`."""

    endpoint: str
    """As in metrics.json, such as `accuracy`, `false_claims`, `disagreement.held-out`."""
    sets: Names
    arms: Names
    against: str | None = None
    """The other arm; the plan's `reference` by default."""
    against_endpoint: str | None = None
    """What is measured of the other arm, where it is not `endpoint`: its own verdict against a reader's, say."""
    relative: bool = False
    """Compare as a ratio: -0.3 is 30 % less."""
    goal: float | None = None
    """The difference that was hoped for, signed."""
    family: str = "primary"
    """Comparisons of one family are corrected for their number; another question is another family."""

    @property
    def others(self) -> str:
        """What is measured of the other arm."""
        return self.against_endpoint or self.endpoint


class ExperimentConfig(Config):
    """`earshot lab experiment run`: arms × seeds, evaluated alike."""

    out: str
    """The folder of the whole experiment."""
    seeds: Seeds
    """Of training and sampling; the same seed in every arm is the same order of pairs."""
    flat: bool = False
    """Of one seed: the run of an arm is `OUT/ARM` itself, and what is recorded of it lies in `OUT/records/ARM`."""
    world: WorldSetsConfig | None = None
    sets: dict[str, str] = Field(default_factory=dict)
    """Folders of pair sets by name, instead of or beside `world`; `validation` if there is one is watched."""
    train: str = "train"
    """The pair set that arms are trained on."""
    mixtures: dict[str, dict[str, Annotated[float, Field(gt=0)]]] = Field(default_factory=dict)
    """Sets that are made of evaluated ones, by their shares: the same prompts, some pairs of one, some of another."""
    paired_seeds: bool = True
    """Whether arms are compared seed by seed; else by the means of all seeds that each has, and by its own spread."""
    registered: str | None = None
    """The page that says what is asked. It and the plan must stand in git before the first run."""
    models: dict[str, PreparedModelConfig] = Field(default_factory=dict)
    base: BaseConfig
    arms: dict[str, ArmConfig]
    reference: str
    """The arm that the others are compared with."""
    evaluation: JudgingConfig
    primary: Annotated[tuple[PrimaryConfig, ...], Field(strict=False)] = ()

    @property
    def set_names(self) -> tuple[str, ...]:
        """All pair sets there are, by name."""
        return tuple(dict.fromkeys([*(self.world.sets if self.world else ()), *self.sets]))

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """The seeds that this arm is trained with."""
        return self.arms[arm].seeds or self.seeds

    @model_validator(mode="after")
    def _names_are_known(self) -> "ExperimentConfig":
        for name in (*self.arms, *self.models, *self.set_names, *self.mixtures, *self.evaluation.listeners):
            if not _NAME.fullmatch(name):
                raise ValueError(f"the name {name!r} cannot be a folder's; expected letters, digits, _ . + -")
        for seeds in (self.seeds, *(arm.seeds for arm in self.arms.values() if arm.seeds)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds {list(seeds)} hold one twice, expected each once")
        if self.flat and len(self.seeds) > 1:
            raise ValueError(f"seeds are {list(self.seeds)}, expected one, because the plan is flat")
        self._expect("arm", "reference", [self.reference], self.arms)
        self._expect("set", "evaluation.sets", self.evaluation.sets, self.set_names)
        self._expect("set", "train", [self.train], self.set_names)
        if self.world is not None:
            self._expect("world", "world.name", [self.world.name], WORLDS)
        for name, parts in self.mixtures.items():
            self._expect("set", f"mixtures.{name}", parts, self.evaluation.sets)
            if name in self.set_names:
                raise ValueError(f"mixtures.{name} is the name of a set, too; choose another")
        for name, arm in self.arms.items():
            self._expect("seed", f"arms.{name}.seeds", arm.seeds or (), self.seeds)
        for number, one in enumerate(self.primary):
            where = f"primary.{number}"
            self._expect("arm", f"{where}.arms", [*one.arms, one.against or self.reference], self.arms)
            self._expect("set", f"{where}.sets", one.sets, [*self.evaluation.sets, *self.mixtures])
        return self

    def _expect(self, what: str, where: str, names: Any, known: Any) -> None:
        if missing := [name for name in names if name not in known]:
            raise ValueError(
                f"{where}: no {what} '{missing[0]}', expected one of {', '.join(map(str, known)) or 'none'}"
            )
