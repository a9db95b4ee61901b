"""What holds for every test: the same examples of hypothesis each time, and no deadline, for the machine may be busy.

`make fuzz` looks for new examples instead; one that fails is told so that it can be added to the test.
"""

import os

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
