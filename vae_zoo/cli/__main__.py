"""Run the command as ``python -m vae_zoo.cli``."""

import sys

from vae_zoo.cli import main

sys.exit(main())
