"""Signals: where rewards come from.

A signal looks at what was said (``completions``), at what the task knows (its columns: ``answer``, ``expression``) or
at how it was said (``lengths``), and gives each row, step or position a score. What it says is kept raw, under its own
name, in ``parts``, ``step_parts`` or ``token_parts``; weights and mixtures come later, in `guerdon.shaping`. A verifier
also makes ``correct``, which no mixture changes.

- `answers`: is the final answer right (`final_answer`)? `extract` finds it, `expressions` evaluates it exactly.
- `mathematics`: is the answer the same mathematics (`math_equal`)? `equality` compares, exactly where it can.
- `choices`: a letter, a number within a tolerance, a text, JSON of a schema (`multiple_choice`, `numeric_tolerance`,
  `exact_string`, `json_schema`).
- `steps`: is each step of a chain right (`verified_steps`)?
- `calculation`: how near is the number (`random_calculation_reward`), and the spurious rewards to compare with.
- `tulu`: the verifiers of Tulu 3 (`gsm8k_answer`, `tulu_verifier`).
- `overlap`: how many of the answer's words are there (`answer_f1`, of IGPO)?
- `ngrams`: how near a reference on the surface (`bleu`, `chrf`, `rouge`, and `bleuberi` with its data selection)?
- `matching`, `relevance`: how near in meaning (`bert_score`, `query_relevance`, `r3`)? `encoders` makes the vectors.
- `diversity`: does it repeat itself (`distinct_n`, `repetition`), can it be read (`unreadable`)?
- `spans`: what a critique says of phrases, on the tokens that they cover (Text2Grad);
- `format`: has the completion the asked form (`tag_format`); prompt styles as data.
- `patterns`: does it talk as one who reasons?
- `instructions`: does it have the form that instructions ask for, all of them or in part? `instruction_checks` has
  the 25 kinds of IFEval;
- `language`: is it in the language that was asked for?
- `tools`, `actions`, `criteria`, `forecasts`: is a call, an action, a decision, a forecast right, and how nearly?
- `length`: how long is it, and is it as long as the prompt asked for (`budget_length`)?
- `programs`: does the code do what its tests say (`unit_tests`, in a sandbox)?
- `lines`: is each line of a program right, in the place of the reference's (`line_labels`)?
- `efficiency`: does it need less time or memory than a reference (`program_efficiency`)?
- `sql`: does a query give what the reference gives (`sql_execution`), and how like it is it?
- `environment`: what did the environment pay (`environment_score`, `environment_steps`, `turn_bonus`)?
- `reasoning_gym`: the scorer of a reasoning-gym task.
- `judges`: what does a language model think of it?
- `runner`: calls any signal, also somebody else's, and turns its failures into NaN with a reason (`scores`); in pieces,
  again, from a `cache`, or in a `process` that can be killed.

Text comes from a policy that is paid for it, so signals take it for hostile: linear time, bounded numbers, exact
comparison, and no credit for an answer that is left unevaluated.
"""

from guerdon.signals.actions import action_format, hierarchical_action, self_certainty
from guerdon.signals.answers import final_answer
from guerdon.signals.cache import Cache
from guerdon.signals.calculation import inverted_reward, random_calculation_reward, random_reward
from guerdon.signals.choices import exact_string, multiple_choice, numeric_tolerance
from guerdon.signals.criteria import decision, decision_report, mentioned
from guerdon.signals.diversity import distinct_n, length_incentive, repetition, unreadable
from guerdon.signals.efficiency import efficiency_tiers, program_efficiency
from guerdon.signals.encoders import Encoder, TokenVectors, find_encoder
from guerdon.signals.environment import environment_score, environment_steps, turn_bonus
from guerdon.signals.forecasts import forecast, futurex_total
from guerdon.signals.format import (
    STYLES,
    PromptStyle,
    apply_style,
    behaviour_profile,
    ppe_accuracy,
    tag_format,
)
from guerdon.signals.instructions import constraint_reward, dense_instructions, instructions
from guerdon.signals.judges import (
    judge_critique,
    judge_exemplar,
    judge_log_odds,
    judge_pairwise,
    judge_score,
    judge_steps,
    judge_verdicts,
    principle_score,
)
from guerdon.signals.language import language_match
from guerdon.signals.length import budget_length, length
from guerdon.signals.lines import line_labels
from guerdon.signals.matching import bert_score, greedy_matching
from guerdon.signals.mathematics import math_equal
from guerdon.signals.ngrams import (
    bleu,
    bleu_details,
    bleuberi,
    chrf,
    preference_agreement,
    rouge,
    select_by_score,
)
from guerdon.signals.overlap import answer_f1
from guerdon.signals.patterns import reasoning_pattern
from guerdon.signals.programs import unit_tests
from guerdon.signals.reasoning_gym import reasoning_gym_score
from guerdon.signals.relevance import (
    demonstration_similarity,
    query_relevance,
    r3,
    r3_ranges,
    reference_relevance,
    regularised_relevance,
)
from guerdon.signals.runner import How, ask, chat_form, run_signal
from guerdon.signals.schema import json_schema
from guerdon.signals.scores import Outcome, Scores
from guerdon.signals.spans import critique_spans, parse_critique
from guerdon.signals.sql import sql_execution, sql_ngrams, sql_parses, sql_runs, sql_schema
from guerdon.signals.steps import split_pieces, verified_steps
from guerdon.signals.tools import thinking_length, tool_layout, tool_match
from guerdon.signals.tulu import gsm8k_answer, tulu_verifier

__all__ = [
    "STYLES",
    "Cache",
    "Encoder",
    "How",
    "Outcome",
    "PromptStyle",
    "Scores",
    "TokenVectors",
    "action_format",
    "answer_f1",
    "apply_style",
    "ask",
    "behaviour_profile",
    "bert_score",
    "bleu",
    "bleu_details",
    "bleuberi",
    "budget_length",
    "chat_form",
    "chrf",
    "constraint_reward",
    "critique_spans",
    "decision",
    "decision_report",
    "demonstration_similarity",
    "dense_instructions",
    "distinct_n",
    "efficiency_tiers",
    "environment_score",
    "environment_steps",
    "exact_string",
    "final_answer",
    "find_encoder",
    "forecast",
    "futurex_total",
    "greedy_matching",
    "gsm8k_answer",
    "hierarchical_action",
    "instructions",
    "inverted_reward",
    "json_schema",
    "judge_critique",
    "judge_exemplar",
    "judge_log_odds",
    "judge_pairwise",
    "judge_score",
    "judge_steps",
    "judge_verdicts",
    "language_match",
    "length",
    "length_incentive",
    "line_labels",
    "math_equal",
    "mentioned",
    "multiple_choice",
    "numeric_tolerance",
    "parse_critique",
    "ppe_accuracy",
    "preference_agreement",
    "principle_score",
    "program_efficiency",
    "query_relevance",
    "r3",
    "r3_ranges",
    "random_calculation_reward",
    "random_reward",
    "reasoning_gym_score",
    "reasoning_pattern",
    "reference_relevance",
    "regularised_relevance",
    "repetition",
    "rouge",
    "run_signal",
    "select_by_score",
    "self_certainty",
    "split_pieces",
    "sql_execution",
    "sql_ngrams",
    "sql_parses",
    "sql_runs",
    "sql_schema",
    "tag_format",
    "thinking_length",
    "tool_layout",
    "tool_match",
    "tulu_verifier",
    "turn_bonus",
    "unit_tests",
    "unreadable",
    "verified_steps",
]
