"""Telling webhooks of jobs: when a status changes, what is told to whom, and what a fault makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from prefect_imagine.sandbox.core.accounts import View
from prefect_imagine.sandbox.core.books import Job
from prefect_imagine.sandbox.core.faults import AT_CREATE, AT_DELIVERY, Fired, seconds_of
from prefect_imagine.sandbox.core.notices import PREFIX, Notice, Receiver, to_json

if TYPE_CHECKING:
    from prefect_imagine.sandbox.apis.base import Api, Call

EARLY_SECONDS = 0.001
"""How long a job takes whose end is told before its create is answered. The answer calls it unfinished."""

SKEW_SECONDS = 301.0
_ROUNDING = 1e-5
WRONG_SECRET = f"{PREFIX}forged"


def fired_at_create(api: Api, call: Call, prompt: str | None) -> Fired:
    """The faults of webhooks that a create decides on, of jobs that somebody is told of."""
    if not api.is_told(call):
        return {}
    return api.world.faults.fire(api.provider, "webhook", prompt, AT_CREATE)


def announce(api: Api, job: Job, call: Call) -> None:
    """From its acceptance on, tell of every change of the job's status."""
    if "webhook_early" in call.fired:
        job.duration = EARLY_SECONDS
    for moment in api.changes(job):
        tell_at(api, job, View(call.account, moment))
    if rule := call.fired.get("webhook_forged"):
        after = job.duration / 2 if rule.seconds is None else rule.seconds
        view = View(call.account, job.created_at + after)
        api.world.agenda.at(view.now, partial(_forge, api, job, view))


def tell_at(api: Api, job: Job, view: View) -> None:
    """Tell, at that moment, of the job as it is then."""
    api.world.agenda.at(view.now, partial(_tell, api, job, view))


def changes(job: Job, shares: Iterable[float], initial: str, status: Callable[[float], str]) -> list[float]:
    """The moments at which the job's status becomes another one than before, `initial` to begin with.

    `shares` are the parts of its duration at which it may; its end is one, if it has any.
    """
    moments = [job.created_at + share * job.duration + _ROUNDING for share in shares]
    if not job.order.hangs:
        moments.append(job.created_at + job.duration)
    statuses = [initial, *map(status, moments)]
    return [
        moment for moment, (before, after) in zip(moments, pairwise(statuses), strict=True) if before != after
    ]


def _is_known(api: Api, job: Job) -> bool:
    """Whether the job is still in the books, and shown."""
    return api.world.books.by_id.get((job.provider, job.id)) is job and not job.deleted


def _tell(api: Api, job: Job, view: View) -> None:
    overtaken = job.aborted_at is not None and job.aborted_at != view.now
    receivers = [] if overtaken or not _is_known(api, job) else api.receivers(job, view)
    if not receivers:
        return
    body = to_json(api.notice(job, view))
    for receiver in receivers:
        _post(api, job, Notice(api.provider, receiver, body))


def _post(api: Api, job: Job, notice: Notice) -> None:
    """Deliver, or what the faults that hit this delivery say."""
    world = api.world
    fired = world.faults.fire(api.provider, "webhook", job.prompt, AT_DELIVERY)
    if "webhook_never" in fired:
        world.deliveries.drop(notice)
        return
    if rule := fired.get("webhook_skewed"):
        notice = replace(notice, skew=seconds_of(rule, SKEW_SECONDS))
    late = fired.get("webhook_late")
    moment = world.clock.now() + (seconds_of(late) if late else 0.0)
    for _ in range(2 if "webhook_twice" in fired else 1):
        world.deliveries.post(notice, moment)


def _forge(api: Api, job: Job, view: View) -> None:
    """Tell what is not so: that the job has succeeded at this moment."""
    if not _is_known(api, job):
        return
    order = replace(job.order, error=None, hangs=False)
    claimed = replace(job, order=order, duration=view.now - job.created_at, aborted_at=None)
    view = View(view.account, claimed.created_at + claimed.duration)
    body = to_json(api.forged_notice(claimed, view))
    for receiver in api.receivers(claimed, view):
        secret = None if receiver.secret is None else WRONG_SECRET
        notice = Notice(api.provider, Receiver(receiver.url, secret), body, forged=True)
        api.world.deliveries.post(notice, api.world.clock.now())
