"""The one loop that dispatches waiting runs and brings rows and jobs together."""
