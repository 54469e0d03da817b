"""Every Python under libfaketime imports this: it replaces time.sleep.

time.sleep calls clock_nanosleep, which libfaketime refuses.
"""

import select
import time


def sleep(seconds: float) -> None:
    """Sleeps as time.sleep does, by another system call."""
    select.select([], [], [], seconds)


time.sleep = sleep
