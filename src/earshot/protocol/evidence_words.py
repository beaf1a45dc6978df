"""What a sentence does in a trace: does it tell what an image shows, or whom to take?

`verdict_words` and `judge_words` know phrases, and whoever finds another phrase is through. Here nothing passes that
does not look like evidence: a sentence stays where it describes (a verb of describing, or a point under a heading),
says something beside names of images, praise and small words, and does not bring in judges, votes, the writer or the
reader of the trace. What it says in other words or another language has no such verb, and goes.

Sentences arrive plain: one space between words, no Markdown. Every repetition is bounded.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from earshot.protocol.verdict_words import MARKUP, SPACES, is_name

Role: TypeAlias = Literal["evidence", "heading", "other"]
"""What a sentence does: it describes, it stands above descriptions, or it does something else."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NOUN: Final = (
    r"(?:image|picture|photo|photograph|generation|output|response|option|candidate|model|sample|version|render|result)"
)
_NAMES_A_SIDE: Final = re.compile(
    rf"\b(?:first|second|1st|2nd|left|right|former|latter|earlier|later|initial|(?:{_NOUN}|number|no\.?) ?#?(?:one|two)"
    r"|opening|(?-i:[AB]))\b|(?<![\w.,/])#?[12](?![\w/%]|[.,]\d)",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(rf"\b{_NOUN}\b", re.IGNORECASE)
_NAME_WORDS: Final = _words(
    "first second 1st 2nd left right former latter earlier later initial opening image images picture pictures photo "
    "photos photograph photographs generation generated output response option candidate model models sample version "
    "render result edited"
)
_SMALL_WORDS: Final = _words(
    "a an the this that these those it its itself they them their he she his her him i me my mine myself we us our "
    "you your who whom whose whoever what which where when why how one ones two both neither either other others "
    "another each all any some none nobody nothing everything anything something someone anyone everyone and or but "
    "nor so yet for of on in at by to from with without as than then thus hence therefore because since while whereas "
    "though although if unless until about above below over under up down out off into onto upon between among after "
    "before against through during per via is are was were be been being am has have had having do does did doing "
    "done can could may might must shall should will would not no yes never ever very much many more most less least "
    "few fewer also too only just even still again already almost quite rather really simply clearly certainly surely "
    "definitely obviously honestly truly indeed overall altogether here there now today tomorrow always often once "
    "hardly barely comes come came goes go going went gone gets get got take takes took taken taking put puts make "
    "makes made making give gives gave given say says said see sees saw seen know knows known think thinks want wants "
    "need needs let lets keep keeps kept end ends way ways thing things side sides lot bit course case fact reason "
    "doubt place same own like well such ahead three four five six seven eight nine ten hundred zero percent far long "
    "time else alone ll ve re don doesn didn isn aren wasn won"
)
_PRAISE: Final = _words(
    "good better best great greater greatest fine finer finest nice bad worse worst poor poorer poorest superior "
    "inferior outstanding excellent perfect perfection flawless impeccable masterpiece masterful superb brilliant "
    "magnificent marvellous marvelous amazing awesome fantastic wonderful terrific impressive remarkable exceptional "
    "extraordinary unbeatable unmatched unrivalled unrivaled peerless supreme sublime splendid stellar solid strong "
    "stronger strongest weak weaker weakest terrible horrible awful dreadful disaster disastrous failure "
    "embarrassment embarrassing disappointing disappointment mediocre worthless useless rubbish trash garbage "
    "hopeless satisfying satisfactory acceptable unacceptable clear obvious evident certain sure right wrong correct "
    "incorrect true false high higher highest low lower lowest top bottom gold silver quality work piece leagues "
    "ideal respect"
)
# Who judges, and the tools of judging: no picture needs them to be described.
_JUDGING: Final = re.compile(
    r"\b(?:raters?|annotators?|voters?|votes?|voted|voting|consensus|unanimous(?:ly)?|surveys?|polls?|respondents?"
    r"|participants?|majority|favou?rites?|favou?r(?:s|ed)?|winners?|wins?|won|winning|losers?|loses?|lost|victor(?:y|s)?"
    r"|prefer(?:s|red|ence|ences|able)?|choices?|choose|chooses|chose|chosen|picks?|picked|select(?:s|ed|ion)?|decisions?"
    r"|decide[sd]?|verdict|answer|reply|annotation|ground[- ]truth|metadata|data ?set|guidelines?|official|reward"
    r"|probability|likelihood|odds|scores?|scored|scoring|ratings?|rated|rank(?:s|ed|ing)?|tally|elo|digit|duty"
    r"|conclu(?:de|des|sion)|reject(?:s|ed)?|accept(?:s|ed)|approve[sd]?|recommend(?:s|ed)?|deserves?|contest|bet"
    r"|checkmate|advantage|comparison|options?|evaluat(?:e|es|ed|or|ors)|grad(?:e|es|ed|er|ers))\b",
    re.IGNORECASE,
)
# These can stand in a picture too.
_JUDGING_OR_SHOWN: Final = re.compile(
    r"\b(?:judges?|jury|juries|panel|panell?ists?|jurors?|critics?|crowd|competition|race|trophy|medal|crown|champion"
    r"|prize|award|label|token)\b",
    re.IGNORECASE,
)
_SHOWS: Final = re.compile(
    r"\b(?:show|depict|display|contain|include|feature|portray|represent|illustrate|render|wear|hold|add)(?:s|ed|ing)?\b"
    r"|\bthere (?:is|are)\b",
    re.IGNORECASE,
)
_PERSONS: Final = re.compile(
    r"\b(?:(?-i:I)|me|my|mine|myself|we|us|our|you|your|yours|whoever|anyone|anybody|everyone|everybody|nobody|no one"
    r"|viewers|most people|all people|people would|experts?|clients?|customers?|mother|friends?|colleagues?)\b",
    re.IGNORECASE,
)
_PERCEIVES: Final = re.compile(
    r"\b(?:can|could|I|we|you|to) (?:\w{1,12} )?(?:see|notice|observe|spot|identify|recogni[sz]e)\b", re.IGNORECASE
)
_DESCRIBES: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|had|isn|aren|wasn|there"
    r"|(?:show|showcase|depict|display|present|contain|include|feature|lack|miss|omit|capture|convey|portray|represent"
    r"|illustrate|render|reflect|resemble|match|follow|adhere|align|correspond|fulfill?|satisf(?:y|ie)|meet|deviate"
    r"|stray|fail|succeed|struggle|suffer|appear|look|seem|feel|remain|demonstrate|exhibit|offer|provide|create|produce"
    r"|use|add|introduce|incorporate|integrate|maintain|retain|preserve|keep|change|replace|remove|alter|edit|ignore"
    r"|disregard|interpret|suggest|imply|implie|evoke|attempt|aim|focus|focuse|emphasi[sz]e|highlight|stand|sit|hold|wear"
    r"|walk|run|fly|flie|swim|float|lie|hang|lean|surround|cover|fill|blend|fit|contrast|differ|enhance|detract|distract"
    r"|distort|blur|crop|cut|pixelate|oversaturate|saturate"
    r"|balance|compose|execute|give|lend|bring|make|set|leave|turn|read|spell|mention|describe|ask"
    r"|require|request|specif(?:y|ie)|expect|violate|contradict|exceed|support|express|generate|draw|combine|bear|boast"
    r"|excel|deliver|achieve|handle|reproduce|compare|see|notice|observe)(?:s|es|d|ed|ing|n|t)?|shown|kept|made|met|placed"
    r"|positioned|painted|coloured|colored|held|worn|lit)\b",
    re.IGNORECASE,
)
_CONCLUDES: Final = re.compile(
    r"\b(?:which|that|this) is why\b"
    r"|^(?:so|thus|hence|therefore|overall|ultimately|finally|consequently|accordingly|altogether|all in all|after all"
    r"|in (?:conclusion|summary|short|the end|sum|total|my opinion|my view)|to (?:conclude|summari[sz]e|sum)"
    r"|on (?:balance|reflection|the whole)|based on|given|considering|taking|put differently|simply put|all things"
    r"|everything|these observations|as a result|from (?:here|this)|for (?:these|this|that|all))\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_TITLED: Final = re.compile(r"(?P<of>[^:.!?]{1,60}): ?(?=\S)")
COMMA: Final = re.compile(r"[,;–—](?=\s)")
"""Ends a clause that may be cut out of a sentence."""
SENTENCE: Final = re.compile(r"\n|[.!?…]{1,16}[\"'”’*_)\]]{0,8}(?=\s|\Z)|[。！？]")
"""Ends a sentence."""
POINT_NUMBER: Final = re.compile(r"\W{0,8}\d{1,2}\.\W{0,4}")
"""Ends none: the number of a point."""
_POINT_MARK: Final = re.compile(r"\A\s*(?:[-*•+]|[*_#\s]{0,6}\d{1,2}[.)])\s")
_HEADING_MARK: Final = re.compile(r"\s*#|[^\n]*:[*_ \t]*\Z|\s*\*\*[^*\n]*\*\*\s*\Z")
_HEADING_WORDS: Final = _words(
    "analysis assessment breakdown cons description details evaluation observations pros review strengths summary "
    "weaknesses"
)


@lru_cache(maxsize=16384)  # completions of one pair say many sentences alike
def role_of(sentence: str) -> Role | None:
    """What a sentence is in its trace, as it stands there; None where nothing is said."""
    words = SPACES.sub(" ", MARKUP.sub("", _POINT_MARK.sub("", sentence, count=1))).strip()
    if not sentence.strip():
        return None
    if not any(one.isalnum() for one in words):
        return "other"
    if _HEADING_MARK.match(sentence.rstrip()) or (sentence.endswith("\n") and is_name(words)):
        return "heading" if _is_heading(words) else "other"
    point = _POINT_MARK.match(sentence) is not None
    return "evidence" if _is_evidence(words, point=point) else "other"


def tells_whom(clauses: Sequence[str]) -> list[bool]:
    """Which clauses of a sentence of evidence name a side without describing, from its first words that describe on."""
    words = [SPACES.sub(" ", MARKUP.sub("", clause)).strip(" ,;:–—.!") for clause in clauses]
    titled = _TITLED.match(words[0]) is not None
    told, begun = [], False
    for clause in words:
        named = begun and names_a_side(clause)
        told.append(named and (_brings_in_judges(clause) or not _unnamed(clause) or not (titled or _describes(clause))))
        begun = begun or bool(_unnamed(clause))
    return told


def _is_heading(words: str) -> bool:
    """Whether it only says what stands below: the name of an image, or what is looked at."""
    if _judges(words):
        return False
    return not names_a_side(words) or (_NAMED.search(words) is not None and not _unnamed(words) - _HEADING_WORDS)


def _is_evidence(sentence: str, *, point: bool) -> bool:
    """Whether it tells what an image shows or how, and not which one to take; a point of a list needs no verb."""
    if "?" in sentence:
        return False
    if names_a_side(sentence) and _brings_in_judges(sentence):
        return False
    titled = _TITLED.match(sentence)
    said = sentence if titled is None else sentence[titled.end() :]
    listed = (point or titled is not None) and not names_a_side(said)
    if not _unnamed(said):  # `Artifacts: none.` is a finding, `Total: 27` is none
        return point and listed and titled is not None and not any(one.isdigit() for one in said)
    if titled is not None and not _unnamed(titled["of"]):
        return True  # the name of an image, and what there is in it
    return listed or _describes(said)


def _describes(words: str) -> bool:
    return _DESCRIBES.search(words) is not None


def _brings_in_judges(words: str) -> bool:
    """Judges and their tools, a conclusion, or somebody who thinks of the images rather than sees them."""
    return (
        _judges(words)
        or _CONCLUDES.search(words) is not None
        or (_PERSONS.search(words) is not None and _PERCEIVES.search(words) is None)
    )


def _judges(words: str) -> bool:
    return _JUDGING.search(words) is not None or (
        _JUDGING_OR_SHOWN.search(words) is not None and _SHOWS.search(words) is None
    )


def _unnamed(words: str) -> set[str]:
    """The words beside names of images, praise, small words and those of judging."""
    said = {*_WORD.findall(_JUDGING.sub(" ", words).lower())}
    return said - _SMALL_WORDS - _NAME_WORDS - _PRAISE


def names_a_side(words: str) -> bool:
    """Whether an image is named, or might be."""
    return _NAMES_A_SIDE.search(words) is not None
