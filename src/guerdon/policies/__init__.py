"""Policies: what is sampled and trained. Nothing heavy is imported before a policy is asked for by name."""

import importlib
from typing import Any

POLICIES: dict[str, str] = {
    "tiny": "guerdon.policies.tiny:Tiny",
    "huggingface": "guerdon.policies.huggingface:HuggingFace",
}


def policy_class(name: str) -> Any:
    """The class of a policy by its name in a recipe, or by ``package.module:Class``.

    Raises:
        LookupError: no policy of that name, or the path cannot be imported.
    """
    path = POLICIES.get(name, name)
    if ":" not in path:
        raise LookupError(
            f"expected one of the policies {sorted(POLICIES)}, got {name!r}; or give package.module:Class"
        )
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"expected an importable package.module:Class, got {path!r} ({error})") from error
