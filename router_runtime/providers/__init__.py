"""Provider adapters: one wire format each, pure, without I/O. ``catalog.adapter`` finds one by its registry name."""
