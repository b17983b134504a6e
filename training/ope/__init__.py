"""Off-policy evaluation: what another policy would have earned on a log, with honest intervals, or a refusal."""
