"""Judges: language models behind an OpenAI-compatible endpoint that say how good a completion is.

- `pointwise`: a score on a scale (`judge-score`), or the odds of yes against no (`judge-log-odds`);
- `process`: a verdict on each step (`judge-steps`), or marks on phrases (`judge-critique`);
- `pairwise`: completions of a prompt against each other (`judge-pairwise`), or against an exemplar (`judge-exemplar`);
- `forms`: what a judge is asked, and how its reply is read; `endpoint`: the conversation; `asked`: rows and votes.

A judge of one's own is a message builder and a reader: `score_rows` does the rest.
"""

from guerdon.signals.judges.asked import Question, score_rows
from guerdon.signals.judges.endpoint import Endpoint, NoReply, Reply, converse
from guerdon.signals.judges.forms import question, told
from guerdon.signals.judges.pairwise import judge_exemplar, judge_pairwise
from guerdon.signals.judges.pointwise import judge_log_odds, judge_score
from guerdon.signals.judges.process import judge_critique, judge_steps

__all__ = [
    "Endpoint",
    "NoReply",
    "Question",
    "Reply",
    "converse",
    "judge_critique",
    "judge_exemplar",
    "judge_log_odds",
    "judge_pairwise",
    "judge_score",
    "judge_steps",
    "question",
    "score_rows",
    "told",
]
