"""Open attempts: which job answers which, and when a history proves that there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_imagine.engine.history.attempts import (
    Finding,
    Known,
    OpenAttempt,
    Verdict,
    covers,
    skew_of,
    window_of,
)
from prefect_imagine.engine.history.identity import RequestIdentity, request_identity
from prefect_imagine.engine.history.judgement import Evidence, judge
from prefect_imagine.providers.models import (
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
)
from tests.engine.fake_provider import moved_time

T = datetime(2025, 3, 1, 12, tzinfo=UTC)
MARGIN = 300.0
IDENTITY: RequestIdentity = RequestIdentity("image", "m", "a lake", None)


def at(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def attempt(
    item: int = 1, *, sent: float = 0.0, number: int = 1, identity: RequestIdentity = IDENTITY
) -> OpenAttempt:
    return OpenAttempt(
        item=item,
        attempt=number,
        identity=identity,
        correlator=f"{item}:{number}",
        provider_at=at(sent),
        since=0.0,
    )


def job(name: str, created: float | None = 1.0, **more: Any) -> Generation:
    known: dict[str, Any] = {
        "kind": GenerationKind.IMAGE,
        "model": "m",
        "prompt": "a lake",
        "created_at": None if created is None else at(created),
    }
    return Generation(provider="p", id=name, status=GenerationStatus.RUNNING, **(known | more))


def find(
    attempts: Sequence[OpenAttempt],
    *seen: Generation,
    taken: Sequence[str] = (),
    marks: bool = False,
    skew: timedelta | None = timedelta(),
    own: Mapping[str, RequestIdentity] | None = None,
    explained: Sequence[RequestIdentity] = (),
) -> list[Finding]:
    known = own or {}
    [findings] = judge(
        [attempts],
        Evidence(
            rows=seen,
            window=window_of(attempts, skew, MARGIN),
            own=known,
            taken={*taken, *known},
            unsettled={attempts[0].identity, *explained},
            by_mark=marks,
        ),
    )
    return findings


def adopted(findings: Sequence[Finding]) -> dict[int, str | None]:
    return {each.attempt.item: each.job.id if each.job else None for each in findings}


def verdicts(findings: Sequence[Finding]) -> set[Verdict]:
    return {each.verdict for each in findings}


def test_one_attempt_and_one_job_belong_together() -> None:
    [found] = find([attempt()], job("j"))
    assert (found.verdict, found.job and found.job.id) == (Verdict.ADOPT, "j")


def test_without_a_job_nothing_is_seen() -> None:
    assert verdicts(find([attempt()])) == {Verdict.NOT_SEEN}


def test_identical_attempts_are_matched_by_count_the_oldest_first() -> None:
    three = [attempt(3, sent=2), attempt(1, sent=0), attempt(2, sent=1)]
    found = find(three, job("second", 2), job("first", 1))
    assert adopted(found) == {1: "first", 2: "second", 3: None}
    assert {each.attempt.item for each in found if each.verdict is Verdict.NOT_SEEN} == {3}


def test_as_many_jobs_as_attempts_are_all_adopted_each_once() -> None:
    found = find([attempt(1), attempt(2)], job("a", 1), job("b", 1))
    assert sorted(str(name) for name in adopted(found).values()) == ["a", "b"]


def test_more_jobs_than_attempts_are_somebody_elses_too() -> None:
    found = find([attempt(1), attempt(2)], job("a"), job("b"), job("c"))
    assert verdicts(found) == {Verdict.AMBIGUOUS}
    assert adopted(found) == {1: None, 2: None}


def test_jobs_that_others_own_are_no_candidates() -> None:
    assert verdicts(find([attempt()], job("theirs"), taken=["theirs"])) == {Verdict.NOT_SEEN}
    assert adopted(find([attempt()], job("theirs"), job("mine"), taken=["theirs"])) == {1: "mine"}


@pytest.mark.parametrize(("created", "candidate"), [(-MARGIN, True), (-MARGIN - 1, False), (3600, True)])
def test_a_job_is_no_older_than_its_intent_and_a_margin(created: float, candidate: bool) -> None:
    expected = Verdict.ADOPT if candidate else Verdict.NOT_SEEN
    assert verdicts(find([attempt()], job("j", created))) == {expected}


def test_a_job_without_a_time_is_a_candidate() -> None:
    assert adopted(find([attempt()], job("j", None))) == {1: "j"}


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a sea"},
        {"model": "n"},
        {"kind": GenerationKind.VIDEO},
    ],
)
def test_what_the_provider_echoes_must_agree(other: dict[str, Any]) -> None:
    """One job of ours shows that it echoes faithfully."""
    seen = [job("j", **other), job("ours", prompt="a pond")]
    assert verdicts(
        find([attempt()], *seen, own={"ours": RequestIdentity("image", "m", "a pond", None)})
    ) == {Verdict.NOT_SEEN}


class TestUnfaithfulEchoes:
    """No page promises that a prompt or a model comes back as it was sent: never is such a job paid again."""

    LONG = RequestIdentity(
        "image",
        "m",
        "a fox & a lake in the evening light, with snow on every mountain",
        None,
    )

    @pytest.mark.parametrize(
        ("sent", "told"),
        [
            ("cafe\u0301 in rain", "caf\u00e9 in rain"),
            ('a <b> & "c"', "a &lt;b&gt; &amp; &quot;c&quot;"),
        ],
    )
    def test_what_says_the_same_is_the_same(self, sent: str, told: str) -> None:
        request = GenerationRequest(provider="p", model="m", prompt=sent)
        assert adopted(find([attempt(identity=request_identity(request, sent))], job("j", prompt=told))) == {
            1: "j"
        }

    @pytest.mark.parametrize(
        ("sent", "told"),
        [("prunaai/z-image-turbo", "Z-Image-Turbo"), ("seedream-5.0-lite", "Seedream-5.0-Lite")],
    )
    def test_a_label_may_stand_for_a_model(self, sent: str, told: str) -> None:
        request = GenerationRequest(provider="p", model=sent, prompt="a lake")
        assert adopted(
            find([attempt(identity=request_identity(request, "a lake"))], job("j", model=told))
        ) == {1: "j"}

    @pytest.mark.parametrize(
        "told", [{"model": "another name"}, {"prompt": "a lake, 4k"}, {"prompt": "lake"}]
    )
    def test_where_nothing_of_ours_shows_how_it_echoes_what_is_alike_is_doubted(
        self, told: dict[str, Any]
    ) -> None:
        assert verdicts(find([attempt()], job("j", **told))) == {Verdict.DOUBTFUL}

    @pytest.mark.parametrize("told", [{}, {"model": "n"}, {"echoed_seed": "9"}])
    def test_until_something_shows_how_it_echoes_any_job_of_the_kind_may_be_it(
        self, told: dict[str, Any]
    ) -> None:
        bicycles = job("j", prompt="ten red bicycles", **told)
        assert verdicts(find([attempt()], bicycles)) == {Verdict.DOUBTFUL}
        video = bicycles.model_copy(update={"kind": GenerationKind.VIDEO})
        assert verdicts(find([attempt()], video)) == {Verdict.NOT_SEEN}
        ours: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", None)}
        assert verdicts(find([attempt()], bicycles, job("ours", prompt="a pond"), own=ours)) == {
            Verdict.NOT_SEEN
        }

    def test_where_our_own_are_told_otherwise_nothing_is_absent(self) -> None:
        seen = [job("j", prompt="un lac"), job("ours", prompt="un \u00e9tang")]
        own: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", None)}
        assert verdicts(find([attempt()], *seen, own=own)) == {Verdict.DOUBTFUL}

    @pytest.mark.parametrize("told", [LONG[2][:45], LONG[2].replace("&", "").replace(",", "")])
    def test_a_long_prompt_may_be_told_otherwise_than_short_ones(self, told: str) -> None:
        seen = [job("j", prompt=told), job("ours", prompt="a pond")]
        own: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", None)}
        assert verdicts(find([attempt(identity=self.LONG)], *seen, own=own)) == {Verdict.DOUBTFUL}

    def test_neighbours_in_a_numbered_series_are_told_apart(self) -> None:
        seen = [job("j", prompt="a lake, no. 1"), job("ours", prompt="a lake, no. 2")]
        own: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a lake, no. 2", None)}
        asked = attempt(identity=RequestIdentity("image", "m", "a lake, no. 12", None))
        assert verdicts(find([asked], *seen, own=own)) == {Verdict.NOT_SEEN}

    def test_jobs_of_other_creates_under_way_are_not_doubted(self) -> None:
        other: RequestIdentity = RequestIdentity("image", "m", "a lake, 4k", None)
        assert verdicts(find([attempt()], job("j", prompt="a lake, 4k"), explained=[other])) == {
            Verdict.NOT_SEEN
        }

    def test_a_mark_decides_whatever_the_prompt_looks_like(self) -> None:
        assert adopted(find([attempt()], job("j", correlator="1:1", prompt="?"), marks=True)) == {1: "j"}

    def test_an_equal_seed_beside_another_prompt_is_doubted(self) -> None:
        seeded = attempt(identity=RequestIdentity("image", "m", "a lake", "7"))
        ours: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", None)}
        rewritten = job("j", prompt="un lac", echoed_seed="7")
        assert verdicts(find([seeded], rewritten, job("ours", prompt="a pond"), own=ours)) == {
            Verdict.DOUBTFUL
        }

    def test_where_seeds_are_told_otherwise_they_tell_nothing(self) -> None:
        seeded = attempt(identity=RequestIdentity("image", "m", "a lake", "7"))
        ours: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", "3")}
        seen = [job("j", echoed_seed="555"), job("ours", prompt="a pond", echoed_seed="444")]
        assert verdicts(find([seeded], *seen, own=ours)) == {Verdict.DOUBTFUL}

    @pytest.mark.parametrize(("sent", "told"), [(7.0, "7"), ("7", "7.0"), (0, "93"), (-1, "93")])
    def test_seeds_are_numbers_and_some_stand_for_any(self, sent: object, told: str) -> None:
        request = GenerationRequest(provider="p", model="m", prompt="a lake", settings={"seed": sent})
        seen = job("j", echoed_seed=told)
        assert adopted(find([attempt(identity=request_identity(request, "a lake"))], seen)) == {1: "j"}

    def test_so_does_a_seed_beside_a_prompt_that_was_cut(self) -> None:
        seeded = attempt(identity=self.LONG._replace(seed="7"))
        assert adopted(find([seeded], job("j", prompt=self.LONG.prompt[:50], echoed_seed="7"))) == {1: "j"}


@pytest.mark.parametrize("silent", [{"model": None}, {"kind": None}])
def test_what_the_provider_does_not_echo_cannot_differ(silent: dict[str, Any]) -> None:
    assert adopted(find([attempt()], job("j", **silent))) == {1: "j"}


class TestJobsWithoutPrompt:
    """A history that shows no prompt, or not any more: such a job may be anybody's."""

    SILENT = job("j", prompt=None)
    OTHER = RequestIdentity("image", "m", "a pond", None)

    def test_it_is_neither_adopted_nor_is_its_create_absent(self) -> None:
        assert verdicts(find([attempt()], self.SILENT)) == {Verdict.DOUBTFUL}

    def test_not_even_where_others_are_shown_as_they_were_asked_for(self) -> None:
        seen = [self.SILENT, job("ours", prompt="a pond")]
        assert verdicts(find([attempt()], *seen, own={"ours": self.OTHER})) == {Verdict.DOUBTFUL}

    def test_our_own_without_one_show_nothing_of_how_it_reports_prompts(self) -> None:
        seen = [job("x", prompt="a hill"), job("ours", prompt=None)]
        assert verdicts(find([attempt()], *seen, own={"ours": self.OTHER})) == {Verdict.DOUBTFUL}

    def test_a_seed_that_comes_back_is_as_good(self) -> None:
        seeded = attempt(identity=IDENTITY._replace(seed="7"))
        assert adopted(find([seeded], job("j", prompt=None, echoed_seed="7"))) == {1: "j"}
        ours = {"ours": self.OTHER}
        others = [job("j", prompt=None, echoed_seed="8"), job("ours", prompt="a pond")]
        assert verdicts(find([seeded], *others, own=ours)) == {Verdict.NOT_SEEN}

    @pytest.mark.parametrize("other", [{"kind": GenerationKind.VIDEO}, {"model": "another"}])
    def test_another_kind_or_model_is_another_job(self, other: dict[str, Any]) -> None:
        seen = [job("j", prompt=None, **other), job("ours", prompt="a pond")]
        assert verdicts(find([attempt()], *seen, own={"ours": self.OTHER})) == {Verdict.NOT_SEEN}


@pytest.mark.parametrize("prompt", [" a lake", "a  lake\n", "a lake "])
def test_white_space_is_not_held_against_a_prompt(prompt: str) -> None:
    assert adopted(find([attempt()], job("j", prompt=prompt))) == {1: "j"}


def test_a_seed_tells_identical_prompts_apart() -> None:
    seeded = attempt(identity=RequestIdentity("image", "m", "a lake", "7"))
    ours: dict[str, RequestIdentity] = {"ours": RequestIdentity("image", "m", "a pond", "3")}
    seen = [job("j", echoed_seed="8"), job("ours", prompt="a pond", echoed_seed="3")]
    assert verdicts(find([seeded], *seen, own=ours)) == {Verdict.NOT_SEEN}
    assert adopted(find([seeded], job("x", echoed_seed="8"), job("j", echoed_seed="7"))) == {1: "j"}


class TestCorrelators:
    """Our own mark, where the provider takes and echoes one."""

    def test_the_mark_decides_whatever_the_order(self) -> None:
        both = [attempt(1, sent=0), attempt(2, sent=1)]
        found = find(both, job("b", 1, correlator="2:1"), job("a", 2, correlator="1:1"), marks=True)
        assert adopted(found) == {1: "a", 2: "b"}

    def test_jobs_with_other_marks_are_not_counted(self) -> None:
        seen = [job(f"x{number}", correlator=f"9:{number}") for number in range(5)]
        assert verdicts(find([attempt()], *seen, marks=True)) == {Verdict.NOT_SEEN}

    def test_a_mark_names_the_item_whichever_attempt_it_was(self) -> None:
        found = find([attempt(number=2)], job("old", correlator="1:1"), marks=True)
        assert adopted(found) == {1: "old"}

    def test_jobs_without_a_mark_are_matched_by_count(self) -> None:
        both = [attempt(1, sent=0), attempt(2, sent=1)]
        found = find(both, job("marked", correlator="2:1"), job("plain"), marks=True)
        assert adopted(found) == {1: "plain", 2: "marked"}

    def test_a_taken_job_is_not_adopted_by_its_mark_either(self) -> None:
        found = find([attempt()], job("j", correlator="1:1"), taken=["j"], marks=True)
        assert verdicts(found) == {Verdict.NOT_SEEN}


class TestCovering:
    """Whether pages show every job accepted since a moment."""

    def page(self, *jobs: Generation, end: bool = False, newest_first: bool = True) -> HistoryPage:
        return HistoryPage(generations=jobs, end=end, newest_first=newest_first)

    def test_the_end_of_the_list_covers_everything(self) -> None:
        assert covers([self.page(end=True)], T, Known())
        assert covers([self.page(job("b", 9)), self.page(job("a", 5), end=True)], T, Known())

    def test_a_list_without_an_end_covers_nothing_yet(self) -> None:
        assert not covers([self.page()], T, Known())
        assert not covers([], T, Known())
        assert not covers([self.page(job("b", 9), job("a", 5))], T, Known())

    def test_an_entry_older_than_the_window_covers_it(self) -> None:
        assert covers([self.page(job("b", 9), job("a", -1))], T, Known())
        assert not covers([self.page(job("b", 9), job("a", 0))], T, Known())

    def test_an_older_entry_proves_nothing_in_a_list_without_order(self) -> None:
        assert not covers([self.page(job("a", -1), job("b", 9))], T, Known())
        assert not covers([self.page(job("b", 9), job("a", -1), newest_first=False)], T, Known())
        assert not covers([self.page(job("a", 1)), self.page(job("b", 9), job("c", -1))], T, Known())

    def test_an_entry_known_from_before_is_an_anchor(self) -> None:
        pages = [self.page(job("b", 9), job("known", 5), job("a", 4))]
        assert covers(pages, T, Known(before={"known"}))
        assert not covers([self.page(job("b", 9), job("known", 5))], T, Known(before={"other"}))

    def test_of_two_of_the_same_second_either_may_come_first(self) -> None:
        pages = [self.page(job("b", 9), job("known", 5)), self.page(job("lost", 5), job("a", 4))]
        assert not covers(pages[:1], T, Known(before={"known"}))
        assert covers(pages, T, Known(before={"known"}))

    def test_a_list_that_lacks_a_job_of_ours_covers_nothing(self) -> None:
        """Such as one that shows only jobs that have ended."""
        pages = [self.page(job("b", 9), job("a", -1), end=True)]
        assert covers(pages, T, Known(due={"b"}))
        assert not covers(pages, T, Known(due={"b", "ours"}))

    def test_a_list_that_forgets_old_jobs_has_no_end(self) -> None:
        assert not covers([self.page(job("b", 9), end=True)], T, Known(earlier={"old"}))
        assert covers([self.page(job("b", 9), job("a", -1), end=True)], T, Known(earlier={"old"}))

    def test_an_anchor_proves_nothing_without_order(self) -> None:
        assert not covers([self.page(job("known", 1), job("b", 9))], T, Known(before={"known"}))
        assert not covers([self.page(job("b", None), job("known", None))], T, Known(before={"known"}))


class TestAbsence:
    """Two reads that cover the window, the second of them late enough."""

    def test_it_takes_a_second_read_and_time(self) -> None:
        seen = attempt()
        early = seen.looked(covered=True, late=False)
        assert not early.confirmed
        assert not early.looked(covered=True, late=False).confirmed
        assert not seen.looked(covered=True, late=True).confirmed, "the first read"
        assert early.looked(covered=True, late=True).confirmed
        assert seen.looked(covered=True, late=True).looked(covered=True, late=True).confirmed

    def test_a_read_that_does_not_cover_proves_nothing(self) -> None:
        once = attempt().looked(covered=True, late=True)
        assert not once.looked(covered=False, late=True).confirmed
        assert once.looked(covered=False, late=True).looked(covered=True, late=True).confirmed

    def test_age_is_told_by_a_clock_that_nobody_sets(self) -> None:
        with moved_time() as time:
            assert attempt().age == time.now


class TestSkew:
    """A provider whose records have another clock than its `Date`."""

    def test_our_own_jobs_tell_it(self) -> None:
        asked_at = {"known": T}
        assert skew_of([job("known", 1)], asked_at) == timedelta()
        assert skew_of([job("known", 3600)], asked_at) == timedelta(hours=1)
        assert skew_of([job("known", -3600)], asked_at) == timedelta(hours=-1)
        assert skew_of([job("other", 3600)], asked_at) is None

    def test_a_job_is_found_where_the_records_clock_is_behind(self) -> None:
        assert adopted(find([attempt()], job("j", -3600), skew=timedelta(hours=-1))) == {1: "j"}

    def test_a_job_that_might_be_ours_is_no_proof_of_absence(self) -> None:
        assert verdicts(find([attempt()], job("j", -3600), skew=None)) == {Verdict.AMBIGUOUS}


def test_requests_that_the_history_shows_alike_are_one_class() -> None:
    def of(**settings: object) -> RequestIdentity:
        request = GenerationRequest(provider="p", model="m", prompt="a  lake ", settings=settings)
        return request_identity(request, request.prompt)

    assert of() == of(aspect_ratio="16:9")
    assert of(seed=1) != of(seed=2)
    assert of(seed=1) == of(seed="1")
    one = GenerationRequest(provider="p", model="m", prompt="a lake")
    assert of() == request_identity(one, one.prompt), "white space is not held against a prompt"
