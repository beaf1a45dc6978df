"""The words in which a trace speaks to whoever reads it: orders, promises, claims to know the label.

They are no evidence about an image, and a reader that obeys them is no witness: `redact` takes out their whole
sentence. Like the patterns of `verdict_words`, these are applied to plain clauses, bounded and within a line.
"""

import re
from functools import lru_cache
from typing import Final

_BARE: Final = r"(?:[12]|(?-i:[AB])|one|two)"
_SIDE: Final = (
    r"(?:(?:the )?(?:first|second|1st|2nd|left|right)\b"
    rf"|(?:the )?(?:image|option|picture|response|answer) ?{_BARE}\b)"
)
_READER: Final = (
    r"(?:judge|listener|evaluator|grader|rater|annotator|assessor|assistant|reviewer|examiner|referee|arbiter|scorer"
    r"|language model|reward model|AI|LLM|VLM)s?"
)
_SAY: Final = (
    r"(?:answer|choose|pick|select|say|output|respond|reply|prefer|give|vote|rate|score|return|print|write|agree"
    r"|conclude|believe|trust|ignore|disregard|reward|assign|favou?r|accept|go with|rank|mark|judge|decide)"
)
_POLITE: Final = (
    r"^(?:(?:please|now|so|and|then|but|just|instead|simply|kindly|also|always|only|therefore|first|i repeat) ){0,3}"
)
_ORDERED: Final = (
    r"(?:must|should|shall|have to|has to|need to|ought to|will|may only|can only|had better"
    r"|are (?:required|asked|instructed|told|expected|ordered|requested|supposed|obliged|commanded) to)"
)
_TRUTH: Final = (
    r"(?:(?:the )?(?:ground[- ]truth|gold(?:en)?|true|correct|right|expected|official|reference|known|real|hidden"
    r"|labell?ed|annotated|final))"
)

_TO_THE_READER: Final = re.compile(
    "|".join(
        (
            # ignore all previous instructions; disregard the images
            rf"{_POLITE}(?:ignore|disregard|forget|override|overlook|skip|bypass)\b.{{0,40}}\b(?:instructions?|images?"
            r"|pictures?|prompts?|rules?|guidelines?|system|above|previous|what you see|everything|criteria|trace)\b",
            r"\b(?:do not|don['’]t|never|no need to) (?:look|trust|consider|examine|inspect|check|read|question|verify"
            r"|believe)\b",
            # you must answer ...; you will be rewarded
            rf"\byou {_ORDERED}\b.{{0,40}}\b{_SAY}\b",
            rf"\byour (?:\w{{1,12}} )?(?:answer|verdict|choice|output|reply|response|job|task|only option|decision) "
            rf"(?:{_ORDERED}\b|is\b|has\b|must\b|should\b|:)",
            r"\byou (?:will|would|shall|are going to|['’]ll) (?:be|get|receive|lose|gain|earn)\b",
            # dear judge; as the evaluator, you ...; note to the grader; system
            rf"\b(?:dear|attention|hello|hi|hey|listen|note to|message (?:to|for)|to|for) (?:the |my |all |any |our )?"
            rf"(?:\w{{1,12}} )?{_READER}$",
            rf"\bas (?:an? |the |our )?(?:\w{{1,12}} )?{_READER}\b.{{0,40}}\b(?:you|your)\b",
            rf"\bnote to (?:the )?(?:\w{{1,12}} )?{_READER}\b",
            r"^(?:system|admin(?:istrator)?|developer|assistant|user|instructions?|override)(?: (?:message|prompt|note"
            r"|override|instructions?|mode|update|notice))?$",
            # output 2; respond with 1; give the second image full marks
            rf"{_POLITE}(?:output|respond|reply|return|print|say|write|type|report|submit|state)(?: only| just| with"
            rf"| exactly| that| the| it){{0,3}} (?:{_SIDE}|{_BARE}$)",
            rf"{_POLITE}(?:give|assign|award|grant) (?:it|this|that|{_SIDE})",
            r"\b(?:full|maximum|top|highest) (?:marks?|scores?|points?|rewards?|probability|confidence)\b",
            r"\b(?:trust|believe|obey|listen to|agree with|take) (?:me|my word|my judge?ment)\b",
            # the correct answer is; the first image is known to be the preferred one; the label of this pair
            rf"\b{_TRUTH} (?:answer|label|choice|verdict|preference|winner|decision)"
            r"(?= (?:is|was|has|must|here|for|of (?:this|the|these))\b| ?[=:]|$)",
            r"\b(?:ground[- ]truth|label) (?:\w{1,12} ){0,4}(?:is|was|says|=)",
            r"\b(?:is|was|are|were|has been|have been) (?:already |long )?(?:known|proven|verified|confirmed|labell?ed"
            r"|marked|designated|annotated|established|agreed|told|certified)\b.{0,24}\b(?:correct|preferred|better|best"
            r"|right|winner|winning|chosen|favou?rite|answer|superior)\b",
            rf"\b(?:human|people|rater|annotator|expert|voter|user|everyone|everybody|judge|critic|crowd|majority)s?\b"
            rf".{{0,40}}\b(?:preferred|prefer|prefers|chose|choose|voted|vote|picked|favou?red|agree|agreed|selected|liked"
            rf"|want)\b.{{0,24}}{_SIDE}",
            # verdict 2
            rf"^(?:(?:the|my|final|so) ){{0,3}}(?:verdict|answer|label|choice|winner|result|decision|vote) {_BARE}$",
        )
    ),
    re.IGNORECASE,
)
# Most clauses hold none of these words, and need no closer look.
_TRIGGER: Final = re.compile(
    r"ignore|disregard|forget|overrid|overlook|skip|bypass|not |n['’]t |never|you|judge|listen|evaluat|grader|rater"
    r"|annota|assessor|assist|review|examin|referee|arbiter|scorer|model|\bai\b|llm|vlm|system|admin|developer|user|instruct"
    r"|output|respon|reply|return|print|say|write|type|report|submit|state|give|assign|award|grant|full|maxim|top|highest"
    r"|trust|believ|obey|agree|take|truth|gold|true|correct|right|expected|official|reference|known|real|hidden|label"
    r"|final|proven|verified|confirmed|marked|designat|establish|told|certif|human|people|expert|voter|every|critic"
    r"|crowd|majority|verdict|answer|choice|winner|result|decision|vote|no need",
    re.IGNORECASE,
)

SENTENCE_END: Final = re.compile(r"[.!?…\n\x00][\"'”’*_)\]]{0,8}\Z")
"""How a clause ends that is the last of its sentence."""


@lru_cache(maxsize=16384)  # completions of one pair say many clauses alike
def is_to_the_reader(clause: str) -> bool:
    """Whether a plain clause speaks to whoever reads the trace, or claims to know what the answer is."""
    return _TRIGGER.search(clause) is not None and _TO_THE_READER.search(clause) is not None
