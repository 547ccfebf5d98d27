"""``python -m captum_proto`` is the command line."""

import sys

from captum_proto.cli import main

sys.exit(main())
