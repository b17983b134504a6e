"""The two-week report: what routing earned against one fixed model, where it loses, and what has drifted."""
