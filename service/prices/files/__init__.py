"""Price files as vendors and spreadsheets write them: what they are is recognised, and said."""
