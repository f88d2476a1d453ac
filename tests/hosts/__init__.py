"""Adapters against the packages themselves, which do not share an environment with the rest: ``make test-hosts``."""
