"""pydantic's findings in the words of a user: ``gaze.orign: unknown field (did you mean 'origin'?)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gazeeval.errors import did_you_mean

_TAGS = ("layout", "format", "method")


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per mistake found while validating a ``model``."""
    return [_line(item, model) for item in error.errors()]


def _line(item: Mapping[str, Any], root: type[BaseModel]) -> str:
    path, owners, inside = _walk(item["loc"], root)
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    last = str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        return f"{path}: unknown field{did_you_mean(last, _fields(owners))}"
    if kind == "missing":
        return f"{path}: missing. {_write(_literals(owners, last)) or 'Add it.'}"
    if kind.startswith("union_tag"):
        key = context["discriminator"].strip("'")
        return f"{path}.{key}: {_found(context.get('tag'), _literals(inside, key))}"
    if kind == "literal_error":
        choices = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{path}: {_found(value, choices)}"
    if kind == "value_error":
        return f"{path}: {context['error']}." if path else f"{context['error']}."
    return f"{path}: got {value!r}. {item['msg']}."


def _found(value: object, choices: Sequence[str]) -> str:
    got = "missing" if value is None else f"got {value!r}{did_you_mean(str(value), choices)}"
    return f"{got}. {_write(choices)}"


def _write(choices: Sequence[str]) -> str:
    return f"Write one of {', '.join(choices)}." if choices else ""


def _literals(models: Sequence[type[BaseModel]], key: str) -> list[str]:
    """The words and numbers that the field ``key`` of these models lists as allowed, without repeats."""
    found: dict[str, None] = {}
    pending: list[Any] = [model.model_fields[key].annotation for model in models if key in model.model_fields]
    while pending:
        part = pending.pop(0)
        found |= {str(part): None} if isinstance(part, str | int) else {}
        pending = [*get_args(part), *pending]
    return list(found)


def _fields(models: Sequence[type[BaseModel]]) -> set[str]:
    return {name for model in models for name in model.model_fields}


def _walk(loc: Sequence[str | int], root: type[BaseModel]) -> tuple[str, list[type[BaseModel]], list[type[BaseModel]]]:
    """Dotted path of a mistake, the models that own its last part, and the models that may stand there.

    Where the model depends on a field such as ``format: csv``, pydantic puts ``csv`` into the
    location. Users do not write it there, so it selects the model and stays out of the path.
    """
    path: list[str] = []
    owners, inside = [root], [root]
    for part in loc:
        tagged = [model for model in inside if any(part in _literals([model], tag) for tag in _TAGS)]
        if tagged and len(inside) > 1:
            inside = tagged
        elif part != "[key]":
            path.append(str(part))
            owners, inside = inside, [inner for model in inside for inner in _models_in(model, part)]
    return ".".join(path), owners, inside


def _models_in(model: type[BaseModel], key: str | int) -> Iterator[type[BaseModel]]:
    """Models that the annotation of a field mentions."""
    field = model.model_fields.get(str(key))
    pending = [field.annotation] if field else []
    while pending:
        annotation = pending.pop(0)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        pending.extend(get_args(annotation))
