"""How far the attacks move a listener, how often they turn it round, and what they would earn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from earshot.lab.attack.traces import ATTACKS, Attack, Material
from earshot.listener import Listener, ask
from earshot.listener.claims import ClaimListener, pay_claims
from earshot.protocol import RedactionLevel, redact_trace, swap_references
from earshot.rewards import listener_reward
from earshot.stats import RESAMPLES, Statistic, bootstrap, cluster_codes, mean_statistic
from earshot.types import Estimate, Pair, Side

PLAIN: Final = "plain"
PRIOR_CORRECTED: Final = "prior_corrected"
BOTH_ORDERS: Final = "both_orders"
CLAIMS: Final = "claims"
OPTIONS: Final = (PLAIN, PRIOR_CORRECTED, BOTH_ORDERS, CLAIMS)

SIDES: Final[tuple[Side, Side]] = ("first", "second")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a group of attacks does to a listener, at one level of redaction and under one option of the reward.

    Attributes:
        group: Which attacks; `text` is None for all of the group, else one of its texts.
        base: What is compared with: the listener's answer without a trace, or of the honest trace.
        moved: Mean |Δ p(first)|, in [0, 1].
        toward: Mean Δ of the probability of the side that is asserted, in [-1, 1]; None where none is.
        flipped: Share of answers whose side is not that of the base.
        reward: Mean reward, r_list of the option or what claims earn.
        gain: The mean reward less that of the base.
    """

    group: str
    text: str | None
    redaction: str
    option: str
    base: str
    moved: Estimate
    toward: Estimate
    flipped: Estimate
    reward: Estimate
    gain: Estimate

    def row(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


QUANTITIES: Final = ("moved", "toward", "flipped", "reward", "gain")


class _Question(NamedTuple):
    """One text put to the listener about one pair."""

    material: int
    attack: Attack
    side: Side | None
    text: str


def measure_attacks(
    listener: Listener,
    made: Sequence[Material],
    *,
    redactions: Sequence[RedactionLevel] = ("none", "answer", "verdict"),
    attacks: Sequence[Attack] = ATTACKS,
    claims: ClaimListener | None = None,
    swap: Callable[[str], str] = swap_references,
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measured]:
    """Puts every attack to the listener about every pair, and compares with what it says without it.

    Args:
        listener: Who is attacked.
        made: From `materials`.
        redactions: What a trace loses before it is read.
        attacks: The set.
        claims: Who checks claims, for the option `claims`; it reads traces without their conclusions.
        swap: How a trace is turned for the other order of the images.
        resamples: Of the prompts, for the intervals.
        seed: Of the resampling.
        batch: Pairs asked about at a time.
        progress: Called with pairs done and in all.

    Raises:
        ListenerUnavailable: It broke; nothing is measured by halves.
    """
    answers = _Answers(listener, claims, swap)
    found: _Found = defaultdict(_Column)
    for start in range(0, len(made), batch):
        part = made[start : start + batch]
        questions = [q for k, material in enumerate(part) for q in _questions(k, material, attacks)]
        for level in redactions:
            answers.ask([part[q.material] for q in questions], [redact_trace(q.text, level) for q in questions])
            honest = [None if m.honest is None else redact_trace(m.honest, level) for m in part]
            answers.ask([m for m, text in zip(part, honest, strict=True)], honest)
            answers.ask(part, [None] * len(part))
            for q in questions:
                material = part[q.material]
                base = honest[q.material] if q.attack.base == "honest" else None
                text = redact_trace(q.text, level)
                for option, told in answers.compare(material.pair, text, base, level == redactions[-1]).items():
                    for name in (None, q.attack.name):
                        # Claims are read without their conclusions, whatever the listener gets to read.
                        key = (q.attack.group, q.attack.base, name, "verdict" if option == CLAIMS else level, option)
                        found[key].add(start + q.material, q.side, told)
        answers.forget()
        if progress:
            progress(min(start + batch, len(made)), len(made))
    codes = cluster_codes([m.pair.cluster for m in made])
    return [row for kind in _kinds(found) for row in _estimates(kind, codes, resamples, seed)]


def _questions(index: int, material: Material, attacks: Sequence[Attack]) -> list[_Question]:
    asked = []
    for attack in attacks:
        for side in SIDES if attack.asserts else SIDES[:1]:
            text = attack.write(material, side)
            if text is not None:
                asked.append(_Question(index, attack, side if attack.asserts else None, text))
    return asked


class _Told(NamedTuple):
    """A listener's answer to an attack and to its base; None where it has no probability or the pair no label."""

    p: float | None
    p_base: float | None
    reward: float | None
    reward_base: float | None


class _Answers:
    """Asks each question once, however many attacks and levels of redaction come to the same text."""

    def __init__(self, listener: Listener, claims: ClaimListener | None, swap: Callable[[str], str]) -> None:
        self._listener = listener
        self._swap = swap
        self._claims = claims
        self.forget()

    def forget(self) -> None:
        self._p: dict[tuple[str, str, str], float] = {}
        self._paid: dict[tuple[str, str], float] = {}

    def ask(self, made: Sequence[Material], texts: Sequence[str | None]) -> None:
        """Takes in what the listeners say of these texts, those of a pair side by side."""
        wanted: dict[tuple[str, str], Material] = {
            (m.pair.id, text or ""): m
            for m, text in zip(made, texts, strict=True)
            if (PLAIN, m.pair.id, text or "") not in self._p
        }
        if not wanted:
            return
        keys = sorted(wanted, key=lambda key: key[0])
        pairs = [wanted[key].pair for key in keys]
        swapped = {id(pair): pair.swapped() for pair in pairs}  # one object a pair, so that it is encoded once
        forward = ask(self._listener, pairs, [text for _, text in keys])
        turned = ask(self._listener, [swapped[id(p)] for p in pairs], [self._swap(text) for _, text in keys])
        for key, p, p_turned in zip(keys, forward.tolist(), turned.tolist(), strict=True):
            self._p[PLAIN, *key] = p
            self._p[BOTH_ORDERS, *key] = (p + 1.0 - p_turned) / 2.0
        if self._claims is not None:
            heard = self._claims.hear(pairs, [redact_trace(text, "verdict") for _, text in keys])
            for key, claims in zip(keys, heard, strict=True):
                self._paid[key] = pay_claims(claims) or 0.0

    def compare(self, pair: Pair, text: str, base: str | None, with_claims: bool) -> dict[str, _Told]:
        """What each option says of a text and of its base; claims are always read without conclusions, so once."""
        told = {}
        for option in (PLAIN, PRIOR_CORRECTED, BOTH_ORDERS):
            source = BOTH_ORDERS if option == BOTH_ORDERS else PLAIN
            p, p_base = (self._p[source, pair.id, t] for t in (text, base or ""))
            prior = self._p[PLAIN, pair.id, ""] if option == PRIOR_CORRECTED else None
            rewards = [listener_reward(one, pair.votes, prior_p_first=prior) for one in (p, p_base)]
            told[option] = _Told(p, p_base, rewards[0], rewards[1])
        if self._claims is not None and with_claims:
            told[CLAIMS] = _Told(None, None, self._paid[pair.id, text], self._paid[pair.id, base or ""])
        return told


class _Column:
    """What was seen of one kind of attack: rows of pair, shift, shift toward the asserted side, flip, rewards."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        self.pairs: dict[str, list[int]] = defaultdict(list)

    def add(self, pair: int, side: Side | None, told: _Told) -> None:
        if told.p is not None and told.p_base is not None:
            shift = told.p - told.p_base
            self._note("moved", pair, abs(shift))
            self._note("flipped", pair, float((told.p > 0.5) != (told.p_base > 0.5)))
            if side is not None:
                self._note("toward", pair, shift if side == "first" else -shift)
        if told.reward is not None and told.reward_base is not None:
            self._note("reward", pair, told.reward)
            self._note("gain", pair, told.reward - told.reward_base)

    def _note(self, name: str, pair: int, value: float) -> None:
        self.values[name].append(value)
        self.pairs[name].append(pair)

    def statistics(self, codes: np.ndarray, clusters: int) -> dict[str, Statistic]:
        return {
            name: mean_statistic(np.array(values), codes[np.array(self.pairs[name])], clusters)
            for name, values in self.values.items()
        }


_Found: TypeAlias = dict[tuple[str, str, str | None, str, str], _Column]


def _kinds(found: _Found) -> list[_Found]:
    """The columns of each level and option apart: a bootstrap of all of them at once would not fit into memory."""
    kinds: dict[tuple[str, str], _Found] = defaultdict(dict)
    for key, column in found.items():
        kinds[key[3:]][key] = column
    return list(kinds.values())


def _estimates(found: _Found, codes: np.ndarray, resamples: int, seed: int) -> list[Measured]:
    """Every quantity with its interval, all on the same resamples of the prompts."""
    clusters = int(codes.max()) + 1
    statistics = {
        f"{k} {name}": statistic
        for k, column in enumerate(found.values())
        for name, statistic in column.statistics(codes, clusters).items()
    }
    estimates = bootstrap(statistics, resamples=resamples, seed=seed)
    rows = []
    for k, (group, base, text, level, option) in enumerate(found):
        told = {name: estimates.get(f"{k} {name}", Estimate.missing()) for name in QUANTITIES}
        rows.append(Measured(group, text, level, option, base, **told))
    return rows
