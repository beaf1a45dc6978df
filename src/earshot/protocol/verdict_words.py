"""The words in which a trace says which image it prefers; `redact` removes what these patterns find.

Clauses arrive plain: one space between words, no Markdown, no punctuation around them. Every repetition is bounded,
and no pattern crosses a line break: `redact` relies on both.
"""

import re
from functools import lru_cache
from typing import Final

# --- how an image is named ------------------------------------------------------------------------------------------
_NOUN: Final = (
    r"(?:image|picture|photo|photograph|generation|output|response|option|candidate|model|sample|version|choice|one"
    r"|render|rendition|result|entry)"
)
_MARK: Final = r"(?:[12]|(?-i:[AB])|one|two)"
_OWNED: Final = rf"(?:['’]s?(?: (?:generated|output|resulting))?(?: {_NOUN})?\b)?"
_SIDE: Final = (
    r"(?:the )?(?:"
    rf"{_NOUN} (?:(?:generated|produced|made|created) )?(?:by|from|on|of) (?:the )?(?:model {_MARK}|left|right)\b"
    rf"|{_NOUN} ?[#(\[]?{_MARK}\b[)\]]?{_OWNED}(?: {_NOUN}\b)?"
    rf"|(?:first|second|1st|2nd|left|right|former|latter)\b(?:[- ]hand)?(?: {_NOUN}\b)?{_OWNED})"
)
_BARE: Final = r"(?:[12]|(?-i:[AB]))"  # an answer on its own, only where the words around it say so
_NAMED: Final = rf"(?:{_SIDE}|(?:this|that) (?:one|{_NOUN})|it|{_BARE})"
# "the light of the first image is better" speaks of light.
_NOT_AFTER: Final = "".join(
    rf"(?<!\b{word} )(?<!\b{word} the )" for word in ("in", "of", "on", "from", "to", "than", "with", "for", "by")
)
_SUBJECT: Final = rf"(?<![\w'’-]){_NOT_AFTER}{_NAMED}"

# --- what is said of it ---------------------------------------------------------------------------------------------
_ADVERBS: Final = (
    r"(?:(?:[a-z]{2,14}ly|overall|therefore|thus|just|much|far|by|a|an|the|bit|little|lot|still|also|more|most|less|even|my"
    r"|our|their|then|hence|so|to|be|indeed|as|way|very|both|general|rather|quite|own|final|well|clear|obvious|definite"
    r"|undisputed|overwhelming|personal|better|not) ){0,6}"
)
_COPULA: Final = (
    r"(?:is|are|was|were|(?:would|should|will|must|could|may|might|can|to) be|being|seems|appears|looks|feels|remains"
    r"|becomes|comes (?:out|across)|stands out|emerges|ranks|scores|rates|gets)"
)
_BETTER: Final = (
    r"(?:better|best|superior|preferable|preferred|favou?red|favou?rite|stronger|strongest|winning|winner|higher|chosen"
    r"|selected|picked|pick|choice|inferior|worse|worst|weaker|weakest|loser|losing|top|not as good|ahead|behind"
    r"|on top|victor|victorious)"
)
_TAIL: Final = (
    r"(?: (?:image|picture|photo|generation|output|response|choice|option|pick|answer|candidate|one|model|version"
    r"|quality|result|selection|overall|here|of (?:the (?:two|pair)|both|them)|among the two|between (?:the two|them)"
    r"|by far|by (?:a )?(?:\w{1,12} )?\w{1,12}|[a-z]{2,14}ly|to me|on (?:balance|the whole)|now|too|though|again"
    r"|instead|in (?:every|all|any|this|my|general|most|the end|(?:the )?overall|both|comparison)\b(?: \w{1,12}){0,2}"
    rf"|(?:than|to|over|compared to|against) (?:the other(?: one| image)?|{_SIDE}|{_BARE})"
    r"|and \w{1,12}|or \w{1,12})){0,4}"
)
_BEATS: Final = (
    r"(?:(?:should |would |will )?wins?\b(?: out)?|won|loses|lost|prevails|outperforms|outshines|outclasses|surpasses"
    r"|edges out|beats|takes (?:it|the (?:lead|win|edge|cake|prize))"
    r"|(?:has|holds|gets|takes|gains) (?:the|an|a) (?:\w{1,12} )?(?:edge|advantage|upper hand|lead)"
    r"|(?:gets|has|deserves|earns) (?:my|our|the) (?:vote|win|preference|nod|point)|deserves to win)"
)
_PREFER: Final = (
    r"(?:prefer(?:red|s|ring)?|choose|chose|choosing|pick(?:ed|ing)?|select(?:ed|ing)?|favou?r(?:ed|s|ing)?"
    r"|go(?:ing)? (?:with|for)|vot(?:e|ing)(?: for)?|opt(?:ing)? for|lean(?:ing)? (?:to|towards?)|recommend|answer)"
)
_LABEL: Final = (
    r"(?:answer|verdict|choice|decision|preference|winner|selection|judge?ment|vote|pick|edge|nod"
    rf"|(?:better|best|superior|preferred|winning|stronger|chosen|selected|favou?rite) (?:{_NOUN}|answer|quality))"
)
_WHERE: Final = r"(?: (?:here|overall|of the two|between (?:the two|them)|in (?:this case|my opinion|my view)|for me))?"
_LEADS: Final = r"(?:(?:and|but|or|so|then|thus|hence|therefore|overall|which|that|also|finally|ultimately) ){0,4}"
_IS: Final = r"(?: ?(?:is|was|would be|should be|must be|will be|remains|goes to|go to|to|=|=>|->|→))"

_VERDICTS: Final = re.compile(
    "|".join(
        (
            # image 2 is clearly the better choice overall
            rf"{_SUBJECT} (?:{_ADVERBS}{_COPULA} )?{_ADVERBS}{_BETTER}{_TAIL}$",
            # (... and) is better overall
            rf"^{_LEADS}{_COPULA} {_ADVERBS}{_BETTER}{_TAIL}$",
            # image 2 clearly wins
            rf"{_SUBJECT} {_ADVERBS}{_BEATS}(?: {_SIDE})?{_TAIL}$",
            # image 2 is preferred ..., image 2 would be chosen ...
            rf"{_SUBJECT} {_ADVERBS}{_COPULA} {_ADVERBS}(?:preferred|chosen|picked|selected|favou?red|the winner)\b",
            # I would prefer the second image ...
            rf"\b{_PREFER} (?:to |that )?(?:{_SIDE}|this one|that one|it\b|{_BARE}\b)",
            # the better image is the first one; my vote goes to B
            rf"\b{_LABEL}\b{_WHERE}{_IS} {_ADVERBS}(?:{_SIDE}|{_BARE}\b)",
            # making it the better choice
            rf"\bmak(?:e|es|ing) (?:{_NAMED} )?{_ADVERBS}{_BETTER}{_TAIL}$",
            # image 1 > image 2
            rf"(?:{_SIDE}|\b{_BARE}) ?(?:>{{1,3}}|<{{1,3}}|≻|≺|»|«|&gt;|&lt;) ?(?:{_SIDE}|{_BARE}\b)",
        )
    ),
    re.IGNORECASE,
)
# Most clauses hold none of these words, and need no closer look.
_TRIGGER: Final = re.compile(
    r"better|best|superior|prefer|favou?r|strong|winn|higher|ch[oi][ois]|select|pick|inferior|worse|worst|weak|los|lost"
    r"|top|not as good|ahead|behind|victor|win|won|prevail|outperform|outshine|outclass|surpass|edge|beat|take"
    r"|advantage|upper hand|lead|vote|nod|point|deserve|go|opt|lean|recommend|answer|verdict|decision"
    r"|judg|[<>≻≺»«]|&[gl]t;"
)
_BARE_CLAUSE: Final = re.compile(rf"{_BARE}")
_LEAD_CLAUSE: Final = re.compile(
    r"(?:(?:and|but|or|so|then|thus|hence|therefore|overall|which|that|finally|ultimately|consequently|accordingly|the|my"
    r"|in (?:conclusion|summary|short|the end)|to (?:conclude|summari[sz]e|sum up)|as a result|all in all|on balance"
    r"|(?:for|given|considering|based on|because of) (?:this|these|that|all this|these reasons|this reason)"
    r"|I (?:think|believe|would say|conclude))(?: |$)){0,4}",
    re.IGNORECASE,
)
_NAME: Final = re.compile(rf"{_SIDE}|{_BARE}", re.IGNORECASE)
_HEADING: Final = re.compile(
    rf"(?:(?:so|the|my|our|final|overall|comparison|and|summary) ){{0,4}}(?:{_LABEL}|conclusion|verdicts?)(?: is)?",
    re.IGNORECASE,
)


@lru_cache(maxsize=16384)  # completions of one pair say many clauses alike
def is_verdict(clause: str) -> bool:
    """Whether a plain clause says which image is preferred overall."""
    return _TRIGGER.search(clause.lower()) is not None and _VERDICTS.search(clause) is not None


def is_heading(clause: str) -> bool:
    """Whether a plain clause only announces a verdict, as `Final verdict`: what follows it would read as one."""
    return len(clause) < 80 and _HEADING.fullmatch(clause) is not None


def is_lead(clause: str) -> bool:
    """Whether a plain clause is empty or only leads up to the next one, as `Therefore` does."""
    return len(clause) < 80 and _LEAD_CLAUSE.fullmatch(clause) is not None


def is_bare(clause: str) -> bool:
    """Whether a plain clause is an answer and nothing else: `1`, `B`."""
    return _BARE_CLAUSE.fullmatch(clause) is not None


def is_name(clause: str) -> bool:
    """Whether a plain clause names an image and says nothing of it: `The first image`."""
    return len(clause) < 80 and _NAME.fullmatch(clause) is not None


MARKUP: Final = re.compile(r"[*_#`\"“”‘|~]")
SPACES: Final = re.compile(r"\s+")

CUT: Final = "\x00"
"""Stands where something was removed until the pass ends; a boundary of clauses."""

CLAUSE_END: Final = re.compile(
    r"(?=\x00)|\x00|\n|"
    r"(?:[!?;:,()—–…]|\.(?!\d)){1,16}[\"'”’*_)\]]{0,8}"
    r"|(?<=\s)-{1,3}(?=\s)"
    r"|(?<=\s)(?=(?:because|since|due|but|while|whereas|given|thanks|although|though|despite|if|when|and|as|so)\b)"
    r"|(?<=\s)(?<!\bopt )(?<!\bvote )(?<!\bgo )(?<!\bgoing )(?<!\bopting )(?<!\bvoting )(?=(?:for|with)\b)",
    re.IGNORECASE,
)

_OPEN: Final = r"[\[({<]{1,3}"
_CLOSE: Final = r"[\])}>]{1,3}"
_FENCE: Final = r"[ \t*_\"'“‘`(\[{]{0,8}"
LABELLED: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"<\|[^|<>\n]{1,64}\|>",  # a special token
        r"\${0,2}\\boxed[ ]?\{(?:[^{}\n]|\{[^{}\n]{0,40}\}){0,80}\}\${0,2}",
        rf"<(\w{{1,32}})>[ \t]{{0,8}}(?:{_SIDE}|{_BARE})[ \t]{{0,8}}</\1>",
        rf"\[(\w{{1,32}})\][ \t]{{0,8}}(?:{_SIDE}|{_BARE})[ \t]{{0,8}}\[/\1\]",
        rf"\[\[[ ]?(?:{_SIDE}|{_BARE})[ ]?\]\]",  # [[B]]
        rf"{_OPEN}[ ]?{_BARE}[ ]?[<>=≻]{{1,3}}[ ]?{_BARE}(?:[ ]?=[ ]?\w{{1,16}})?[ ]?{_CLOSE}",  # [[A>B]], [A=B=Good]
        r"\b(?-i:[AB])[ ]?[<>≻]{1,3}[ ]?(?-i:[AB])\b",
        # **Final answer**: 1
        rf"(?:\b(?:so|the|my|our|final|overall)[ ]){{0,4}}\b{_LABEL}\b[ \t*_\"'”)\]]{{0,6}}"
        rf"(?:is|was|:|=|-{{1,2}}>|→|=>)[: \t*_\"'“‘`(\[{{#]{{0,10}}(?:{_SIDE}|{_BARE}\b)"
        r"(?=[ \t*_\"'”’`)\]}]{0,8}(?:[.,;:!?\n\x00(—–]|\Z|-[ -]|because\b|since\b|as\b|due\b|for\b|over\b))",
    )
)
BARE_LINE: Final = re.compile(rf"^{_FENCE}{_BARE}[ \t*_\"'”’`)\]}}.]{{0,8}}\n", re.MULTILINE)
