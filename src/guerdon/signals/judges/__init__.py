"""Judges: language models behind an OpenAI-compatible endpoint that say how good a completion is.

- `pointwise`: a score on a scale (`judge-score`), or the odds of yes against no (`judge-log-odds`);
- `pairwise`: completions of a prompt against each other (`judge-pairwise`), or against an exemplar (`judge-exemplar`);
- `stepwise`: one step after the other, by principles that the judge writes down first (`judge-steps`);
- `verdicts`: right or wrong for each step at once (`judge-verdicts`), or marks on phrases (`judge-critique`);
- `forms`: what a judge is asked, and how its reply is read; `endpoint`: the conversation; `asked`: rows and votes.

A judge of one's own is a message builder and a reader: `score_rows` does the rest.
"""

from guerdon.signals.judges.asked import Question, score_rows
from guerdon.signals.judges.endpoint import Endpoint, NoReply, Reply, converse
from guerdon.signals.judges.forms import question, told
from guerdon.signals.judges.pairwise import judge_exemplar, judge_pairwise
from guerdon.signals.judges.pointwise import judge_log_odds, judge_score
from guerdon.signals.judges.stepwise import judge_steps, principle_score
from guerdon.signals.judges.verdicts import judge_critique, judge_verdicts

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
    "judge_verdicts",
    "principle_score",
    "question",
    "score_rows",
    "told",
]
