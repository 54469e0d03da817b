"""A price series and the checks that it passes before anybody backtests it."""
