"""The configurations of the applications say no to what cannot work."""

import json
import re

import pytest

from earshot.config import GrpoConfig, ImageConfig, ListenerConfig, SftConfig, load_config, to_yaml
from earshot.errors import ConfigError

SMALLEST = {"model": {"path": "m"}, "data": {"train": "d"}, "out": "runs/x"}


@pytest.fixture
def load(tmp_path):
    def load(cls, changes=(), base=SMALLEST):
        file = tmp_path / "job.yaml"
        file.write_text(to_yaml(base))
        return load_config(cls, file, list(changes))

    return load


def test_the_smallest_sft_config_learns_from_traces(load):
    config = load(SftConfig)
    assert (config.data.targets, config.lora, config.trl, config.seed) == ("traces", None, {}, 0)


def test_the_weights_of_the_reward_default_to_one_half_and_half(load):
    weights = load(GrpoConfig, ["listener.paths=l"]).rewards
    assert (weights.format, weights.accuracy, weights.listener) == (1.0, 0.5, 0.5)


def test_grpo_without_a_listener_must_not_pay_for_one(load):
    with pytest.raises(ConfigError, match=r"rewards.listener is 0.5 but there is no 'listener'"):
        load(GrpoConfig)
    assert load(GrpoConfig, ["rewards.listener=0"]).listener is None


def test_a_listener_may_be_asked_without_being_paid(load):
    assert load(GrpoConfig, ["rewards.listener=0", "listener.paths=l"]).listener == ListenerConfig(paths=("l",))


def test_claims_are_an_arm_of_their_own_and_can_be_mixed_with_the_listener(load):
    alone = load(GrpoConfig, ["rewards={listener: 0, claims: 0.5}", "claims.paths=c"])
    assert (alone.listener, alone.claims.paths, alone.claims.at_least) == (None, ("c",), 1)
    both = load(GrpoConfig, ["rewards={listener: 0.25, claims: 0.25}", "claims.paths=[a, b]", "listener.paths=l"])
    assert (both.claims.paths, both.rewards.listener, both.rewards.claims) == (("a", "b"), 0.25, 0.25)


def test_claims_that_are_paid_for_need_a_checker(load):
    with pytest.raises(ConfigError, match=r"rewards.claims is 0.5 but there is no 'claims'"):
        load(GrpoConfig, ["rewards={listener: 0, claims: 0.5}"])
    with pytest.raises(ConfigError, match=r"claims.paths"):
        load(GrpoConfig, ["rewards.listener=0", "claims={at_least: 2}"])


def test_agreement_needs_a_reader_and_is_something_to_pay_for_a_trace(load):
    with pytest.raises(ConfigError, match=r"rewards.read_agreement needs a 'listener'"):
        load(GrpoConfig, ["rewards={listener: 0, read_agreement: 0.5}"])
    changes = ["listener.paths=l", "rewards={format: 0, accuracy: 0, listener: 0, read_agreement: 1, decoupled: true}"]
    assert load(GrpoConfig, changes).rewards.read_agreement == 1
    with pytest.raises(ConfigError, match="listener, claims, speaker and read_agreement, which all weigh 0"):
        load(GrpoConfig, ["rewards={listener: 0, decoupled: true}"])


CHECKED = ["listener.paths=l", "claims.paths=c"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["rewards={claims: 1, claim_credit: true}"], r"decoupled: true with it$"),
        (
            ["rewards={claims: 1, claim_credit: true, reward_to_go: true}"],
            "with it, and leave rewards.reward_to_go out",
        ),
        (["rewards={decoupled: true, claim_credit: true}"], "what rewards.claims pays for it, and that weighs 0"),
        (["rewards={claims: 1, decoupled: true, claim_credit: true}", "claims.at_least=4"], "claims.at_least is 4"),
        (["rewards={claims: 1, decoupled: true, claim_credit: true}", "claims=null"], "there is no 'claims'"),
    ],
)
def test_credit_by_claim_is_refused_where_it_has_no_meaning(load, changes, problem):
    with pytest.raises(ConfigError, match=problem):
        load(GrpoConfig, [*CHECKED, *changes])


def test_credit_by_claim_takes_a_checker_and_decoupled_credit(load):
    asked = load(GrpoConfig, [*CHECKED, "rewards={claims: 1, decoupled: true, claim_credit: true}"])
    assert asked.rewards.claim_credit and asked.rewards.decoupled


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["listener={paths: self, dtype: float32}"], "dtype is float32, and the policy, which listens here as 'self'"),
        (["listener={paths: [a, self], device: cpu}"], "device is cpu, and the policy"),
        (["listener={paths: self, max_pixels: 1000}"], "max_pixels is 1000, and the policy"),
        (["listener.paths=l", "claims.paths=[c, self]"], "'self', the policy, cannot check its own claims"),
    ],
)
def test_the_policy_listens_as_it_is_trained_and_checks_no_claims(load, changes, problem):
    with pytest.raises(ConfigError, match=problem):
        load(GrpoConfig, changes)
    assert load(GrpoConfig, ["listener={paths: self, prompts: standard}"]).listener.paths == ("self",)


def test_an_adversarial_run_is_paid_by_the_listener_alone(load):
    alone = load(GrpoConfig, ["listener={paths: l, leak_alarm: {every_steps: 5}}", "rewards={format: 0, accuracy: 0}"])
    assert (alone.rewards.listener, alone.listener.leak_alarm.every_steps) == (0.5, 5)


def test_the_leak_alarm_needs_a_model(load):
    with pytest.raises(ConfigError, match="control: random has none"):
        load(GrpoConfig, ["listener={control: random, leak_alarm: {every_steps: 5}}"])


def test_a_reward_that_pays_nothing_is_refused(load):
    changes = ["rewards={format: 0, accuracy: 0, listener: 0}"]
    with pytest.raises(ConfigError, match="all weights under 'rewards' are 0"):
        load(GrpoConfig, changes)


def test_one_listener_or_several_are_a_tuple_of_paths(load):
    assert load(GrpoConfig, ["listener.paths=a"]).listener.paths == ("a",)
    assert load(GrpoConfig, ["listener.paths=[a, b]"]).listener.paths == ("a", "b")


def test_a_listener_needs_a_model_unless_it_is_random(load):
    with pytest.raises(ConfigError, match="'listener': a listener has no 'paths'"):
        load(GrpoConfig, ["listener.control=blind"])
    assert load(GrpoConfig, ["listener.control=random"]).listener.paths == ()
    with pytest.raises(ConfigError, match="reads no model, expected no 'paths'"):
        load(GrpoConfig, ["listener.control=random", "listener.paths=l"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("rewards.format=-1", "'rewards.format' is -1, expected greater than or equal to 0"),
        ("rewards.format=.inf", "'rewards.format' is inf, expected a finite number"),
        ("listener.temperature=0", "'listener.temperature' is 0, expected greater than 0"),
        ("listener.redaction=all", "'listener.redaction' is 'all', expected 'none', 'answer', 'verdict' or 'evidence'"),
        ("data.max_pairs=0", "'data.max_pairs' is 0, expected greater than or equal to 1"),
        ("model.device=gpu", "'model.device' is 'gpu', expected 'auto', 'cpu' or 'cuda'"),
        ("seed=-1", "'seed' is -1, expected greater than or equal to 0"),
        ("images={min_pixels: 9, max_pixels: 4}", "'images': min_pixels 9 is above max_pixels 4"),
        ("listener={paths: l, min_pixels: 9, max_pixels: 4}", "'listener': min_pixels 9 is above max_pixels 4"),
        ("data.targets=traces", "unknown key 'data.targets'"),
    ],
)
def test_an_impossible_value_is_refused(load, change, problem):
    with pytest.raises(ConfigError) as caught:
        load(GrpoConfig, ["listener.paths=l", change])
    assert problem in str(caught.value)


def test_the_tables_for_trl_and_lora_pass_through_untouched(load):
    base = SMALLEST | {"listener": {"paths": "l"}, "trl": {"any_key": [1, {"x": None}]}, "lora": {"r": 8}}
    config = load(GrpoConfig, ["trl.learning_rate=3e-5"], base)
    assert config.trl == {"any_key": [1, {"x": None}], "learning_rate": 3e-5}
    assert config.lora == {"r": 8}


def test_a_resolved_config_is_plain_and_loads_to_the_same(load):
    config = load(GrpoConfig, ["listener.paths=[a, b]", "images.max_pixels=4", "trl.x=1e-5"])
    plain = config.model_dump()
    json.dumps(plain)
    assert load(GrpoConfig, (), plain) == config


def test_equal_limits_of_an_image_are_allowed():
    assert ImageConfig(min_pixels=4, max_pixels=4).max_pixels == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learning_rate=1e-5", "did you mean trl.learning_rate?"),
        ("beta=0.1", "did you mean trl.beta?"),
        ("temperature=0.5", "did you mean trl.temperature or listener.temperature?"),
        ("path=x", "did you mean model.path"),
        ("epochs=3", "did you mean trl.num_train_epochs?"),
        ("listener.paht=x", "the nearest known key is 'listener.paths'"),
        ("nothing=x", "and those of a library stand under trl or lora"),
        ("rewards.listner=1", "the nearest known key is 'rewards.listener'"),
        ("model=world:reasoner", "expected keys of its own, as in 'model: {path: world:reasoner}'"),
        ("listener=world:listener", "as in 'listener: {paths: world:listener}'"),
    ],
)
def test_a_key_that_is_not_there_is_sought_by_its_whole_path(load, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(GrpoConfig, ["listener.paths=l", override])


def test_the_keys_of_libraries_that_messages_name_are_theirs():
    from dataclasses import fields

    from peft import LoraConfig
    from trl import GRPOConfig

    from earshot.config.loading import ALSO_CALLED, LIBRARY_KEYS

    theirs = {"trl": {one.name for one in fields(GRPOConfig)}, "lora": {one.name for one in fields(LoraConfig)}}
    for table, names in LIBRARY_KEYS.items():
        assert set(names) <= theirs[table]
    assert set(ALSO_CALLED.values()) <= {name for names in LIBRARY_KEYS.values() for name in names}
    assert not set(ALSO_CALLED) & set().union(*theirs.values())
