"""Annotations are checked on every call of the test run."""

import jaxtyping

jaxtyping.install_import_hook("guerdon", "beartype.beartype")
