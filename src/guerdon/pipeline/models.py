"""The models under [[model]] while a recipe is compiled: which one a stage means, and what each must be given."""

from collections.abc import Callable, Mapping

from guerdon.method import Take
from guerdon.pipeline.stage import ModelFace
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, RecipeError

_AT_ALL = "in the pipeline"


class BoundModels:
    """Models by name, and those that a stage has read.

    Args:
        recipe: says when each learns.
        faces: what each makes and takes.
        known: whether a quantity or column is there by now.
        read: marks a quantity as read.
    """

    def __init__(
        self,
        recipe: Recipe,
        faces: Mapping[str, ModelFace],
        known: Callable[[str], bool],
        read: Callable[[str], None],
    ):
        self.recipe, self.faces, self.known, self.read = recipe, faces, known, read
        self.made = {name: [f"model_{what}.{name}" for what in face.makes] for name, face in faces.items()}
        self.asked: dict[str, ModelFace] = {}

    def make(self, name: str) -> bool:
        """Whether one of them makes ``model_logp.prm`` and the like."""
        return any(name in made for made in self.made.values())

    def source(self, source: str, take: Take, place: str) -> str:
        """``prm.logp``, or a bare ``model_logp`` where only one model makes it, as ``model_logp.prm``."""
        head, dot, what = source.partition(".")
        if dot and head in self.made:
            if f"model_{what}.{head}" not in self.made[head]:
                made = [m.split(".")[0].removeprefix("model_") for m in self.made[head]]
                raise RecipeError(
                    f"{place}: expected one of {made}, which the model {head!r} makes, got {source!r}; correct it"
                )
            return f"model_{what}.{head}"
        quantity = lookup(source)
        if quantity is None or not quantity.single or dot:
            return source
        makers = [name for name, made in self.made.items() if f"{source}.{name}" in made]
        if len(makers) == 1:
            return f"{source}.{makers[0]}"
        what = source.removeprefix("model_")
        if makers:
            raise RecipeError(
                f'{place}: expected to know which of the models {makers} gives {source}, got none; take = {{{take.name} = "{makers[0]}.{what}"}}'
            )
        raise RecipeError(
            f"{place}: takes {source}, but no model makes it; add a [[model]] that makes {what}, got {sorted(self.made) or 'none'}"
        )

    def ask(self, name: str, when: str) -> None:
        """A stage reads the model: what scoring takes must be there by now, and what learning takes if it comes first."""
        face = self.faces[name]
        before = any(m.label == name and m.update == "before" for m in self.recipe.model)
        for taken in (*face.reads, *(face.learns_from if before else ())):
            self._takes(name, taken, when)
        self.asked[name] = face

    def _takes(self, name: str, taken: str, when: str) -> None:
        if not self.known(taken):
            early = "" if when == _AT_ALL else ' above, or, where it only learns from it, update = "after"'
            raise RecipeError(
                f"model ({name}): takes {taken}, but nothing makes it {when}; add a stage or signal that makes it{early}"
            )
        self.read(taken)

    def close(self) -> None:
        """Every model is read by a stage, and what it learns from afterwards is there."""
        for name, made in self.made.items():
            if name not in self.asked:
                makes = ", ".join(m.split(".")[0] for m in made)
                raise RecipeError(
                    f"model ({name}): makes {makes}, but nothing reads it; add a stage that takes it or remove the model"
                )
            if any(m.label == name and m.update == "after" for m in self.recipe.model):
                for taken in self.faces[name].learns_from:
                    self._takes(name, taken, _AT_ALL)
