"""A plan that stands in git before its first run, and what was changed in it since: beside the runs, in one file.

A plan with a page (`registered`) is run only as it was committed, and its results are read only under that plan. A
plan that is changed and committed again goes on in the same folder: the change is written down, with the number of
runs that were finished by then, and stands over the results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earshot.config import load_config
from earshot.errors import InputError
from earshot.files import read_json_object, write_json
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.records import RECORD, differences
from earshot.rundir import git

REGISTERED = "registered.json"


def register(plan: ExperimentConfig, file: Path) -> None:
    """Writes down the commit that the plan and its page stand in, unless it is known already.

    Args:
        plan: As it is about to be run.
        file: The YAML file that it was read from.

    Raises:
        InputError: The file or the page is not in git, or was changed since its commit; or the plan isn't the file's.
    """
    if plan.registered is None:
        _refuse_unregistered(plan)
        return
    folder = file.resolve().parent
    top = git(folder, "rev-parse", "--show-toplevel")
    if not file.is_file() or top is None:
        raise InputError(f"{file}: is registered, but lies in no git repository; run it from a checkout")
    files = [file.resolve(), Path(top) / plan.registered]
    for one in files:
        if git(folder, "ls-files", "--error-unmatch", str(one)) is None:
            raise InputError(f"{one}: isn't in git; a registered plan and its page are committed before the first run")
        if git(folder, "status", "--porcelain", "--", str(one)):
            raise InputError(f"{one}: was changed since it was committed; commit it before the run")
    if changed := differences(_asked(load_config(ExperimentConfig, file)), _asked(plan)):
        raise InputError(f"{file}: is registered, and not run with other keys ({'; '.join(changed)}); change the file")
    commit, _, date = str(git(folder, "log", "-1", "--format=%H %cI", "--", *map(str, files))).partition(" ")
    known = registrations(Path(plan.out))
    if not known or known[-1]["plan"] != _asked(plan):
        runs = len([*Path(plan.out).glob(f"*/seed-*/{RECORD}")])
        known.append({"commit": commit, "date": date, "page": plan.registered, "runs": runs, "plan": _asked(plan)})
        write_json(Path(plan.out) / REGISTERED, {"registrations": known})


def registrations(out: Path) -> list[dict[str, Any]]:
    """What was registered in an experiment's folder, the oldest first; empty where nothing was."""
    file = out / REGISTERED
    return list(read_json_object(file, what="a registration")["registrations"]) if file.exists() else []


def check_registered(plan: ExperimentConfig) -> None:
    """Refuses to read results under another plan than the one that was registered.

    Raises:
        InputError: The plan isn't the last that was registered in its folder.
    """
    if plan.registered is None:
        _refuse_unregistered(plan)
        return
    known = registrations(Path(plan.out))
    if not known:
        raise InputError(f"{plan.out}: its plan says it is registered, but no registration lies there; run it again")
    if changed := differences(known[-1]["plan"], _asked(plan)):
        raise InputError(
            f"{plan.out}: the plan isn't the one of commit {known[-1]['commit'][:12]} ({'; '.join(changed)}); "
            "commit the change and run it, or undo it"
        )


def _refuse_unregistered(plan: ExperimentConfig) -> None:
    if registrations(Path(plan.out)):
        raise InputError(f"{plan.out}: holds runs of a registered plan; choose another 'out' for one that is not")


def amendments(known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For a summary: each registration by commit, date and finished runs, with what it changed."""
    before = [known[0]["plan"], *(one["plan"] for one in known[:-1])] if known else []
    return [
        {**{key: one[key] for key in ("commit", "date", "page", "runs")}, "changed": differences(old, one["plan"])}
        for old, one in zip(before, known, strict=True)
    ]


def _asked(plan: ExperimentConfig) -> dict[str, Any]:
    return plan.model_dump(exclude={"out"}, mode="json")
