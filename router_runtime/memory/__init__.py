"""Memory that agents share."""
