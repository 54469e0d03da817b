"""How a worker's work ends: with an exit code, whatever a rule, a library or the database does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from service.contract.errors import BadRow, UserError
from service.contract.status import ExitCode, Reason
from service.store.database import AWAY, DatabaseError
from service.worker.holding import Stopped

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a run has no result: its reason and message for the user, and the worker's exit code."""

    reason: str
    message: str
    exit_code: int


def failure_of(error: Exception, engine_message: str) -> Failure:
    """What the user is told of an error; the trace of one that is ours goes to the log.

    `engine_message` is the sentence for everything that is not the user's to mend.
    """
    if isinstance(error, UserError):
        logger.warning("Refused: %s", error)
        lacks_data = error.code == Reason.NO_DATA
        exit_code = ExitCode.NO_DATA if lacks_data else ExitCode.BAD_INPUT
        return Failure(error.code, str(error), exit_code)
    if isinstance(error, BadRow):
        logger.error("Something stored cannot be read", exc_info=error)
        return Failure(Reason.BAD_ROW, str(error), ExitCode.ENGINE_ERROR)
    logger.error("The engine failed", exc_info=error)
    return Failure(Reason.ENGINE_ERROR, engine_message, ExitCode.ENGINE_ERROR)


def guarded(
    work: Callable[[], int],
    stopping: threading.Event,
    give_back: Callable[[], object],
    store_failure: Callable[[Exception], int],
) -> int:
    """The exit code of `work`, or of how it failed.

    `stopping` is set when the worker is told to stop: libraries turn the exception that the
    signal handler raises into other ones, so that whatever fails from then on is the stop.
    `give_back` then returns what the worker holds; it is tried once, for the job is about to be
    killed. `store_failure` stores any other error and answers with its exit code.
    """
    try:
        try:
            return work()
        except (Stopped, Exception) as error:
            if isinstance(error, Stopped) or stopping.is_set():
                _give_back_once(give_back)
                return ExitCode.STOPPED
            if isinstance(error, AWAY):
                raise
            return store_failure(error)
    except AWAY:
        logger.exception("The database is away")
        return ExitCode.DATABASE_AWAY


def _give_back_once(give_back: Callable[[], object]) -> None:
    try:
        give_back()
    except DatabaseError:
        logger.exception("Stopped, and what the worker holds could not be given back")
    else:
        logger.warning("Stopped: the run goes back to the queue")
