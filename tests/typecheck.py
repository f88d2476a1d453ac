"""The type checker of the test run: beartype, with an int where a float is expected, as Python's own typing has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
