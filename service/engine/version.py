"""The version of all that decides a result: the frozen engine, and what is around it.

1.0.0: the frozen engine alone. 1.1.0: powers and probabilities are rounded correctly, so that every
processor gives the same bytes; fewer than 20 bars give no numbers per year; the information ratio
of a run that never traded is undefined; the data gate sees more. 1.2.0: the stored figure is small.
"""

import backtest.engine

FROZEN_VERSION = backtest.engine.ENGINE_VERSION
LARGE_FIGURE_VERSION = "1.1.0"
ENGINE_VERSION = "1.2.0"
