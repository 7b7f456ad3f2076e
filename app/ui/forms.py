"""Convert forms to requests. The API's own schemas check them; problems are reported by form field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from app.errors import Invalid
from app.http.middleware.body_guard import find_fault
from app.http.problem_json import problems_of
from app.jobs.lifecycle import State
from nnmass.amounts import bound_of
from nnmass.formatting import STRUCTURES
from nnmass_core.codec import JsonObject, one_of
from nnmass_core.costs import COSTS, LEAST_MASS, NO_COSTS, USUAL_KEPT, costs_by_floor, costs_by_limit
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.named.within import TAKEN, scaled
from nnmass_core.request import POINTS

Form = Mapping[str, Sequence[str]]
"""A submitted form: the values of each field."""

Body = TypeVar("Body", bound=BaseModel)

_SHARES = {name: name for name in USUAL_KEPT}
"""By its name in an objective that minimizes a cost, the form's field of a share of the reference."""

_SHARES_WITHIN = {"ratio": "ratio", **{name: f"within_{name}" for name in USUAL_KEPT}}
"""The same in one that maximizes NN-Mass; the form has a usual value for the first alone."""


class FormProblems(Exception):
    """What is wrong with a form; `by_field` has the problems of each field, and under `""` of the form as a whole."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.text() for problem in problems))
        self.by_field: dict[str, list[str]] = {}
        for problem in problems:
            self.by_field.setdefault(form_field(problem.field), []).append(_said(problem))


def form_field(field: str) -> str:
    """Return the form's field for a field of a request: the limit itself for `budget.max_params`."""
    head, _, rest = field.partition(".")
    if rest == "around" or rest.startswith("around."):
        return "around"
    if head in ("spend", "structure") and rest:
        return f"{head}_{rest}"
    if field.startswith("budget.ratio."):
        return f"ratio_{field.removeprefix('budget.ratio.')}"
    if head in ("budget", "objective"):
        return rest.split(".")[0] if rest else head
    return head


def _said(problem: Problem) -> str:
    head, _, rest = problem.field.partition(".")
    return problem.text(rest) if head in ("space", "exclude", "search") else problem.message


def value(form: Form, name: str) -> str:
    """Return a field's text without surrounding blanks; empty when the field is missing."""
    return next(iter(form.get(name, [])), "").strip()


def search_body(form: Form) -> JsonObject:
    """Convert the form to the body of a search. Raises FormProblems for values that cannot be parsed."""
    problems: list[Problem] = []
    body: JsonObject = {"space": _space(form, problems), "budget": _budget(form, problems)}
    if not body["space"] and not value(form, "space"):
        del body["space"]  # that of the reference, if there is one
    body["objective"] = objective = _objective(form, problems)
    if "pareto" not in objective:
        body["top_k"] = _whole(form, "top_k", 10, problems)
        body["diversity"] = value(form, "diversity") or "none"
    if (first := _whole(form, "first_rank", 1, problems)) != 1:
        body["first_rank"] = first
    if rules := {name: rule for name in STRUCTURES if (rule := value(form, f"structure_{name}"))}:
        body["structure"] = rules
    if excluded := _excluded(value(form, "exclude"), problems):
        body["exclude"] = excluded
    if _goal(form) == "most":
        body |= _spend(form, problems)
    body["time_limit_seconds"] = _real(form, "time_limit_seconds", 60.0, problems)
    body["name"], body["note"] = value(form, "name"), value(form, "note")
    body["tags"] = words(value(form, "tags"))
    if value(form, "fresh"):
        body["fresh"] = True
    if problems:
        raise FormProblems(problems)
    return body


def _spend(form: Form, problems: list[Problem]) -> JsonObject:
    """Return the field `spend` of a search: a share, null for none, or no field, which has the default."""
    text = value(form, "spend_share")
    if value(form, "spend") == "none":
        return {"spend": None}
    if value(form, "spend") == "share" or text:
        quantity = value(form, "spend_quantity") or "macs"
        return {"spend": {"quantity": quantity, "share": _share(text, "spend.share", problems)}}
    return {}


def chosen_state(text: str) -> State | None:
    """Return the state that a filter names; None for all. Raises Invalid."""
    if text and text not in list(State):
        raise Invalid.at("status", "unknown_choice", one_of(text, State))
    return State(text) if text else None


def words(text: str) -> list[str]:
    """Return the items of a text, which commas separate."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _space(form: Form, problems: list[Problem]) -> Any:
    if text := value(form, "space"):
        return _json(text, "space", problems)
    return _around(form, problems) if value(form, "around") else value(form, "preset")


def _around(form: Form, problems: list[Problem]) -> JsonObject:
    """Return the space around the form's network."""
    space: JsonObject = {"around": _network(value(form, "around"), "around", problems)}
    if value(form, "kept"):  # the form shows what is kept: nothing is chosen where it has no `keep`
        space["keep"] = list(form.get("keep", []))
    for name in ("width", "depth"):
        if text := value(form, f"around_{name}"):
            space[name] = _multipliers(text, name, problems)
    return space


def _multipliers(text: str, name: str, problems: list[Problem]) -> Any:
    """Return multipliers: a range such as 0.5:1.5:0.05, several separated by commas, or one."""
    try:
        numbers = [float(word) for word in text.replace(":", ",").split(",")]
    except ValueError:
        problems.append(
            Problem(f"space.{name}", "not_a_number", "must be numbers, such as 0.5, 0.75, 1 or 0.5:1.5:0.05")
        )
        return None
    if ":" in text:
        return dict(zip(("min", "max", "step"), numbers, strict=False))
    return numbers if len(numbers) > 1 else numbers[0]


def _json(text: str, field: str, problems: list[Problem]) -> Any:
    """Parse JSON as strictly as the body of an API request."""
    fault = find_fault(text.encode())
    if fault is None:
        return json.loads(text)
    problems.append(Problem(field, fault.code, f"{fault.message} (at byte {fault.offset})"))
    return None


def _budget(form: Form, problems: list[Problem]) -> JsonObject:
    budget: JsonObject = {}
    if precision := value(form, "precision"):
        budget["precision"] = precision
    if value(form, "batch"):
        budget["batch"] = _whole(form, "batch", 1, problems)
    for name, cost in (costs_by_limit() | costs_by_floor()).items():
        if text := value(form, name):
            try:
                budget[name] = bound_of(cost, text, name)
            except DefinitionError as error:
                problems += error.problems
    for name in NO_COSTS:
        if value(form, name) and not (name == LEAST_MASS and _goal(form) == "least"):
            budget[name] = _real(form, name, None, problems)
    if value(form, "within"):
        budget["within"] = _network(value(form, "within"), "within", problems)
    ratios = {name: _real(form, f"ratio_{name}", None, problems) for name in scaled() if value(form, f"ratio_{name}")}
    budget |= {"ratio": ratios} if ratios else {}
    further = [name for name in form.get("devices", []) if name]
    devices = list(dict.fromkeys(filter(None, [value(form, "device"), *further])))
    if devices:
        budget |= {"devices": devices} if len(devices) > 1 else {"device": devices[0]}
    return budget


def _objective(form: Form, problems: list[Problem]) -> JsonObject:
    goal, cost = _goal(form), value(form, "cost") or "params"
    if goal == "front":
        points = {"points": _whole(form, "points", POINTS[0], problems)} if value(form, "points") else {}
        return {"pareto": ["nn_mass", *cost.split("+")], **points}
    if goal == "least":
        least = {LEAST_MASS: _real(form, LEAST_MASS, None, problems)} if value(form, LEAST_MASS) else {}
        return {"minimize": cost, **least}
    if goal == "largest":
        return {"maximize": cost}
    if goal in ("compress", "within"):
        reference = _network(value(form, "reference"), "reference", problems)
        fields = _SHARES if goal == "compress" else _SHARES_WITHIN
        shares = {
            name: _share(value(form, field), f"objective.{name}", problems)
            for name, field in fields.items()
            if value(form, field)
        }
        return {
            **({"minimize": cost} if goal == "compress" else {"maximize": "nn_mass"}),
            "reference": reference,
        } | shares
    return {"maximize": "nn_mass"}


def _goal(form: Form) -> str:
    return value(form, "goal") or "most"


def _excluded(text: str, problems: list[Problem]) -> list[Any]:
    """Return the networks of a text, one on each line."""
    return [_network(line.strip(), "exclude", problems) for line in text.splitlines() if line.strip()]


def _network(text: str, field: str, problems: list[Problem]) -> Any:
    """Return a network's name, its id or its whole definition."""
    if text.startswith("{"):
        return _json(text, field, problems)
    return {"arch_id": text} if text.startswith("arch_") else text


def _share(text: str, field: str, problems: list[Problem]) -> float | None:
    """Return a share, exactly, that was written in percent."""
    try:
        return float(Decimal(text.removesuffix("%").strip()) / 100)
    except InvalidOperation:
        problems.append(Problem(field, "not_a_number", "must be a number of percent"))
        return None


def _whole(form: Form, name: str, default: int, problems: list[Problem]) -> int:
    text = value(form, name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        problems.append(Problem(name, "not_an_integer", "must be a whole number"))
        return default


def _real(form: Form, name: str, default: float | None, problems: list[Problem]) -> float | None:
    text = value(form, name)
    try:
        if text or default is None:
            return float(text.replace(",", ""))
    except ValueError:
        problems.append(Problem(name, "not_a_number", "must be a number"))
    return default


def checked(body: type[Body], data: Mapping[str, Any]) -> Body:
    """Return a request that the API's schema accepts. Raises FormProblems."""
    try:
        return body.model_validate(data)
    except ValidationError as error:
        errors = ({**one, "loc": ("body", *one["loc"])} for one in error.errors())
        raise FormProblems(problems_of(errors, body)) from error
    except DefinitionError as error:
        raise FormProblems(error.problems) from error


def verification_body(form: Form) -> JsonObject:
    """Convert the form to the body of a verification. Raises FormProblems for values that cannot be parsed."""
    problems: list[Problem] = []
    body = _training(form, problems)
    if value(form, "search"):
        body["search"] = value(form, "search")
        body["top"] = _whole(form, "top", 1, problems)
        body["controls"] = list(form.get("controls", []))
    else:
        body["arch_id"] = value(form, "arch_id")
    if problems:
        raise FormProblems(problems)
    return body


def campaign_body(form: Form, search: JsonObject) -> JsonObject:
    """Convert the form to the body of a campaign of a question. Raises FormProblems for values that cannot be parsed.

    A number that the form leaves empty has the default of the API.
    """
    problems: list[Problem] = []
    body = {"search": search, "strategy": value(form, "strategy"), **_training(form, problems)}
    numbers = [name for name in ("trainings", "rounds", "confirm") if value(form, name)]
    body |= {name: _whole(form, name, 0, problems) for name in numbers}
    if share := value(form, "validation"):
        try:
            body["validation"] = float(share)
        except ValueError:
            problems.append(Problem("validation", "not_a_number", "must be a number"))
    if problems:
        raise FormProblems(problems)
    return body


def campaign_changes(form: Form) -> JsonObject:
    """Convert the form to changes of a campaign. Raises FormProblems for values that cannot be parsed."""
    problems: list[Problem] = []
    changes: JsonObject = {"trainings": _whole(form, "trainings", 0, problems)} if value(form, "trainings") else {}
    if problems:
        raise FormProblems(problems)
    return changes


def _training(form: Form, problems: list[Problem]) -> JsonObject:
    """Return how networks are trained."""
    body: JsonObject = {"dataset": value(form, "dataset"), "recipe": value(form, "recipe")}
    if value(form, "unadapted"):
        body["adapt"] = False
    try:
        body["seeds"] = [int(word) for word in words(value(form, "seeds") or "0")]
    except ValueError:
        problems.append(Problem("seeds", "not_an_integer", "must be whole numbers separated by commas"))
    return body


def ids(values: Sequence[str]) -> list[str]:
    """Return the ids among some values; other values are left out."""
    return [text for text in values if _is_id(text)]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _decimal(value: float) -> str:
    """Write a number with all its digits and no exponent, which the form's own reader would refuse."""
    return format(Decimal(repr(value)), "f")


def _kept_of(objective: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, str]:
    """Return the form's fields of the shares that an objective keeps."""
    return {field: _in_percent(objective[name]) if name in objective else "" for name, field in fields.items()}


def _in_percent(share: float) -> str:
    return format(Decimal(repr(share)) * 100, "f")


def filled(request: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the form that would submit this request again."""
    objective, budget = request["objective"], request["budget"]
    form = {"precision": budget["precision"], **_filled_space(request["space"])}
    keep = request["space"]["keep"] if "around" in form else []
    form["batch"] = str(budget.get("batch", 1))
    own = {f"max_{name}" for name in budget.get("ratio", {})}  # the limits of the reference
    known = costs_by_limit() | costs_by_floor()
    limits = ((name, cost) for name, cost in known.items() if name in budget and name not in own)
    form |= {name: f"{budget[name]:,}" if cost.whole else _decimal(budget[name]) for name, cost in limits}
    form |= {name: _decimal(budget[name]) for name in NO_COSTS if name in budget}
    form |= {"within": json.dumps(budget["within"])} if "within" in budget else {}
    named_ratios = {name: ratio for name, ratio in budget.get("ratio", {}).items() if name not in TAKEN or ratio != 1}
    form |= {f"ratio_{name}": _decimal(ratio) for name, ratio in named_ratios.items()}
    devices = budget.get("devices") or [budget.get("device", "")]
    named = [device["name"] if isinstance(device, Mapping) else device for device in devices]
    form["device"] = named[0]
    if "pareto" in objective:
        order = list(COSTS)  # the form has each pair once; the other order has the same points
        form |= {"goal": "front", "cost": "+".join(sorted(objective["pareto"][1:], key=order.index))}
        form |= {"points": str(objective["points"])} if "points" in objective else {}
    elif "maximize" in objective and "reference" in objective:
        # the budget has the limit that a ratio was
        form |= {"goal": "within", "reference": json.dumps(objective["reference"])}
        form |= _kept_of(objective, _SHARES_WITHIN)
    elif objective.get("maximize", "nn_mass") != "nn_mass":
        form |= {"goal": "largest", "cost": objective["maximize"]}
    elif "minimize" in objective:
        form["cost"] = objective["minimize"]
        if "reference" in objective:
            form |= {"goal": "compress", "reference": json.dumps(objective["reference"])} | _kept_of(objective, _SHARES)
        else:
            # the form has one field for the limits of both
            least = [one[LEAST_MASS] for one in (objective, budget) if LEAST_MASS in one]
            form |= {"goal": "least", LEAST_MASS: f"{max(least)}" if least else ""}
    spend = request.get("spend")
    form["spend"] = "none" if spend is None else "share"  # the default of a new question may be another one
    if spend is not None:
        form |= {"spend_quantity": spend["quantity"], "spend_share": _in_percent(spend["share"])}
    form |= {f"structure_{name}": rule for name, rule in (request.get("structure") or {}).items()}
    form["exclude"] = "\n".join(map(json.dumps, request.get("exclude", [])))
    asked = ("top_k", "first_rank", "diversity", "time_limit_seconds")
    form |= {name: str(request[name]) for name in asked if name in request}
    return {name: [text] for name, text in form.items()} | {"devices": named[1:], "keep": keep}


def _filled_space(space: Any) -> dict[str, str]:
    """Return the form's fields that give a space."""
    if not (isinstance(space, Mapping) and "around" in space):
        return {"space": json.dumps(space, indent=1)}
    axes = {f"around_{name}": _axis(space[name]) for name in ("width", "depth") if name in space}
    return {"around": json.dumps(space["around"]), "kept": "1", **axes}


def _axis(axis: Any) -> str:
    """Write multipliers as the form reads them."""
    if isinstance(axis, Mapping):
        return ":".join(_decimal(axis[name]) for name in ("min", "max", "step"))
    return ", ".join(map(_decimal, axis)) if isinstance(axis, list) else _decimal(axis)
