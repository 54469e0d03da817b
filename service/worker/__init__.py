"""What a job does: claim a run or a part of a sweep, compute it, store what it came to."""
