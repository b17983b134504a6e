"""One module per command of ``python -m training``: ``HELP``, ``EXAMPLES``, ``add_arguments`` and ``run``."""
