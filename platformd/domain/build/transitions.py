"""The build's state machine: the table of what can happen in which phase, and `step`.

Pure. Driven by `actors.build`; drawn in the documentation from `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from platformd.domain import events
from platformd.domain.build import messages as m
from platformd.domain.build.messages import BuildEffect
from platformd.domain.build.state import Build, BuildState, Phase
from platformd.domain.effects import Moment
from platformd.domain.machine import Draft, Rule, Step, compile_rules, ignore
from platformd.domain.snapshot import Exit, Reason
from platformd.domain.source import BuildKind
from platformd.errors import InvalidState

SUPERSEDED = "SUPERSEDED"
BUILD_FAILED = "BUILD_FAILED"
RETRY = timedelta(seconds=1)
CANCELLED = Reason(code="CANCELLED", message="was cancelled")

BuildDraft = Draft[Build, BuildEffect]


def step(build: Build, event: object, moment: Moment) -> Step[Build, BuildEffect]:
    """What `event` makes of `build`. A command may be refused with a PlatformError; a fact never is. What changes
    nothing gives back the very same state."""
    rule = TRANSITIONS.get((build.phase, type(event)))
    if rule is None:
        return Step(build)
    draft = BuildDraft(build, moment)
    rule.handler(draft, event)
    if draft.state == build:
        return Step(build, tuple(draft.effects))
    seen = visible(draft.state) != visible(build)
    draft.set(updated_at=moment.at, revision=build.revision + seen)
    return Step(draft.state, tuple(draft.effects))


def visible(build: Build) -> Build:
    """What the revision stands for: all but how its process is found."""
    return replace(build, handle=None, run_id=None, retry_at=None, updated_at=build.created_at, revision=0)


# ---- the way it should go ----------------------------------------------------------------------------------


def _wait(draft: BuildDraft, event: object) -> None:
    draft.order(m.EnterQueue())


def _begin(draft: BuildDraft, event: m.Begun) -> None:
    """The deadline of a build that begins again is the one it had."""
    build = draft.state
    deadline = build.deadline or draft.at + timedelta(seconds=build.timeout_secs)
    draft.set(
        phase=Phase.FETCHING,
        state=BuildState.RUNNING,
        attempt=build.attempt + 1,
        started_at=build.started_at or draft.at,
        deadline=deadline,
    )
    if draft.passed(deadline):
        _over(draft, BuildState.FAILED, _too_long(build))
    else:
        draft.order(m.Fetch())


def _fetched(draft: BuildDraft, event: m.Fetched) -> None:
    draft.set(phase=Phase.BUILDING, commit=event.commit)
    if draft.state.recipe.kind is BuildKind.DOCKERFILE:
        draft.order(m.MakeImage())
    else:
        draft.set(run_id=draft.moment.next_id(0))
        draft.order(m.RunCommand())


def _found_built(draft: BuildDraft, event: m.FoundBuilt) -> None:
    draft.set(commit=event.commit)
    message = f"commit {event.commit.sha[:8]} was built by build {event.by} already"
    _supersede(draft, event.by, message)


def _launched(draft: BuildDraft, event: events.Launched) -> None:
    draft.set(handle=event.handle, retry_at=None)


def _launch_waits(draft: BuildDraft, event: events.LaunchWaits) -> None:
    draft.set(retry_at=draft.at + RETRY)


def _exited(draft: BuildDraft, event: events.Exited) -> None:
    """What the command started and left behind ends with it, whatever came of it."""
    run_id = draft.state.run_id
    if run_id is None:  # the engine builds: no command of it can have ended
        return
    if event.exit.clean:
        draft.set(phase=Phase.STORING)
    else:
        draft.set(phase=Phase.ENDING)
        _decide(draft, BuildState.FAILED, _of_exit(event.exit))
    draft.order(m.SweepRun(run_id))


def _swept_for_storing(draft: BuildDraft, event: events.Swept) -> None:
    if draft.state.run_id is not None:
        _forget_run(draft)
        draft.order(m.Collect())


def _stored(draft: BuildDraft, event: m.Stored) -> None:
    draft.set(artifact_id=event.artifact_id)
    _succeed(draft)


def _image_made(draft: BuildDraft, event: m.ImageMade) -> None:
    draft.set(image=event.image, image_digest=event.digest)
    _succeed(draft)


def _succeed(draft: BuildDraft) -> None:
    draft.set(phase=Phase.DEPLOYING)
    _decide(draft, BuildState.SUCCEEDED, None)
    draft.order(m.Deploy())


def _deployed(draft: BuildDraft, event: m.Deployed) -> None:
    waits = draft.state.spec is None and event.deployment_id is not None
    draft.set(deployment_id=event.deployment_id)
    if waits:
        draft.order(m.FillIn())
    _done(draft)


def _deploy_waits(draft: BuildDraft, event: m.DeployWaits) -> None:
    draft.set(retry_at=draft.at + RETRY)


def _deploy_refused(draft: BuildDraft, event: m.DeployRefused) -> None:
    draft.set(reason=event.reason)
    draft.order(m.Say(f"nothing is deployed: {event.reason.message}"))
    _done(draft)


# ---- the ways it may end otherwise -------------------------------------------------------------------------


def _work_failed(draft: BuildDraft, event: m.WorkFailed) -> None:
    _over(draft, BuildState.FAILED, event.reason)


def _not_launched(draft: BuildDraft, event: events.LaunchFailed) -> None:
    _over(draft, BuildState.FAILED, event.reason)


def _time_elapsed(draft: BuildDraft, event: events.TimerElapsed) -> None:
    build = draft.state
    if draft.passed(build.deadline):
        _end(draft, BuildState.FAILED, _too_long(build))
    elif draft.passed(build.retry_at):
        draft.set(retry_at=None)
        draft.order(m.RunCommand())


def _waited_too_long(draft: BuildDraft, event: events.TimerElapsed) -> None:
    """For its turn, after it had one before."""
    build = draft.state
    if draft.passed(build.deadline):
        _over(draft, BuildState.FAILED, _too_long(build))


def _time_to_deploy(draft: BuildDraft, event: events.TimerElapsed) -> None:
    if draft.passed(draft.state.retry_at):
        draft.set(retry_at=None)
        draft.order(m.Deploy())


def _launched_too_late(draft: BuildDraft, event: events.Launched) -> None:
    """It was given up before that was known."""
    draft.set(handle=event.handle)
    draft.order(m.EndWork(draft.state.run_id))


def _cancel_queued(draft: BuildDraft, event: m.Cancel) -> None:
    _over(draft, BuildState.CANCELLED, CANCELLED)


def _cancel(draft: BuildDraft, event: m.Cancel) -> None:
    _end(draft, BuildState.CANCELLED, CANCELLED)


def _cancel_ended(draft: BuildDraft, event: m.Cancel) -> None:
    """Again is as good as once; one that is to begin again does not."""
    build = draft.state
    if not build.state.final:
        _decide(draft, BuildState.CANCELLED, CANCELLED)
    elif build.state is not BuildState.CANCELLED:
        raise InvalidState(f"build {build.id} has {build.state.value} and cannot be cancelled any more")


def _superseded(draft: BuildDraft, event: m.Superseded) -> None:
    _supersede(draft, event.by, f"a newer push is built by build {event.by} instead")


def _supersede(draft: BuildDraft, by: str, message: str) -> None:
    draft.set(superseded_by=by)
    _over(draft, BuildState.CANCELLED, Reason(code=SUPERSEDED, message=message))


def _restarted(draft: BuildDraft, event: m.Interrupted) -> None:
    """It begins again, from nothing, once what it had begun is ended; unless it had its time."""
    build = draft.state
    if draft.passed(build.deadline):
        _end(draft, BuildState.FAILED, _too_long(build))
        return
    draft.order(m.Say("it was interrupted; the build begins again"))
    draft.set(phase=Phase.ENDING)
    draft.order(m.EndWork(build.run_id))


def _end_again(draft: BuildDraft, event: m.Interrupted) -> None:
    draft.order(m.EndWork(draft.state.run_id))


def _deploy_again(draft: BuildDraft, event: m.Interrupted) -> None:
    draft.order(m.Deploy())


def _swept(draft: BuildDraft, event: object) -> None:
    """Nothing of it runs any more."""
    if draft.state.state.final:
        _done(draft)
        return
    _forget_run(draft)
    draft.set(phase=Phase.QUEUED, state=BuildState.QUEUED, retry_at=None)
    draft.order(m.LeaveQueue())
    draft.order(m.EnterQueue())


# ---- what they share ---------------------------------------------------------------------------------------


def _decide(draft: BuildDraft, state: BuildState, reason: Reason | None) -> None:
    """Final, whatever still has to end."""
    draft.set(state=state, reason=reason, ended_at=draft.at, retry_at=None)
    if reason is not None:
        draft.order(m.Say(f"build {state.value}: {reason.message}"))


def _end(draft: BuildDraft, state: BuildState, reason: Reason) -> None:
    """While something of it runs."""
    draft.set(phase=Phase.ENDING)
    _decide(draft, state, reason)
    draft.order(m.EndWork(draft.state.run_id))


def _over(draft: BuildDraft, state: BuildState, reason: Reason) -> None:
    """With nothing left of it that runs."""
    _decide(draft, state, reason)
    _done(draft)


def _done(draft: BuildDraft) -> None:
    _forget_run(draft)
    draft.set(phase=Phase.DONE)
    if draft.state.state is not BuildState.SUCCEEDED:
        draft.order(m.Disappoint())
    draft.order(m.CleanUp())
    draft.order(m.LeaveQueue())


def _forget_run(draft: BuildDraft) -> None:
    run_id = draft.state.run_id
    if run_id is not None:
        draft.set(run_id=None, handle=None)
        draft.order(m.ForgetRun(run_id))


def _too_long(build: Build) -> Reason:
    message = f"did not end within {build.timeout_secs:g} s; make it faster or raise --build-timeout"
    return Reason(code="BUILD_TIMEOUT", message=message)


def _of_exit(exit: Exit) -> Reason:
    if exit.oom_killed:
        how = "went beyond its memory limit; raise --build-memory"
    elif exit.unknown:
        how = "ended while nobody was there to see how"
    elif exit.signal is not None:
        how = f"was ended by {exit.signal}"
    else:
        how = f"exited with code {exit.code}"
    return Reason(
        code=BUILD_FAILED,
        message=f"the build command {how}",
        exit_code=exit.code,
        signal=exit.signal,
        last_lines=exit.last_lines,
    )


P = Phase
_UNDER_WAY = (P.FETCHING, P.BUILDING, P.STORING)


def _only(event: type, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """`rules` for `event`; in all other phases it changes nothing."""
    spoken_for = {phase for rule in rules for phase in rule.phases}
    return (*rules, Rule(event, tuple(phase for phase in Phase if phase not in spoken_for), ignore))


TRANSITIONS = compile_rules(
    (
        *_only(m.Queued, (Rule(m.Queued, (P.QUEUED,), _wait),)),
        *_only(m.Begun, (Rule(m.Begun, (P.QUEUED,), _begin, (P.FETCHING, P.DONE)),)),
        *_only(m.Fetched, (Rule(m.Fetched, (P.FETCHING,), _fetched, (P.BUILDING,)),)),
        *_only(m.FoundBuilt, (Rule(m.FoundBuilt, (P.FETCHING,), _found_built, (P.DONE,)),)),
        *_only(
            events.Launched,
            (
                Rule(events.Launched, (P.BUILDING,), _launched),
                Rule(events.Launched, (P.ENDING,), _launched_too_late),
            ),
        ),
        *_only(
            events.LaunchWaits,
            (
                Rule(events.LaunchWaits, (P.BUILDING,), _launch_waits),
                Rule(events.LaunchWaits, (P.ENDING,), _swept, (P.DONE, P.QUEUED)),
            ),
        ),
        *_only(
            events.LaunchFailed,
            (
                Rule(events.LaunchFailed, (P.BUILDING,), _not_launched, (P.DONE,)),
                Rule(events.LaunchFailed, (P.ENDING,), _swept, (P.DONE, P.QUEUED)),
            ),
        ),
        *_only(events.Exited, (Rule(events.Exited, (P.BUILDING,), _exited, (P.STORING, P.ENDING)),)),
        *_only(
            events.Swept,
            (
                Rule(events.Swept, (P.STORING,), _swept_for_storing),
                Rule(events.Swept, (P.ENDING,), _swept, (P.DONE, P.QUEUED)),
            ),
        ),
        *_only(m.Stored, (Rule(m.Stored, (P.STORING,), _stored, (P.DEPLOYING,)),)),
        *_only(m.ImageMade, (Rule(m.ImageMade, (P.BUILDING,), _image_made, (P.DEPLOYING,)),)),
        *_only(m.WorkFailed, (Rule(m.WorkFailed, _UNDER_WAY, _work_failed, (P.DONE,)),)),
        *_only(m.Deployed, (Rule(m.Deployed, (P.DEPLOYING,), _deployed, (P.DONE,)),)),
        *_only(m.DeployRefused, (Rule(m.DeployRefused, (P.DEPLOYING,), _deploy_refused, (P.DONE,)),)),
        *_only(m.DeployWaits, (Rule(m.DeployWaits, (P.DEPLOYING,), _deploy_waits),)),
        *_only(
            events.TimerElapsed,
            (
                Rule(events.TimerElapsed, _UNDER_WAY, _time_elapsed, (P.ENDING,)),
                Rule(events.TimerElapsed, (P.DEPLOYING,), _time_to_deploy),
                Rule(events.TimerElapsed, (P.QUEUED,), _waited_too_long, (P.DONE,)),
            ),
        ),
        *_only(m.Superseded, (Rule(m.Superseded, (P.QUEUED,), _superseded, (P.DONE,)),)),
        Rule(m.Cancel, (P.QUEUED,), _cancel_queued, (P.DONE,)),
        Rule(m.Cancel, _UNDER_WAY, _cancel, (P.ENDING,)),
        Rule(m.Cancel, (P.DEPLOYING, P.ENDING, P.DONE), _cancel_ended),
        Rule(m.Interrupted, (P.QUEUED,), _wait),
        Rule(m.Interrupted, _UNDER_WAY, _restarted, (P.ENDING,)),
        Rule(m.Interrupted, (P.ENDING,), _end_again),
        Rule(m.Interrupted, (P.DEPLOYING,), _deploy_again),
        Rule(m.Interrupted, (P.DONE,), ignore),
    )
)
