"""Sampling engines: other programs that draw completions; ``ENGINES`` names each by import path, so that none loads early.

- `protocol`: what an engine does, and what a policy must tell it;
- `policy`: a policy whose completions are drawn by an engine;
- `openai`: any server with an OpenAI-compatible ``/v1/completions``;
- `vllm`: vLLM in this process;
- `weights`: how the weights of the policy get to an engine;
- `texts`: token ids from the texts of tokens, for servers that give no ids.
"""

ENGINES = {
    "openai": "guerdon.policies.engines.openai:OpenAIEngine",
    "vllm": "guerdon.policies.engines.vllm:VLLMEngine",
}
