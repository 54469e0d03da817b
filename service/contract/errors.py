"""The named errors of the service; each message is one sentence that a user can act on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date


class BadRow(Exception):
    """The database has something that cannot be read: a fault of the system, not of its user (500).

    `what` names it, such as "The result of run 1234".
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be read; the log says why.")


class UserError(Exception):
    """An error that the user can correct.

    `template` is a sentence with {names} that `values` fill in: so it can be translated.
    """

    code = "BadInput"
    # Seconds after which to try again, where waiting is all it takes.
    retry_after_s: int | None = None

    def __init__(self, template: str, **values: object) -> None:
        self.template = template
        self.values = values
        super().__init__(template.format(**values))


class InvalidRequest(UserError):
    """A request that the contract, a rule or the prices refuse (400)."""


class UnknownTicker(InvalidRequest):
    """There are no prices of this ticker (400).

    `near` has the tickers with the most similar names, none where there are no prices at all. The
    web adds how to import prices, which differs between installations.
    """

    def __init__(self, ticker: str, near: Sequence[str]) -> None:
        self.ticker = ticker
        self.near = tuple(near)
        super().__init__('There are no prices of "{ticker}".', ticker=ticker)


class NotAWriter(UserError):
    """The user is none of those who may store prices (403)."""

    code = "NotAWriter"

    def __init__(self) -> None:
        super().__init__(
            "You may not store prices here; ask the operator, who names those that may."
        )


class UnknownPrices(UserError):
    """There are no prices of the ticker whose page is asked for (404)."""

    code = "NotFound"

    def __init__(self, ticker: str) -> None:
        super().__init__('There are no prices of "{ticker}".', ticker=ticker)


class NoData(UserError):
    """Too few prices, or prices that cannot be backtested (400)."""

    code = "NoData"


class LookAhead(UserError):
    """The rule's signals depend on prices that came later."""

    code = "LookAhead"

    def __init__(self, rule_id: str, day: date) -> None:
        super().__init__(
            "{rule} looks ahead: its signal of {day} is another one when later prices are known.",
            rule=rule_id,
            day=day,
        )


class RulesMismatch(UserError):
    """The worker has other rules than the web had when it accepted the run."""

    code = "RulesMismatch"

    def __init__(self) -> None:
        super().__init__("The rules of the worker are not those that the run was accepted with.")


class BatchRefused(UserError):
    """Some runs of a batch are refused, so none of them is recorded (400).

    `errors` has the different errors, in the order of the runs.
    """

    def __init__(self, errors: Sequence[UserError]) -> None:
        self.errors = tuple(errors)
        super().__init__("Nothing was submitted.")


class NoteChanged(UserError):
    """Somebody else changed the note meanwhile (409)."""

    code = "Conflict"

    def __init__(self) -> None:
        super().__init__(
            "Somebody changed this note while you were writing. Your text is kept below; put the "
            "two together and save again."
        )


class UnknownHost(UserError):
    """The request is for a name that is not one of this service (400)."""

    code = "UnknownHost"

    def __init__(self, host: str) -> None:
        super().__init__(
            'This service is not known as "{host}"; an operator can add the name to ALLOWED_HOSTS.',
            host=host[:253],
        )


class RunNotFound(UserError):
    """No run has this id (404)."""

    code = "NotFound"

    def __init__(self, run_id: str) -> None:
        super().__init__("There is no run {run_id}.", run_id=run_id[:36])


class NoResult(UserError):
    """The run has no result, or none yet (404)."""

    code = "NotFound"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__("Run {run_id} has no result: it is {what}.", run_id=run_id, what=status)


class RunConflict(UserError):
    """The run_id is taken by another request (409)."""

    code = "Conflict"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            "Run {run_id} exists with another request; send a new run_id or none.", run_id=run_id
        )


class BatchConflict(UserError):
    """The batch_id is taken by another request (409)."""

    code = "Conflict"

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            "Batch {batch_id} exists with another request; send a new batch_id or none.",
            batch_id=batch_id,
        )


class RunEnded(UserError):
    """The run has ended: there is nothing to cancel (409)."""

    code = "Conflict"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            "Run {run_id} has ended already: it is {what}.", run_id=run_id, what=status
        )


class QueueFull(UserError):
    """Too many runs are waiting, or too many of the client's own (429)."""

    code = "QueueFull"
    retry_after_s = 10

    def __init__(self, waiting: int, own: int = 0) -> None:
        if own:
            template = (
                "{own} of the {waiting} waiting runs are yours, and others need room too; "
                "try again when some of them have started."
            )
        else:
            template = "{waiting} runs are waiting already; try again in a few seconds."
        super().__init__(template, waiting=waiting, own=own)


class TooManyRows(QueueFull):
    """The unfinished searches of all clients have too many rows (429)."""

    retry_after_s = 60

    def __init__(self, waiting: int, own: int) -> None:
        UserError.__init__(
            self,
            "The unfinished searches have {waiting} combinations, {own} of them yours; try again "
            "when some have ended, or vary fewer values.",
            waiting=waiting,
            own=own,
        )


class TooManyRequests(UserError):
    """The client asked for more runs in a minute than one client may (429)."""

    code = "TooManyRequests"
    retry_after_s = 10

    def __init__(self, limit: int) -> None:
        super().__init__(
            "One client may start {limit} runs a minute; try again in a few seconds.", limit=limit
        )


class TooManyLogins(UserError):
    """Other passwords are being verified, which is slow on purpose (429)."""

    code = "TooManyRequests"
    retry_after_s = 1

    def __init__(self, busy: int) -> None:
        super().__init__(
            "{busy} passwords are being verified already; try again in a second.", busy=busy
        )
