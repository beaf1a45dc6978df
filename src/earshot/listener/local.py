"""A listener that runs here: a frozen vision-language model that reads a trace and is asked for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

import numpy as np
import torch
from jaxtyping import Float

from earshot.errors import ListenerUnavailable, ModelError, PromptTooLong
from earshot.images import DEFAULT_LIMITS, ImageLimits
from earshot.listener import Reading, checked, runs_of_pairs
from earshot.protocol import listener_prefill
from earshot.protocol.answers import AnswerPlace
from earshot.types import Pair
from earshot.vlm import Vlm, answer_tokens
from earshot.vlm.prefix import Prefix, continued, suffix_logits
from earshot.vlm.rows import append_completions


@dataclass
class LocalListener:
    """p(first) from the logits of the two answer tokens at the answer position.

    The listener gets the reasoner's own conversation, its turn opened with the trace; images and prompt are computed
    once for all traces of a pair that stand together in a call.

    Attributes:
        vlm: The model, used as it is; freeze it first (`Vlm.freeze`) if it is not the reasoner's own.
        batch_size: Distinct pairs that are encoded at a time.
    """

    vlm: Vlm
    name: str = "listener"
    batch_size: int = 16
    limits: ImageLimits = DEFAULT_LIMITS
    _answers: AnswerPlace = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._answers = answer_tokens(self.vlm)

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """Probability that people prefer the first image, given pair and trace, one for each row.

        Args:
            pairs: The pairs as shown; equal ones in a run share their images and prompt.
            traces: What to read, already redacted; None for no trace.

        Raises:
            ListenerUnavailable: A logit is not finite.
            ImageError: An image is refused.
        """
        return self._each(pairs, traces, spoken=False).p_first

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        """See `Speaker.read`.

        Raises:
            ListenerUnavailable: A logit is not finite.
            ImageError: An image is refused.
        """
        return self._each(pairs, traces, spoken=True)

    def _each(self, pairs: Sequence[Pair], traces: Sequence[str | None], *, spoken: bool) -> Reading:
        groups = [*runs_of_pairs(pairs)]
        p, likelihood = np.empty(len(pairs)), np.full(len(pairs), np.nan)
        together = self.batch_size if self.vlm.shares_prompts else 1
        for start in range(0, len(groups), together):
            batch = groups[start : start + together]
            rows = [row for group in batch for row in group]
            owners = [index for index, group in enumerate(batch) for _ in group]
            asked = [traces[row] for row in rows]
            p[rows], likelihood[rows] = self._read([pairs[g[0]] for g in batch], owners, asked, spoken)
        return Reading(checked(p, name=self.name), likelihood)

    def p_first_after(self, prefix: Prefix, owners: Sequence[int], traces: Sequence[str | None]) -> np.ndarray:
        """`p_first` on prompts that the model has encoded already, such as those it has just written on.

        Args:
            prefix: The prompts.
            owners: For each trace, which of them it is about.
            traces: What to read.

        Raises:
            ListenerUnavailable: A logit is not finite.
        """
        vlm = self.vlm
        logits = suffix_logits(vlm.model, prefix, owners, self._suffixes(traces), pad_id=vlm.tokenizer.pad_token_id)
        return checked(self._p_first(logits), name=self.name)

    def p_first_stock(self, pair: Pair, trace: str | None) -> float:
        """`p_first` of one pair by a single row of stock transformers, without padding, cache or anything shared.

        What is computed in any other way must agree with it.
        """
        vlm, (suffix,) = self.vlm, self._suffixes([trace])
        prompt = vlm.encode_pairs([pair], self.limits, len(suffix))
        row, _ = append_completions(prompt, [suffix], pad_id=vlm.tokenizer.pad_token_id)
        with torch.no_grad():
            return float(self._p_first(vlm.model(**row).logits[:, -1])[0])

    def _read(
        self, pairs: Sequence[Pair], owners: Sequence[int], traces: Sequence[str | None], spoken: bool
    ) -> Reading:
        vlm = self.vlm
        suffixes = self._suffixes(traces)
        longest = [0] * len(pairs)
        for owner, suffix in zip(owners, suffixes, strict=True):
            longest[owner] = max(longest[owner], len(suffix))
        try:
            prompts = vlm.encode_pairs(pairs, self.limits, longest)
        except PromptTooLong as error:
            raise ListenerUnavailable(f"listener '{self.name}': the prompt {error}") from error
        with vlm.reading():
            pad_id = vlm.tokenizer.pad_token_id
            read = continued(vlm.model, prompts, owners, suffixes, pad_id=pad_id, spoken=spoken)
        return Reading(self._p_first(read.logits), self._likelihood(traces, read.logps))

    def _likelihood(self, traces: Sequence[str | None], logps: torch.Tensor | None) -> np.ndarray:
        """The geometric mean of the probabilities of each trace's own tokens, those of the tags around it left out."""
        likelihood = np.full(len(traces), np.nan)
        if logps is None:
            return likelihood
        tokenizer = self.vlm.tokenizer
        if not tokenizer.is_fast:
            raise ModelError(
                f"{self.vlm.name}: its tokenizer does not say where in a text its tokens stand, so that "
                "the likelihood of a trace cannot be told from its tags'; choose another listener"
            )
        (without,), texts = self._texts([None]), self._texts(traces)
        places = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        for row, (text, offsets) in enumerate(zip(texts, places, strict=True)):
            begin = len(commonprefix([text, without]))  # noqa: RUF071 (characters are meant)
            end = len(text) - len(commonprefix([text[begin:][::-1], without[begin:][::-1]]))  # noqa: RUF071
            begin, end = end - len(text[begin:end].lstrip()), begin + len(text[begin:end].rstrip())
            # Nothing says how likely the first token was.
            own = [k for k, (start, stop) in enumerate(offsets) if k and stop > begin and start < end]
            if own:
                likelihood[row] = float(logps[row, own].double().mean().exp())
        return likelihood

    def _suffixes(self, traces: Sequence[str | None]) -> list[list[int]]:
        ids: list[list[int]] = self.vlm.tokenizer(self._texts(traces), add_special_tokens=False)["input_ids"]
        return ids

    def _texts(self, traces: Sequence[str | None]) -> list[str]:
        vlm = self.vlm
        prefills = [listener_prefill(t, vlm.prompts, control_tokens=vlm.control_tokens) for t in traces]
        return [vlm.continuation(prefill) + self._answers.begun for prefill in prefills]

    def _p_first(self, logits: torch.Tensor) -> np.ndarray:
        return torch.softmax(logits[:, list(self._answers.ids)].double(), dim=-1)[:, 0].cpu().numpy()
