"""The page: one file that needs nothing else, readable from 400 to 1280 pixels, light and dark."""

from collections.abc import Sequence

from guerdon.report import sections
from guerdon.report.charts import MOST_POINTS
from guerdon.report.data import Run
from guerdon.report.html import Safe, document, duration, join, number, percent, tag
from guerdon.report.panels import charts
from guerdon.report.shape import composition


def page(run: Run) -> str:
    """The whole document. No script, no external resource: the page's own policy forbids both."""
    said = sections.warnings(run)
    drawn = charts(run)
    body = tag(
        "body",
        header(run),
        tiles(run),
        tag("ul", *[tag("li", text) for text in said], cls="warnings") if said else None,
        section("Held-out evaluation", sections.evaluation(run)),
        section(
            "Training",
            tag("p", _reading(run.done), cls="note"),
            tag("div", *drawn, cls="charts"),
        )
        if run.iterations
        else section("Training", tag("p", "No iteration has been logged yet.", cls="empty")),
        section("Samples and their credit", sections.samples(run.samples)),
        section(f"What the credit is made of, iteration {run.samples.iteration}", composition(run.shaped))
        if run.samples is not None and run.shaped is not None
        else None,
        section("Where time went", sections.times(run)),
        section("Signals", sections.signals(run)),
        section("Failures", sections.failures(run)),
        recipe(run),
    )
    return document(f"{title(run)} · Guerdon", body)


def _reading(done: int) -> str:
    each = -(-done // MOST_POINTS)
    thin = "each iteration" if each <= 1 else f"means of {each} iterations"
    return f"Thin lines: {thin}. Thick lines: centred mean. Point at a chart for its values."


def title(run: Run) -> str:
    """What was trained on what."""
    if run.recipe is None:
        return run.name
    return " · ".join([run.recipe.task.use if run.recipe.task else "no task", run.recipe.policy.use])


def header(run: Run) -> Safe:
    """Title, and the recipe as a chain from signals to objective."""
    chain: Sequence[tuple[str, Sequence[str]]] = ()
    if run.recipe is not None:
        chain = (
            ("reward", [s.label for s in run.recipe.reward]),
            ("credit", [s.label for s in run.recipe.pipeline]),
            ("loss", [s.label for s in run.recipe.loss]),
        )
    chips = [
        tag(
            "span",
            tag("small", kind),
            *[tag("b", name) for name in names],
            cls="chip chain" if kind == "credit" else "chip",
        )
        for kind, names in chain
        if names
    ]
    if run.preset:
        chips.insert(0, tag("span", tag("small", "preset"), tag("b", run.preset), cls="chip"))
    return tag(
        "header", tag("p", "Guerdon run ", tag("code", run.name), cls="run"), tag("h1", title(run)), tag("p", *chips)
    )


def tiles(run: Run) -> Safe:
    """The numbers that a person asks for first."""
    done = f"{run.done} of {run.planned}" if run.planned and run.done < run.planned else number(run.done)
    training = run.recipe.training if run.recipe else None
    return tag(
        "div",
        _share(run, "pass@1", "accuracy", "held out, temperature 1"),
        _share(run, "greedy", "greedy", "held out, most likely tokens"),
        tile("time", duration(run.seconds), "of all iterations, evaluation left out"),
        tile("iterations", done, f"{training.prompts} prompts × {training.samples} samples" if training else ""),
        tile("rollouts", number(run.rollouts), "completions sampled"),
        tile("tokens/s", number(run.tokens_per_second), "completion tokens, updates included"),
        cls="tiles",
    )


def tile(name: str, value: object, note: object = "") -> Safe:
    """A number with its name above and a word below."""
    return tag("div", tag("small", name), tag("strong", value), tag("em", note), cls="tile")


def _share(run: Run, name: str, key: str, note: str) -> Safe:
    before, after = (run.before or {}).get(key), (run.after or {}).get(key)
    if before is None and after is None:
        return tile(name, "–", "not evaluated")
    arrow = join(tag("span", percent(before), cls="from"), tag("span", " → ", cls="from"), percent(after))
    gain = sections.change(before, after)
    return tile(name, arrow, join(gain, " points, ", note) if None not in (before, after) else note)


def section(name: str, *children: object) -> Safe:
    """A heading and what belongs under it."""
    return tag("section", tag("h2", name), *children)


def recipe(run: Run) -> Safe | None:
    """The resolved recipe, folded."""
    if not run.recipe_text:
        return None
    return section("Recipe", tag("details", tag("summary", "recipe.toml, resolved"), tag("pre", run.recipe_text)))
