"""Language models that are sampled and trained; ``POLICIES`` names each by import path, so that none loads early."""

POLICIES = {
    "tiny": "guerdon.policies.tiny:Tiny",
    "huggingface": "guerdon.policies.huggingface:HuggingFace",
}
