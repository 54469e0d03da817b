"""Imported by every Python that runs under libfaketime (PYTHONPATH): there clock_nanosleep, which sleeps, is refused."""

import select
import time


def sleep(seconds: float) -> None:
    """As time.sleep, by another call of the system."""
    select.select([], [], [], seconds)


time.sleep = sleep
