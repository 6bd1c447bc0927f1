"""What every test gets: a seeded example generator that does not depend on the machine's speed."""

import os

from hypothesis import settings

# A slow machine is no failure, and the same examples come each time.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
