"""SFT and GRPO from end to end on models of 0.1 million parameters: what is learned, kept, refused and resumed."""

import json
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from earshot.config import GrpoConfig, SftConfig
from earshot.errors import ConfigError, DataError, InputError, TrainingAborted
from earshot.files import read_jsonl
from earshot.images import Sight
from earshot.listener.build import Loaded, build_checker, build_listener, models_of
from earshot.listener.controls import RandomListener
from earshot.protocol import prompt_set
from earshot.rewards import group_advantages
from earshot.rundir import RunDir
from earshot.train import drawing
from earshot.train.checkpoints import latest_checkpoint
from earshot.train.credit import Written
from earshot.train.grpo import checker_spec, listener_spec, train_grpo
from earshot.train.sft import GuardedSftTrainer, train_sft
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm import load
from tests.servers import Reply, answering

QUIET = Console(quiet=True)
SFT = {"per_device_train_batch_size": 3, "learning_rate": 1e-3, "max_steps": 2}
GRPO = {
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 12,
    "learning_rate": 1e-4,
    "max_steps": 2,
}


def sft_config(model: Path, data: Path, out: Path, **more: Any) -> SftConfig:
    base: dict[str, Any] = {"model": {"path": str(model), "device": "cpu"}, "data": {"train": str(data)}}
    base |= {"out": str(out), **more, "trl": SFT | more.get("trl", {})}
    base["data"] |= more.get("data_more", {})
    base.pop("data_more", None)
    return SftConfig.model_validate(base)


def grpo_config(model: Path, data: Path, out: Path, **more: Any) -> GrpoConfig:
    base: dict[str, Any] = {"model": {"path": str(model), "device": "cpu"}, "data": {"train": str(data)}}
    listener = {"control": "random"}
    return GrpoConfig.model_validate(
        base | {"out": str(out), "listener": listener, **more, "trl": GRPO | more.get("trl", {})}
    )


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(run / "metrics.jsonl") if "loss" in row]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder, device="cpu").model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_sft_learns_the_traces_and_leaves_a_plain_model(models: Path, pairs: Path, tmp_path: Path) -> None:
    evaluation = {"every_steps": 2, "pairs": 2}
    config = sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run", trl={"max_steps": 8}, evaluation=evaluation)
    config = config.model_copy(update={"data": config.data.model_copy(update={"validation": str(pairs)})})
    run = RunDir(train_sft(config, console=QUIET))
    rows = steps_of(run.path)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.3
    assert all(row["bad_steps"] == 0 and row["step_seconds"] > 0 for row in rows)
    judged = [row["step"] for row in read_jsonl(run.metrics_log) if "eval/sample_accuracy" in row]
    assert judged == [0, 2, 4, 6, 8]
    assert not same(weights(models / "qwen2_5_vl"), weights(run.model))
    environment = json.loads(run.environment.read_text())
    assert environment["models"]["reasoner"]["sha256"] == load(models / "qwen2_5_vl", device="cpu").fingerprint()
    assert environment["sets"]["train"]["source"] == "earshot world"  # what the set says of itself
    assert str(tmp_path) not in run.environment.read_text()


def test_sft_teaches_the_completion_and_nothing_of_the_prompt(models: Path, pairs: Path) -> None:
    from earshot.data.pairset import PairSet
    from earshot.images import Tolerance
    from earshot.protocol import parse_completion
    from earshot.train.rows import PairRows
    from earshot.train.sft import PairCollator
    from earshot.train.targets import read_targets

    vlm, known = load(models / "llava", device="cpu"), PairSet(pairs)
    config = sft_config(models / "llava", pairs, pairs)
    targets = read_targets(known, config.data)
    batch = PairCollator(vlm, PairRows(known, Tolerance(), targets.chosen), targets, 4096)([{"index": 4}, {"index": 0}])
    for row, index in enumerate((4, 0)):
        learned = batch["labels"][row][batch["labels"][row] != -100]
        assert learned[-1] == vlm.tokenizer.eos_token_id
        text = vlm.tokenizer.decode(learned, skip_special_tokens=True)
        assert parse_completion(text, prompt_set("brief")) == targets.verdict(index, ())
    # The pictures are in the prompts, whole: two images of 2 × 2 patches a row.
    assert (batch["input_ids"] == vlm.model.config.image_token_id).sum().item() == 2 * 2 * 4


@pytest.fixture
def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is let end though it learnt nothing: untrained models write nothing that could be paid."""
    monkeypatch.setattr("earshot.train.grpo.check_taught", lambda run: None)


@pytest.mark.usefixtures("untaught")
def test_what_is_asked_of_images_holds_for_all_roles_of_a_run_and_is_recorded(
    models: Path, pairs: Path, tmp_path: Path
) -> None:
    roles = {
        "listener": {"paths": str(models / "llava"), "max_pixels": 900},
        "claims": {"paths": str(models / "llava")},
    }
    images = {"min_pixels": 800, "max_pixels": 1200}
    run = RunDir(
        train_grpo(grpo_config(models / "llava", pairs, tmp_path / "run", images=images, **roles), console=QUIET)
    )
    told = json.loads(run.environment.read_text())["models"]
    seen = {role.split(":")[0]: Sight(*(model[name] for name in asdict(Sight()))) for role, model in told.items()}
    assert seen == {
        "reasoner": Sight(800, 1200, "pil"),
        "listener": Sight(800, 900, "pil"),
        "claims": Sight(800, 1200, "pil"),
    }
    assert load(run.model).sight == Sight(800, 1200, "pil")


def test_sft_sees_images_as_its_configuration_says(models: Path, pairs: Path, tmp_path: Path) -> None:
    seen = set()

    def scaled(image: Any, sight: Sight) -> Any:
        seen.add(sight)
        return image

    evaluation = {"every_steps": 1, "pairs": 1}
    config = sft_config(models / "llava", pairs, tmp_path / "run", images={"max_pixels": 900}, evaluation=evaluation)
    config = config.model_copy(update={"data": config.data.model_copy(update={"validation": str(pairs)})})
    with patch("earshot.vlm.model.scaled", scaled):
        train_sft(config.model_copy(update={"trl": {**config.trl, "max_steps": 1}}), console=QUIET)
    assert seen == {Sight(None, 900)}


def test_rows_that_are_too_long_are_refused_by_name_and_never_cut(models: Path, pairs: Path, tmp_path: Path) -> None:
    config = sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run", data_more={"max_tokens": 30})
    with pytest.raises(DataError, match=r"pair 'train-0-\d+': \d+ tokens with its images, expected at most 30"):
        train_sft(config, console=QUIET)
    assert not (tmp_path / "run" / "model").exists()


LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(("family", "lora"), [("qwen2_5_vl", None), ("llava", None), ("qwen2_5_vl", LORA)])
def test_sft_resumes_as_if_it_had_never_stopped(
    family: str, lora: dict[str, Any] | None, models: Path, pairs: Path, tmp_path: Path
) -> None:
    trl = {"max_steps": 4, "save_steps": 2, "save_total_limit": None}
    config = sft_config(models / family, pairs, tmp_path / "run", trl=trl, lora=lora)
    run = RunDir(train_sft(config, console=QUIET))
    whole, rows = weights(run.model), steps_of(run.path)
    # Cut off while the checkpoint of step 4 was written: its trainer state is half there.
    state = run.checkpoints / "checkpoint-4" / "trainer_state.json"
    state.write_text(state.read_text()[:50])
    shutil.rmtree(run.model)
    newest = latest_checkpoint(run)
    assert newest is not None and newest.path == run.checkpoints / "checkpoint-2"
    with run.metrics_log.open("a") as log:
        log.write('{"step": 5, "lo')
    train_sft(config, resume=True, console=QUIET)
    again = steps_of(run.path)
    assert [row["step"] for row in again] == [1, 2, 3, 4]
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    assert same(weights(run.model), whole)


def test_a_run_is_not_written_over(models: Path, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("mine\n")
    with pytest.raises(InputError, match="--resume"):
        train_sft(sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run"), console=QUIET)
    assert (tmp_path / "run" / "config.yaml").read_text() == "mine\n"


def test_lora_leaves_a_merged_plain_model(models: Path, pairs: Path, tmp_path: Path) -> None:
    config = sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run", lora=LORA, trl={"learning_rate": 1e-1})
    run = RunDir(train_sft(config, console=QUIET))
    before, after = weights(models / "qwen2_5_vl"), weights(run.model)
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rat", 1.0, "nearest known key is 'trl.learning_rate'"),
        ("max_length", 10, "set by Earshot itself"),
        ("output_dir", "x", "set by Earshot itself"),
        ("save_strategy", "sometimes", "refuses these values"),
    ],
)
def test_wrong_keys_are_found_before_a_model_is_loaded(key: str, value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train_sft(sft_config(tmp_path / "no-model", tmp_path / "no-data", tmp_path / "run", trl={key: value}))
    with pytest.raises(ConfigError, match=r"lora\.rank"):
        train_sft(sft_config(tmp_path / "no-model", tmp_path / "no-data", tmp_path / "run", lora={"rank": 4}))
    assert not (tmp_path / "run").exists()


def poison(trainer: type, steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a gradient of these steps (counted from 0) NaN."""
    stock = trainer.training_step

    def training_step(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = stock(self, model, *args, **kwargs)
        if self.state.global_step in steps:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = float("nan")
        return loss

    monkeypatch.setattr(trainer, "training_step", training_step)


def test_a_step_gone_bad_is_dropped_and_counted(
    models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(GuardedSftTrainer, {0, 1}, monkeypatch)
    run = train_sft(sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run"), console=QUIET)
    assert [row["bad_steps"] for row in steps_of(run)] == [1, 2]
    assert same(weights(models / "qwen2_5_vl"), weights(run / "model"))


def test_three_bad_steps_in_a_row_stop_the_run_and_keep_the_batch(
    models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(GuardedSftTrainer, {1, 2, 3}, monkeypatch)
    config = sft_config(models / "qwen2_5_vl", pairs, tmp_path / "run", trl={"max_steps": 9})
    with pytest.raises(TrainingAborted, match=r"step 3: a gradient is not finite, 3 steps in a row"):
        train_sft(config, console=QUIET)
    batch = list(read_jsonl(tmp_path / "run" / "bad-batch-rank0.jsonl"))
    assert len(batch) == 3
    assert all("<answer>" in row["text"] for row in batch)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
@pytest.mark.usefixtures("untaught")
def test_both_families_run_grpo(family: str, models: Path, pairs: Path, tmp_path: Path) -> None:
    listener = {"paths": str(models / "llava")}
    run = RunDir(train_grpo(grpo_config(models / family, pairs, tmp_path / "run", listener=listener), console=QUIET))
    assert [row["step"] for row in steps_of(run.path)] == [1, 2]
    assert load(run.model, device="cpu").prompts.name == "brief"


def test_grpo_pays_listens_logs_and_keeps_every_completion(
    talker: Path, models: Path, pairs: Path, tmp_path: Path
) -> None:
    listener = {"paths": str(models / "llava"), "redaction": "verdict"}
    run = RunDir(train_grpo(grpo_config(talker, pairs, tmp_path / "run", listener=listener), console=QUIET))
    files = sorted(run.rollouts.glob("*.parquet"))
    assert [file.name for file in files] == ["step-000000-rank0.parquet", "step-000001-rank0.parquet"]
    for file, logged in zip(files, steps_of(run.path), strict=True):
        rows = pq.read_table(file).to_pylist()
        assert len(rows) == 8
        assert sorted(Counter(row["pair_id"] for row in rows).values()) == [4, 4]
        heard = [row["listener_p_first"] for row in rows if row["malformed"] is None]
        assert heard and all(0 < p < 1 for p in heard)
        assert sum(row["reward"] for row in rows) / 8 == pytest.approx(logged["reward"], abs=1e-5)
        assert sum(row["malformed"] is not None for row in rows) / 8 == pytest.approx(logged["malformed"])
    names = {"reward/format", "reward/accuracy", "reward/listener", "listener/p_label", "listener/disagreement"}
    names |= {"malformed", "trace_words", "rewards_missing", "groups_without_variance", "entropy", "grad_norm"}
    assert names <= steps_of(run.path)[0].keys()
    assert not same(weights(talker), weights(run.model))


def test_an_outage_moves_nothing_and_is_logged(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from earshot.errors import ListenerUnavailable
    from earshot.listener.controls import RandomListener

    def fails(self: Any, pairs: Any, traces: Any) -> Any:
        raise ListenerUnavailable("told to fail")

    monkeypatch.setattr(RandomListener, "p_first", fails)
    config = grpo_config(talker, pairs, tmp_path / "run", trl={"max_steps": 1})
    with pytest.raises(TrainingAborted, match="nothing was learnt and no model is written"):
        train_grpo(config, console=QUIET)
    assert "All reward functions" not in caplog.text  # TRL would print the images
    run = RunDir(tmp_path / "run")
    rows = pq.read_table(next(run.rollouts.glob("*.parquet"))).to_pylist()
    assert all(row["reward"] is None for row in rows if row["malformed"] is None)
    formed = sum(row["malformed"] is None for row in rows)
    assert formed > 0
    assert steps_of(run.path)[0]["rewards_missing"] == formed / 8


def test_a_server_that_refuses_a_step_costs_its_rewards_and_no_others(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    stock = drawing.sample

    def counted(*args: Any) -> list[list[int]]:
        steps.append(len(steps))
        return stock(*args)

    def refuses_the_second(path: str, body: Any, headers: Any) -> Reply:
        return Reply({}, 422) if len(steps) == 2 else Reply({"p_first": [0.75] * len(body["traces"])})

    monkeypatch.setattr(drawing, "sample", counted)
    with answering(refuses_the_second) as url:
        listener = {"paths": url, "remote": {"patience_s": 0.5}, "needs_claims": False}
        run = RunDir(
            train_grpo(
                grpo_config(talker, pairs, tmp_path / "run", listener=listener, trl={"max_steps": 3}), console=QUIET
            )
        )
    rows = pq.read_table(run.rollouts).sort_by("step").to_pylist()
    formed = np.array([row["malformed"] is None for row in rows]).reshape(3, -1)
    missing = np.array([row["reward"] is None for row in rows]).reshape(3, -1)
    assert formed.any(axis=1).all() and not missing[[0, 2]].any()
    assert (missing[1] == formed[1]).all()
    assert [row["rewards_missing"] for row in steps_of(run.path)] == [0.0, formed[1].mean(), 0.0]


def test_grpo_resumes_as_if_it_had_never_stopped(talker: Path, pairs: Path, tmp_path: Path) -> None:
    trl = {"max_steps": 3, "save_steps": 1, "save_total_limit": None}
    config = grpo_config(talker, pairs, tmp_path / "run", rewards={"listener": 0.0}, trl=trl)
    run = RunDir(train_grpo(config, console=QUIET))
    whole, rows = weights(run.model), steps_of(run.path)
    for step in (2, 3):
        shutil.rmtree(run.checkpoints / f"checkpoint-{step}")
    kept = (run.rollouts / "step-000000-rank0.parquet").stat().st_mtime_ns
    train_grpo(config, resume=True, console=QUIET)
    again = steps_of(run.path)
    assert [row["step"] for row in again] == [1, 2, 3]
    assert [row["reward"] for row in again] == [row["reward"] for row in rows]
    assert (run.rollouts / "step-000000-rank0.parquet").stat().st_mtime_ns == kept
    assert len(list(run.rollouts.glob("*.parquet"))) == 3
    for name, tensor in weights(run.model).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"suppress_tokens": [1], "top_k": 5}])
def test_no_control_token_can_be_sampled(
    given: dict[str, Any], models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def train(self: Any, **kwargs: Any) -> None:
        seen.append(self)

    monkeypatch.setattr(ListenerGrpoTrainer, "train", train)
    config = grpo_config(models / "qwen2_5_vl", pairs, tmp_path / "run", trl={"generation_kwargs": given})
    train_grpo(config, console=QUIET)
    vlm = load(models / "qwen2_5_vl", device="cpu")
    banned = set(seen[0].generation_config.suppress_tokens)
    assert vlm.tokenizer.convert_tokens_to_ids("<|image_pad|>") in vlm.forbidden_ids
    assert banned == {*vlm.forbidden_ids, *given.get("suppress_tokens", ())}
    assert not banned & set(vlm.stop_ids)
    assert seen[0].generation_config.top_k == given.get("top_k", 0)


@pytest.mark.parametrize("credit", ["reward_to_go", "decoupled"])
def test_what_was_paid_for_the_trace_is_no_doing_of_the_answer_nor_decoupled_the_other_way_round(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credit: str
) -> None:
    keys = ("completion_ids", "completion_mask", "advantages")
    seen: list[dict[str, torch.Tensor]] = []
    original = ListenerGrpoTrainer._compute_loss

    def watch(self: Any, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        seen.append({name: inputs[name].clone() for name in keys})
        return original(self, model, inputs)

    monkeypatch.setattr(ListenerGrpoTrainer, "_compute_loss", watch)
    drawn = np.random.default_rng(0)
    monkeypatch.setattr(RandomListener, "p_first", lambda self, pairs, traces: drawn.random(len(pairs)))
    rewards = {"format": 1.0, "accuracy": 0.5, "listener": 0.5, credit: True}
    train_grpo(grpo_config(talker, pairs, tmp_path / "run", rewards=rewards), console=QUIET)
    vlm = load(talker, device="cpu")
    tokenizer = vlm.tokenizer
    rows = pq.read_table(RunDir(tmp_path / "run").rollouts).sort_by("step").to_pylist()
    total = np.array([row["reward"] for row in rows]).reshape(-1, 4)
    paid = 0.5 * np.array([row["reward_listener"] for row in rows]).reshape(-1, 4)
    of_trace = total if credit == "reward_to_go" else paid
    trace, answer = group_advantages(of_trace).ravel(), group_advantages(total - paid).ravel()
    given = [row for step in seen for row in zip(*(step[key] for key in keys), strict=True)]
    assert len(given) == len(rows) and np.abs(trace - answer).max() > 0.1
    formed = 0
    for (ids, mask, advantages), for_trace, for_answer, row in zip(given, trace, answer, rows, strict=True):
        tokens = ids[mask.bool()].tolist()
        start = Written(vlm, tokens).end_of("</think>")
        assert "</think>" not in tokenizer.decode(tokens[: start - 1])
        if row["malformed"] is None:
            assert "</think>" in tokenizer.decode(tokens[:start]) and start < len(tokens)
            formed += 1
        assert advantages[:start].numpy() == pytest.approx(for_trace, abs=1e-5)
        assert advantages[start : len(tokens)].numpy() == pytest.approx(for_answer, abs=1e-5)
    assert formed > 0


@pytest.mark.parametrize("credit", ["reward_to_go", "decoupled"])
def test_credit_by_token_needs_advantages_by_group(talker: Path, pairs: Path, tmp_path: Path, credit: str) -> None:
    rewards, trl = {credit: True}, {"scale_rewards": "batch"}
    with pytest.raises(ConfigError, match=r"trl\.scale_rewards is 'batch'"):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", rewards=rewards, trl=trl), console=QUIET)


def test_a_model_that_listens_and_checks_claims_is_loaded_once(models: Path, pairs: Path, tmp_path: Path) -> None:
    path = str(models / "qwen2_5_vl")

    def loaded(**claims: Any) -> tuple[Any, Any]:
        config = grpo_config(Path(path), pairs, tmp_path / "run", listener={"paths": path, "dtype": "float32"},
                             claims={"paths": path} | claims)  # fmt: skip
        assert config.listener is not None and config.claims is not None
        loaded: Loaded = {}
        specs = listener_spec(config.listener), checker_spec(config.claims)
        build_listener(specs[0], loaded)
        build_checker(specs[1], loaded)
        listener, checker = (models_of(spec, loaded)[path] for spec in specs)
        return listener, checker

    listener, checker = loaded(dtype="float32")
    assert listener is checker
    listener, checker = loaded(dtype="bfloat16")  # as it was asked for
    assert listener is not checker and checker.model.dtype == torch.bfloat16


def test_a_model_is_trained_in_the_words_it_is_said_to_be_and_its_folder_keeps_them(
    models: Path, talker: Path, pairs: Path, tmp_path: Path
) -> None:
    words = tmp_path / "letters.yaml"
    words.write_text(
        "name: letters\nquestion: 'prompt : {prompt} . which better ?'\nsystem: red or blue\ntraces: world\n"
        "think: {open: '<think>', close: '</think>'}\nanswer: {open: '<answer> ', close: '</answer>', second: B}\n"
    )
    known = prompt_set(words)
    sft = sft_config(models / "qwen2_5_vl", pairs, tmp_path / "sft", trl={"max_steps": 1, "save_steps": 1})
    sft = sft.model_copy(update={"model": sft.model.model_copy(update={"prompts": str(words)})})
    run = RunDir(train_sft(sft, console=QUIET))
    assert (
        load(run.model, device="cpu").prompts == load(run.checkpoints / "checkpoint-1", device="cpu").prompts == known
    )
    grpo = grpo_config(talker, pairs, tmp_path / "grpo", trl={"max_steps": 1})
    grpo = grpo.model_copy(update={"model": grpo.model.model_copy(update={"prompts": str(words)})})
    run = RunDir(train_grpo(grpo, console=QUIET))
    assert load(run.model, device="cpu").prompts == known
    rollouts = [row for part in run.rollouts.glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    # It answers 1 or 2 as it has learned to, and here the second is called B.
    assert {row["side"] for row in rollouts if "<answer>1<" in row["completion"]} == {"first"}
    assert {row["malformed"] for row in rollouts if "<answer>2<" in row["completion"]} <= {
        "answer is neither of the two"
    }
