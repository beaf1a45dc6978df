"""The recorded summary of an experiment: totals per prompt of every endpoint of every run, small enough to commit.

`summary.parquet` has a row per run, set and prompt, and the columns of each endpoint's totals (`accuracy:0`, …) in
single precision; `summary.json` says what they are of. Tables and figures are made from these two files alone.

Axes: c clusters (prompts), k columns of totals.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from earshot.config import GrpoConfig, build_config
from earshot.errors import DataError, InputError
from earshot.files import file_hash, read_json_object, whole, write_json
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.endpoints import endpoint_names, endpoint_statistics, rebuilt
from earshot.lab.experiment.marks import MarkTally
from earshot.lab.experiment.plan import Run, expand, model_source, recipe, run_of, set_folder
from earshot.lab.experiment.records import Record
from earshot.lab.experiment.registration import amendments, check_registered, registrations
from earshot.lab.experiment.running import PLAN_FILE
from earshot.metrics import PredictionTable
from earshot.predictions.run import Evaluation
from earshot.stats import Statistic
from earshot.world.truth import read_truth

TABLE, ABOUT = "summary.parquet", "summary.json"
FORMAT = 1

RunSet = tuple[str, int, str]
"""Arm, seed, pair set."""


class SetSize(NamedTuple):
    """How many pairs a set has, of how many prompts."""

    pairs: int
    prompts: int


@dataclass(frozen=True)
class Summary:
    """What a summary holds."""

    about: Mapping[str, Any]
    totals: Mapping[RunSet, Mapping[str, Float[np.ndarray, "c _"]]] = field(repr=False)

    @property
    def sets(self) -> list[str]:
        """The sets that were judged, and the mixtures of them."""
        mixed = [name for name, parts in self.mixtures.items() if all(part in self.about["sets"] for part in parts)]
        return [*self.about["sets"], *mixed]

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        found: Mapping[str, Mapping[str, float]] = self.about.get("mixtures", {})
        return found

    def size(self, set_name: str) -> SetSize:
        """Of a set, or of each part of a mixture."""
        one = self.about["sets"][next(iter(self.mixtures.get(set_name, [set_name])))]
        return SetSize(one["pairs"], one["prompts"])

    @property
    def arms(self) -> list[str]:
        return [*self.about["arms"]]

    @property
    def endpoints(self) -> list[str]:
        """Those that were observed in some run."""
        seen = {name for totals in self.totals.values() for name, one in totals.items() if one[:, -1].any()}
        return [name for name in endpoint_names(self.about["listeners"]) if name in seen]

    def title(self, arm: str) -> str:
        return str(self.about["arms"][arm]["title"])

    def seeds(self, arm: str, set_name: str) -> list[int]:
        """Seeds of an arm that were evaluated on a set."""
        parts = self.mixtures.get(set_name, [set_name])
        seeds = [{seed for a, seed, s in self.totals if (a, s) == (arm, part)} for part in parts]
        return sorted(set.intersection(*seeds))

    def statistic(self, arm: str, seed: int, set_name: str, name: str) -> Statistic:
        """An endpoint of one run on one set; of a mixture, as if so many of its pairs were of each part."""
        parts = self.mixtures.get(set_name, {set_name: 1.0})
        mixed = [share * self.totals[arm, seed, part][name] for part, share in parts.items()]
        return rebuilt(name, np.sum(mixed, axis=0) / sum(parts.values()))


def summarise(folder: Path) -> Summary:
    """The summary of an experiment's finished evaluations.

    Raises:
        InputError: There is no experiment, or none of its evaluations is finished.
        DataError: Predictions are not those that were recorded, or two runs judged different pairs of one set.
    """
    plan = read_plan(folder)
    check_registered(plan)
    registered = amendments(registrations(folder))
    totals: dict[RunSet, dict[str, np.ndarray]] = {}
    sets: dict[str, dict[str, Any]] = {}
    runs, missing = [], []
    truths = {name: read_truth(set_folder(plan, name)) or {} for name in plan.evaluation.sets}
    for run in expand(plan):
        record = Record(run.folder)
        runs.append({**_about_run(run, record), "recipe": recipe(plan, run)})
        for name in plan.evaluation.sets:
            outputs = record.output(f"eval/{name}")
            if outputs is None:
                missing.append({"arm": run.arm, "seed": run.seed, "set": name, "state": _state(record, name)})
                continue
            predictions = _predictions(run.evaluated / name / "predictions.jsonl", outputs["predictions.jsonl"])
            tally = MarkTally(truths[name])
            table = predictions.table(tally.watch)
            _same_pairs(sets, name, table, f"{run.arm} seed {run.seed}")
            found = endpoint_statistics(table, plan.evaluation.listeners, tally.statistics(table))
            totals[run.arm, run.seed, name] = {key: _rounded(s.totals) for key, s in found.items()}
    if not totals:
        raise InputError(f"{folder}: no evaluation is finished; 'earshot lab experiment run' makes them")
    _mixable(plan, sets)
    ordered = {name: sets[name] for name in plan.evaluation.sets if name in sets}
    return Summary(
        {**_about(plan), "registered": registered, "sets": ordered, "runs": runs, "missing": missing}, totals
    )


def merge(summaries: Sequence[Summary]) -> Summary:
    """One summary of runs of one plan that were made in several folders, on several machines or on several days.

    The plan is the first one's: its arms, seeds, listeners and primary comparisons. An evaluation that several hold is
    taken from the first of them.

    Raises:
        DataError: A run is not of this plan (its arm or seed is unknown, or it was made by another recipe), or two
            summaries judged different pairs of a set.
    """
    first, *others = summaries
    recipes = {(run["arm"], run["seed"]): run["recipe"] for run in first.about["runs"]}
    totals, sets = dict(first.totals), dict(first.about["sets"])
    runs = {(run["arm"], run["seed"]): run for run in first.about["runs"]}
    for summary in others:
        for run in summary.about["runs"]:
            key = (run["arm"], run["seed"])
            evaluated = [name for name in summary.about["sets"] if (*key, name) in summary.totals]
            if not evaluated:
                continue
            if recipes.get(key) != run["recipe"]:
                raise DataError(
                    f"{key[0]} seed {key[1]}: recorded of another recipe than the plan's; keep the plan as it was, or "
                    "leave the record out"
                )
            for name in evaluated:
                kept = sets.setdefault(name, summary.about["sets"][name])
                if kept["digest"] != summary.about["sets"][name]["digest"]:
                    raise DataError(f"set '{name}': {key[0]} seed {key[1]} judged other pairs than the others")
                if (*key, name) not in totals:
                    totals[*key, name] = summary.totals[*key, name]
                    runs[key] = run
    missing = [one for one in first.about["missing"] if (one["arm"], one["seed"], one["set"]) not in totals]
    about = {**first.about, "sets": sets, "runs": list(runs.values()), "missing": missing}
    order = {arm: number for number, arm in enumerate(about["arms"])}
    return Summary(about, dict(sorted(_complete(totals).items(), key=lambda item: (order[item[0][0]], item[0][1]))))


def _complete(totals: Mapping[RunSet, Mapping[str, np.ndarray]]) -> dict[RunSet, dict[str, np.ndarray]]:
    """An endpoint that is younger than a record was not observed there."""
    widths = {name: one.shape[1] for of in totals.values() for name, one in of.items()}
    return {
        key: {name: of.get(name, np.zeros((len(next(iter(of.values()))), k))) for name, k in widths.items()}
        for key, of in totals.items()
    }


def recorded_runs(summary: Summary) -> dict[tuple[str, int], str]:
    """The recipe of each run (arm, seed) of which every set of the summary's plan was evaluated."""
    missing = {(one["arm"], one["seed"]) for one in summary.about["missing"]}
    runs = {(run["arm"], run["seed"]): run["recipe"] for run in summary.about["runs"]}
    return {key: made for key, made in runs.items() if key not in missing}


def read_plan(folder: Path) -> ExperimentConfig:
    """The plan that an experiment's folder was made by.

    Raises:
        InputError: There is none.
    """
    path = folder / PLAN_FILE
    tree = read_json_object(path, what="the plan of an experiment")
    # Older plans name keys of arms that are no more, all of them null.
    arms = {name: {key: one for key, one in arm.items() if one is not None} for name, arm in tree["arms"].items()}
    return build_config(ExperimentConfig, {**tree, "arms": arms, "out": folder.as_posix()}, str(path))


def _about(plan: ExperimentConfig) -> dict[str, Any]:
    arms = {
        name: {
            "title": spec.title or name,
            "kind": spec.kind,
            "role": spec.role,
            "trained_with": _trained_with(plan, name),
        }
        for name, spec in plan.arms.items()
    }
    return {
        "format": FORMAT,
        "arms": arms,
        "reference": plan.reference,
        "seeds": list(plan.seeds),
        "listeners": list(plan.evaluation.listeners),
        "primary": [
            {**one.model_dump(), "against": one.against or plan.reference, "against_endpoint": one.others}
            for one in plan.primary
        ],
        "mixtures": plan.mixtures,
        "paired_seeds": plan.paired_seeds,
    }


def _trained_with(plan: ExperimentConfig, arm: str) -> list[str]:
    """The listeners of the evaluation that took part in the arm's reward: agreement with them is no evidence."""
    run = run_of(plan, arm, plan.seeds_of(arm)[0])
    if not isinstance(run.config, GrpoConfig):
        return []
    sources = set(run.config.listener.paths) if run.config.listener and run.config.rewards.listener else set()
    if run.config.claims and run.config.rewards.claims:
        sources |= set(run.config.claims.paths)
    heard = {name: model_source(plan, source, run.seed) for name, source in plan.evaluation.listeners.items()}
    return [name for name, source in heard.items() if source in sources]


def _about_run(run: Run, record: Record) -> dict[str, Any]:
    """Hashes and times of a run's steps, without the paths of a machine."""
    steps = {
        name: {key: kept[key] for key in ("status", "commit", "seconds", "outputs") if key in kept}
        for name, kept in record.steps.items()
    }
    return {"arm": run.arm, "seed": run.seed, "steps": steps}


def _state(record: Record, name: str) -> str:
    for step in ("train", f"eval/{name}"):
        status = record.steps.get(step, {}).get("status", "finished" if step == "train" else "missing")
        if status != "finished":
            return f"{step} {status}"
    return "missing"


def _predictions(path: Path, recorded: str) -> Evaluation:
    if not path.is_file() or f"sha256:{file_hash(path)}" != recorded:
        raise DataError(
            f"{path}: is not what was recorded when it was made; 'earshot lab experiment run --redo' makes it"
        )
    return Evaluation("", path.parent)


def _same_pairs(sets: dict[str, dict[str, Any]], name: str, table: PredictionTable, who: str) -> None:
    """All runs judged the same pairs in the same order, so that their prompts have the same numbers."""
    digest = hashlib.sha256(table.pair_hash.tobytes() + table.cluster.tobytes()).hexdigest()
    prompts = hashlib.sha256(table.cluster.tobytes()).hexdigest()
    found = {"pairs": len(table.pair_hash), "prompts": table.n_clusters, "digest": digest, "first_seen_in": who}
    found |= {"prompts_digest": prompts}
    kept = sets.setdefault(name, found)
    if kept["digest"] != digest:
        raise DataError(f"set '{name}': {who} judged other pairs than {kept['first_seen_in']}; --redo makes them again")


def _mixable(plan: ExperimentConfig, sets: Mapping[str, Mapping[str, Any]]) -> None:
    """A mixture is of sets whose pairs are of the same prompts, in the same order."""
    for name, parts in plan.mixtures.items():
        if len({sets[part]["prompts_digest"] for part in parts if part in sets}) > 1:
            raise DataError(f"mixture '{name}': {' and '.join(parts)} are not of the same prompts in the same order")


def _rounded(totals: np.ndarray) -> np.ndarray:
    """As they are recorded: to 1e-4 of a pair, which no mean shows, in 0.6 of the room that all digits take."""
    return np.round(totals, 4).astype(np.float32).astype(np.float64)


def write_summary(summary: Summary, folder: Path) -> None:
    """Writes `summary.parquet` and `summary.json`."""
    columns: dict[str, list[np.ndarray]] = {}
    arms, seeds, sets = [], [], []
    for (arm, seed, name), totals in summary.totals.items():
        prompts = len(next(iter(totals.values())))
        arms += [arm] * prompts
        seeds += [seed] * prompts
        sets += [name] * prompts
        for endpoint, one in totals.items():
            for k in range(one.shape[1]):
                columns.setdefault(f"{endpoint}:{k}", []).append(one[:, k].astype(np.float32))
    table = {"arm": pa.array(arms).dictionary_encode(), "seed": pa.array(seeds, pa.int32())}
    table |= {"set": pa.array(sets).dictionary_encode()}
    table |= {name: pa.array(np.concatenate(parts)) for name, parts in columns.items()}
    with whole(folder / TABLE) as temporary:
        pq.write_table(pa.table(table), temporary, compression="zstd", compression_level=9)
    write_json(folder / ABOUT, summary.about)


def read_summary(folder: Path) -> Summary:
    """A summary that was written.

    Raises:
        InputError: There is none.
        DataError: It is of another format, or its table is not the one that was described.
    """
    about, table = folder / ABOUT, folder / TABLE
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected an experiment's, or that of a summary; check the path")
    if not (about.is_file() and table.is_file()):
        raise InputError(
            f"{folder}: holds no {ABOUT} and {TABLE}; 'earshot lab experiment summarise {folder}' makes them"
        )
    try:
        kept = read_json_object(about, what="a summary")
        rows = pq.read_table(table)
    except pa.ArrowException as error:
        raise DataError(f"{folder}: the summary cannot be read ({error}); write it again") from error
    if kept.get("format") != FORMAT:
        raise DataError(f"{about}: format {kept.get('format')!r}, expected {FORMAT}; write it again")
    return Summary(kept, _totals(rows, kept))


def _totals(rows: pa.Table, about: Mapping[str, Any]) -> dict[RunSet, dict[str, np.ndarray]]:
    arms, seeds, sets = (rows[name].to_numpy() for name in ("arm", "seed", "set"))
    columns: dict[str, list[np.ndarray]] = {}
    for name in rows.column_names[3:]:
        columns.setdefault(name.rpartition(":")[0], []).append(rows[name].to_numpy().astype(np.float64))
    stacked = {name: np.stack(parts, axis=1) for name, parts in columns.items()}
    changes = (arms[1:] != arms[:-1]) | (seeds[1:] != seeds[:-1]) | (sets[1:] != sets[:-1])
    edges = [0, *(np.flatnonzero(changes) + 1), len(arms)]
    out: dict[RunSet, dict[str, np.ndarray]] = {}
    for low, high in itertools.pairwise(edges):
        key = (str(arms[low]), int(seeds[low]), str(sets[low]))
        expected = about["sets"].get(key[2], {}).get("prompts")
        if key in out or high - low != expected:
            raise DataError(f"{TABLE}: {high - low} rows of {key}, expected {expected} once; write it again")
        out[key] = {name: one[low:high] for name, one in stacked.items()}
    return out


def load_summary(folder: Path) -> Summary:
    """The summary that lies in a folder, or that of the experiment that does.

    Raises:
        InputError: There is neither.
    """
    return summarise(folder) if (folder / PLAN_FILE).is_file() else read_summary(folder)
