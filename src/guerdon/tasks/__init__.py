"""Where prompts come from. ``TASKS`` names each task by import path, so that none is loaded before it is used."""

TASKS = {
    "arithmetic": "guerdon.tasks.arithmetic:Arithmetic",
    "file": "guerdon.tasks.file:File",
    "reasoning-gym": "guerdon.tasks.reasoning_gym:ReasoningGym",
}
