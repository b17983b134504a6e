"""``python -m router_runtime.cli``: the command where it is not on the path."""

import sys

from router_runtime.cli.main import main

sys.exit(main())
