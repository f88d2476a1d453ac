"""Where prompts come from. ``TASKS`` names each task by import path, so that none is loaded before it is used."""

TASKS = {
    "arithmetic": "guerdon.tasks.arithmetic:Arithmetic",
    "calculator": "guerdon.tasks.calculator:Calculator",
    "file": "guerdon.tasks.file:File",
    "reasoning-gym": "guerdon.tasks.reasoning_gym:ReasoningGym",
    "sql-questions": "guerdon.tasks.sql:SqlQuestions",
    "text-game": "guerdon.tasks.text_game:TextGame",
}
