"""What an error answer means: its words, and the kind of error that they and the status make it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_imagine.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    ServerError,
    UnexpectedResponseError,
)


@dataclass(frozen=True)
class ErrorDetail:
    """What an error body says. `names_fields`: it lists what is wrong with single fields of the request."""

    message: str
    code: str | None = None
    names_fields: bool = False

    @property
    def words(self) -> str:
        """Everything that it says, the words of its code included."""
        code = re.sub(r"[_-]+", " ", self.code or "")
        return f"{code}\n{self.message}".strip()


class ErrorReader(Protocol):
    """What is particular about a provider's error bodies."""

    def __call__(self, status: int, body: Any) -> ErrorDetail | None:
        """The message and code of an error body, or `None` if this is not one."""


# What an error's words blame. Those that blame the API, or say that something has happened already, outweigh
# all others: "invalid response from upstream" says nothing of the request, "already created" proves nothing.
_ABOUT_A_FAILURE = re.compile(
    r"\b(internal|servers?|services?|upstream|backend|gateway|proxy|provider|database|storage|disk|connection"
    r"|crash\w*|exception|fatal|unavailable|down|time[ds]?[ -]?out|timeouts?|deadline|overloaded|busy"
    r"|temporar\w+|retr(?:y|ies)|respon(?:se|d|ding)|returned|results?|outputs?|got|processing|polling"
    r"|(?:en)?queued?|workers?|gpu|cuda|webhooks?|jobs?|tasks?|bot|objects?|functions?|undefined|index"
    r"|stack|syntax|relation|constraint|transaction|something went wrong|failed to (?!parse|validate|decode)"
    r"|unexpected(?! (?:field|key|keyword|parameter|property|argument|token))"
    r"|be (?:completed|finished|fulfilled|processed|handled|executed|performed|served)"
    r"|already|duplicate\w*|(?<!not )accepted|created|submitted|started|charged|deducted"
    r"|from (?:the )?model|generation (?:is|was|not|has))\b",
    re.IGNORECASE,
)
_OF_A_REQUEST = re.compile(
    r"\b(request|prompts?|models?|generators?|seeds?|(?:aspect[ _-]?)?ratios?|parameters?|params?|fields?"
    r"|body|payload|json|durations?|settings?|projects?|values?|arguments?|propert(?:y|ies)|input"
    r"|negative[ _]\w+|styles?|kinds?|types?|formats?|sizes?|widths?|heights?|voices?|languages?"
    r"|first_frame_image|generation_type)\b",
    re.IGNORECASE,
)
_COMPLAINT = re.compile(
    r"\b(invalid|required?s?|missing|must|should|may not|too \w+|at (?:least|most)|exceed(?:s|ed)?|maximum"
    r"|minimum|out of (?:range|bounds)|(?:un|not |n.t )supported|not \w+|isn.t|can.t|cannot|valid|validation"
    r"|malformed|unprocessable|unknown|unrecogni[sz]ed|unexpected|does(?: not|n.t)|empty|blank"
    r"|no (?:such|longer|prompt|model)|provide|enter|illegal|wrong|incorrect|bad|disabled|deprecated|retired"
    r"|rejected|parse|parsing|expected|greater than|less than|longer than|shorter than)\b",
    re.IGNORECASE,
)
_GENERAL_COMPLAINT = re.compile(
    r"^[\W_]*(bad request|invalid request|validation (?:failed|error)|unprocessable (?:entity|content))"
    r"|\bnot (?:available|included|allowed|enabled)\b[^\n]{0,20}"
    r"\b(?:on|in|for|with) your (?:\w+ )?(?:plan|tier|subscription)\b",
    re.IGNORECASE | re.MULTILINE,
)
# Of a key, a rate and credits an API speaks as its caller's; those of others are said to be theirs.
_ABOUT_A_KEY = re.compile(
    r"^[\W_]*(?:(?:the|your|an?|invalid|missing|wrong|expired|unknown|no|incorrect|bad)\s+)*"
    r"(api[ _-]?key|(?:access |bearer |auth\w* )?token|unauthori[sz]ed|unauthenticated|forbidden"
    r"|not authenticated|you do(?: not|n.t) have (?:permission|access)|account|subscription)\b",
    re.IGNORECASE | re.MULTILINE,
)
_ABOUT_A_RATE = re.compile(
    r"^[\W_]*(?:(?:the|your|api|request|you(?: have|.ve)?|exceeded|reached|hit)\s+)*"
    r"(rate[ _-]?limit\w*|too many (?:concurrent )?requests"
    r"|concurren(?:t|cy)(?: requests?)? limit\w*)\b",
    re.IGNORECASE | re.MULTILINE,
)
_TELLS_TO_WAIT = re.compile(r"^\W*(?:please )?slow down\b", re.IGNORECASE | re.MULTILINE)
_UNFINISHED = (
    r"(?:pending|queued|waiting|running|active|outstanding|unfinished|ongoing|concurrent|simultaneous|parallel"
    r"|in[ -](?:progress|process|flight|(?:the )?queue)|being (?:processed|generated))"
)
_JOBS = (
    r"(?:jobs?|tasks?|generations?|imagines?|images?|videos?|renders?|predictions?|skybox(?:es)?|creations?)"
)
_UNFINISHED_JOBS = (
    rf"\b(?:{_UNFINISHED} (?:\w+ )?{_JOBS}|pending requests?|(?:job|task|generation|render)s? queue"
    rf"|{_JOBS} at (?:once|a time|the same time)"
    rf"|(?:{_JOBS}|requests?) (?:that |are |is |already |currently |still ){{0,3}}{_UNFINISHED})\b"
)
_LIMIT = (
    r"\b(?:too many|more than|max(?:imum)?|limit(?:ed)?|quota|cap(?:acity)?|full|exceed(?:s|ed)?|at most|only"
    r"|up to|already ha(?:ve|s) \d+)\b"
)
_AT_CAPACITY = re.compile(
    rf"{_LIMIT}[^\n.!]{{0,60}}{_UNFINISHED_JOBS}|{_UNFINISHED_JOBS}[^\n.!]{{0,60}}{_LIMIT}"
    r"|\btoo many jobs\b|^\W*(?:the |your )?queue (?:is )?(?:currently )?full\b"
    r"|\bslots? (?:are |is )?(?:all )?(?:busy|exhausted|full|in use|taken|used up)\b"
    r"|\bno (?:free |available )slots?\b",
    re.IGNORECASE | re.MULTILINE,
)
_OF_OTHERS = re.compile(
    r"\b(internal|servers?|upstream|backend|gateway|proxy|database|workers?|crash\w*|exception|failed"
    r"|time[ds]?[ -]?out|timeouts?|already (?:created|accepted|queued|submitted|started)|charged|deducted"
    r"|duplicate\w*|identical|same(?! time))\b",
    re.IGNORECASE,
)
_OF_A_FIELD = re.compile(r"\b(invalid|must|parameters?|fields?|validation)\b", re.IGNORECASE)
_SENTENCES = re.compile(r"[.;!\n]\s*")
_SPEAKS_OF_A_RATE = re.compile(r"\b(rate[ _-]?limit\w*|too many requests)\b", re.IGNORECASE)
_SPEAKS_OF_CREDITS = re.compile(r"credit|quota|balance|insufficient funds", re.IGNORECASE)
_ABOUT_CREDITS = re.compile(
    r"(insufficient|not enough|enough|no|zero|out of|ran out of|run out of|all your)\s+(?:\w+\s+)?"
    r"(credits?|funds|balance|quota)\b"
    r"|\b(?:credits?|balance|funds)\b[^\n]{0,30}"
    r"\b(?:insufficient|exhausted|used up|too low|depleted|required)\b"
    r"|^\W*(?:your |the )?(?:\w+ )?quota\b[^\n]{0,20}\b(?:exceeded|reached|exhausted|used up)"
    r"|^\W*you(?: have|.ve)? (?:reached|exceeded|hit|used up) (?:your|the) "
    r"(?:daily|weekly|monthly|usage|spending|plan.?s?|free)(?: \w+)? (?:limit|quota|allowance)\b",
    re.IGNORECASE | re.MULTILINE,
)
_OF_A_PERIOD = re.compile(
    r"\b(?:daily|weekly|monthly)\b[^\n.]{0,30}\b(?:limit|quota|allowance)\b[^\n.]{0,20}"
    r"\b(?:reached|exceeded|exhausted|used up)\b",
    re.IGNORECASE,
)
"""What is used up for so long is not waited for."""
_QUOTED = re.compile(r"(?<!\w)(['\"`])[^'\"`]{1,80}\1")
_HAPPENED = re.compile(r"\balready (?:created|accepted|queued|submitted)\b", re.IGNORECASE)
_FAILED_BEHIND = re.compile(
    r"\b(?:upstream|backend|gateway|model)\b[^\n]{0,40}"
    r"\b(?:time[ds]?[ -]?out|timeouts?|errors?|failed|crashed)\b",
    re.IGNORECASE,
)
OF_ITSELF = frozenset((401, 402, 403, 404, 405, 411, 413, 414, 415, 429, 431))
"""Statuses that mean the request, the key, the limit or the credits, whatever the body says."""

_MODERATION = re.compile(
    r"moderat|content[ _]policy|content (?:filter|guideline)|terms of (?:service|use)|nsfw"
    r"|banned (?:prompt|word)|safety|prohibited|flagged|inappropriate|disallowed content"
    r"|sensitive content|violat\w+ (?:our|the|community|content|usage)\b"
    r"|(?:prompt|request|content) (?:is |was |has been )?blocked",
    re.IGNORECASE,
)


def is_moderation(message: str) -> bool:
    """Whether a message speaks of refused content."""
    return _MODERATION.search(message) is not None


def is_queue_full(words: str) -> bool:
    """Whether an error's words say that the caller has as many jobs under way as it may have."""
    said = _QUOTED.sub(" it ", words).replace("_", " ")
    return not (_OF_OTHERS.search(said) or is_moderation(words)) and any(
        _AT_CAPACITY.search(sentence) and not _OF_A_FIELD.search(sentence)
        for sentence in _SENTENCES.split(said)
    )


def _by_words(words: str) -> type[ProviderError]:
    """The error that nothing but its words, its code among them, name."""
    said = _QUOTED.sub(" it ", words)  # what is quoted was sent, and may be any word
    if is_queue_full(words) or (_TELLS_TO_WAIT.search(said) and not _HAPPENED.search(said)):
        return RateLimitedError
    if _ABOUT_A_FAILURE.search(said):
        return ServerError
    if _ABOUT_CREDITS.search(said):
        return InsufficientCreditsError
    if _ABOUT_A_RATE.search(said):
        return RateLimitedError
    if is_moderation(words):
        return ModerationError
    if _ABOUT_A_KEY.search(said):
        return AuthenticationError
    of_request = _OF_A_REQUEST.search(said) and _COMPLAINT.search(said)
    return InvalidRequestError if of_request or _GENERAL_COMPLAINT.search(said) else UnexpectedResponseError


def _forbidden(words: str) -> type[ProviderError]:
    if _SPEAKS_OF_A_RATE.search(words) or is_queue_full(words):
        return RateLimitedError
    if is_moderation(words):
        return ModerationError
    return InsufficientCreditsError if _SPEAKS_OF_CREDITS.search(words) else AuthenticationError


def kind_of(status: int, detail: ErrorDetail | None) -> type[ProviderError]:
    """The error that an answer without a known code means, by its status and by what its body says, if
    anything."""
    words = detail.words if detail is not None else ""
    known: dict[int, type[ProviderError]] = {
        401: AuthenticationError,
        402: InsufficientCreditsError,
        403: _forbidden(words),
        404: NotFoundError,
        405: NotFoundError,
        408: ConnectionFailedError,
        429: InsufficientCreditsError if _OF_A_PERIOD.search(words) else RateLimitedError,
    }
    if status in known:
        return known[status]
    if status >= 500:
        return ServerError
    if 300 <= status < 400:
        return UnexpectedResponseError
    if is_queue_full(words):
        return RateLimitedError
    if detail is not None and detail.names_fields:
        return InvalidRequestError
    kind = _by_words(words)
    silent = kind is UnexpectedResponseError and status >= 400
    return InvalidRequestError if silent else kind


def _contradicts(status: int, said: str) -> bool:
    """Whether words report something that happened after the create was taken, whatever the status means."""
    if is_queue_full(said):
        return False
    if status != 429:  # of a rate, an API may say that it is busy and when to try again
        return _ABOUT_A_FAILURE.search(said) is not None
    return _HAPPENED.search(said) is not None or _FAILED_BEHIND.search(said) is not None


def proves_refusal(
    status: int, detail: ErrorDetail | None, kind: type[ProviderError], *, known: bool
) -> bool:
    """Whether an error answer to a create proves that nothing was accepted.

    It does if it speaks of the request, the key, the limit or the credits: by a status that means just that,
    by a code that the provider documents, by a list of what is wrong in which field, or in words. Every other
    answer, whatever its status, leaves the create's outcome open.

    Args:
        detail: what the body says; `None` where it says nothing.
        kind: the error that the answer was read as.
        known: whether the detail's code is one that the provider documents.
    """
    if status == 408 or 300 <= status < 400 or status >= 500:
        return False
    if issubclass(kind, ServerError | UnexpectedResponseError | ConnectionFailedError):
        return False
    if known:
        return True
    if status in OF_ITSELF:
        return detail is None or not _contradicts(status, _QUOTED.sub(" it ", detail.words))
    if detail is None:
        return False
    return detail.names_fields or not issubclass(
        _by_words(detail.words), ServerError | UnexpectedResponseError
    )
