"""What holds for every test: no deadline for an example of hypothesis, for the machine may be busy."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
