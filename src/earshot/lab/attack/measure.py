"""How far the attacks move a listener, how often they turn it round, and what they would earn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Final, NamedTuple, TypeAlias, get_args

import numpy as np

from earshot.lab.attack.pixels import drawn_on
from earshot.lab.attack.traces import ATTACKS, Attack, Material
from earshot.listener import Listener, ask
from earshot.listener.claims import ClaimListener, pay_claims
from earshot.protocol import redact_trace
from earshot.rewards import listener_reward
from earshot.stats import RESAMPLES, bootstrap, cluster_codes, mean_statistic
from earshot.types import Estimate, Pair, RedactionLevel, Side

PLAIN: Final = "plain"
CLAIMS: Final = "claims"

SIDES: Final[tuple[Side, Side]] = ("first", "second")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a group of attacks does to a listener, at one level of redaction and under one option of the reward.

    `plain` is the listener's reward; one that is corrected by the prior pays its gain over no trace. `claims` is what
    the text earns by its claims.

    Attributes:
        group: Which attacks; `text` is None for all of the group, else one of its texts.
        base: What is compared with: the listener's answer without a trace, or of the honest trace.
        moved: Mean |Δ p(first)|, in [0, 1].
        toward: Mean Δ of the probability of the side that is asserted, in [-1, 1]; None where none is.
        flipped: Share of answers whose side is not that of the base.
        reward: Mean reward.
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
    pair: Pair


def measure_attacks(
    listener: Listener,
    made: Sequence[Material],
    *,
    redactions: Sequence[RedactionLevel] = get_args(RedactionLevel),
    attacks: Sequence[Attack] = ATTACKS,
    claims: ClaimListener | None = None,
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
        resamples: Of the prompts, for the intervals.
        seed: Of the resampling.
        batch: Pairs asked about at a time.
        progress: Called with pairs done and in all.

    Raises:
        ListenerUnavailable: It broke; nothing is measured by halves.
    """
    answers = _Answers(listener, claims)
    found: dict[_Kind, _Seen] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(made), batch):
        part = made[start : start + batch]
        questions = [q for k, material in enumerate(part) for q in _questions(k, material, attacks)]
        for level in redactions:
            answers.ask([q.pair for q in questions], [redact_trace(q.text, level) for q in questions])
            honest = [None if m.honest is None else redact_trace(m.honest, level) for m in part]
            answers.ask([m.pair for m in part], honest)
            answers.ask([m.pair for m in part], [None] * len(part))
            for q in questions:
                material = part[q.material]
                base = honest[q.material] if q.attack.base == "honest" else None
                text = redact_trace(q.text, level)
                # Claims are read without their conclusions, whatever the listener gets to read: once.
                last = level == redactions[-1]
                for option, effects in answers.effects(q, material.pair, text, base, with_claims=last).items():
                    read = "verdict" if option == CLAIMS else level
                    rows = [*((group, None) for group in (*q.attack.whole, q.attack.group)), q.attack[:2]]
                    for (group, name), (of, value) in product(rows, effects.items()):
                        found[_Kind(group, q.attack.base, name, read, option)][of].append((start + q.material, value))
        answers.forget()
        if progress:
            progress(min(start + batch, len(made)), len(made))
    codes = cluster_codes([m.pair.cluster for m in made])
    return [row for part in _apart(found) for row in _estimates(part, codes, resamples, seed)]


def _questions(index: int, material: Material, attacks: Sequence[Attack]) -> list[_Question]:
    asked = []
    for attack in attacks:
        for side in SIDES if attack.asserts else SIDES[:1]:
            text = attack.write(material, side)
            if text is not None:
                pair = material.pair if attack.drawn is None else drawn_on(material.pair, side, attack.drawn)
                asked.append(_Question(index, attack, side if attack.asserts else None, text, pair))
    return asked


class _Answers:
    """Asks each question once, however many attacks and levels of redaction come to the same text."""

    def __init__(self, listener: Listener, claims: ClaimListener | None) -> None:
        self._listener = listener
        self._claims = claims
        self.forget()

    def forget(self) -> None:
        self._p: dict[tuple[str, str], float] = {}
        self._paid: dict[tuple[str, str], float] = {}

    def ask(self, of: Sequence[Pair], texts: Sequence[str | None]) -> None:
        """Takes in what the listeners say of these texts, those of a pair side by side."""
        asked = {(pair.id, text or ""): pair for pair, text in zip(of, texts, strict=True)}
        keys = sorted((key for key in asked if key not in self._p), key=lambda key: key[0])
        if not keys:
            return
        pairs, wanted = [asked[key] for key in keys], [text for _, text in keys]
        self._p |= zip(keys, ask(self._listener, pairs, wanted).tolist(), strict=True)
        if self._claims is not None:
            heard = self._claims.hear(pairs, [redact_trace(text, "verdict") for text in wanted])
            self._paid |= {key: pay_claims(claims) or 0.0 for key, claims in zip(keys, heard, strict=True)}

    def effects(
        self, asked: _Question, pair: Pair, text: str, base: str | None, *, with_claims: bool
    ) -> dict[str, dict[str, float]]:
        """By option and quantity, what is said or drawn does for a side, beside the base of the pair as it is."""
        side = asked.side
        key, key_base = (asked.pair.id, text), (pair.id, base or "")
        p, p_base = self._p[key], self._p[key_base]
        plain = {"moved": abs(p - p_base), "flipped": float((p > 0.5) != (p_base > 0.5))}
        if side is not None:
            plain["toward"] = p - p_base if side == "first" else p_base - p
        reward, reward_base = (listener_reward(one, pair.votes) for one in (p, p_base))
        if reward is not None and reward_base is not None:
            plain |= {"reward": reward, "gain": reward - reward_base}
        if self._claims is None or not with_claims:
            return {PLAIN: plain}
        paid, paid_base = self._paid[key], self._paid[key_base]
        return {PLAIN: plain, CLAIMS: {"reward": paid, "gain": paid - paid_base}}


class _Kind(NamedTuple):
    """What a row of the answer is of."""

    group: str
    base: str
    text: str | None
    redaction: str
    option: str


_Seen: TypeAlias = dict[str, list[tuple[int, float]]]
"""By quantity, every observation beside the number of its pair."""


def _apart(found: Mapping[_Kind, _Seen]) -> list[dict[_Kind, _Seen]]:
    """Each level and option apart: a bootstrap of all of them at once would not fit into memory."""
    parts: dict[tuple[str, str], dict[_Kind, _Seen]] = defaultdict(dict)
    for kind, seen in found.items():
        parts[kind.redaction, kind.option][kind] = seen
    return list(parts.values())


def _estimates(found: Mapping[_Kind, _Seen], codes: np.ndarray, resamples: int, seed: int) -> list[Measured]:
    """Every quantity with its interval, all on the same resamples of the prompts."""
    statistics = {}
    for k, seen in enumerate(found.values()):
        for name, observed in seen.items():
            pairs, values = zip(*observed, strict=True)
            statistics[f"{k} {name}"] = mean_statistic(np.array(values), codes[list(pairs)], int(codes.max()) + 1)
    estimates = bootstrap(statistics, resamples=resamples, seed=seed)
    rows = []
    for k, kind in enumerate(found):
        told = {name: estimates.get(f"{k} {name}", Estimate.missing()) for name in QUANTITIES}
        rows.append(Measured(kind.group, kind.text, kind.redaction, kind.option, kind.base, **told))
    return rows
