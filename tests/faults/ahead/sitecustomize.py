"""Every Python under libfaketime imports this: it replaces time.sleep.

time.sleep calls clock_nanosleep, which libfaketime refuses.
"""

import select
import time


def sleep(seconds: float) -> None:
    """As time.sleep, by another call of the system."""
    select.select([], [], [], seconds)


time.sleep = sleep
