"""What each application can be told.

A comment above a default gives its source: METHOD for the definition of the method, tagged [A] where the paper states
it publicly, [B] where we have it second-hand, [C] where it is our own choice; STACK for what was measured.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from earshot.config.loading import Config
from earshot.paths import at_home
from earshot.types import RedactionLevel

Place = Annotated[str, AfterValidator(at_home)]
"""A path, in which `~/` is the user's own folder, or what else a model or a set is named by."""
SELF: Final = "self"
"""What names the policy itself among a listener's `paths`; a folder of that name is `./self`."""
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class HeldConfig(Config):
    """How a model, or each of several, is held in memory."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 on a CPU, whatever the checkpoint was saved in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA where there is one, else the CPU. `cuda` without CUDA is an error."""
    prompts: Place | None = None
    """How it is asked: the name of a prompt set, or a YAML file (docs/prompts.md). None takes what a model's folder was
    trained with, else `standard`."""


class ModelConfig(HeldConfig):
    """The model that is trained."""

    path: Place
    """A local folder, a hub id, or `world:NAME` for a warm model of the synthetic world."""


class DataConfig(Config):
    """The pair sets of a training run."""

    train: Place
    """Folder of the pair set that is trained on."""
    validation: Place | None = None
    """Folder of the pair set of the evaluation during training; None for none."""
    roots: Annotated[tuple[Place, ...], Field(strict=False)] = ()
    """Folders beside the sets' own in which their images may lie, behind links or by absolute paths: a scratch disk."""
    max_pairs: Count | None = None
    """Take only the first so many training pairs; None takes all."""
    # Nothing may be lost without being asked for.
    tolerate_bad: Annotated[int, Field(ge=0)] = 0
    """How many bad rows or images are left out, each one logged, before the run stops."""


class SftDataConfig(DataConfig):
    """The pair sets of supervised fine-tuning, and what the model is shown as the right completion."""

    # The reasoner must learn to write a trace before GRPO can reward one (METHOD).
    targets: Literal["traces", "verdict"] = "traces"
    """`traces`: the trace of the same id in `traces.jsonl` (`id`, `trace`, `side`) beside the pair set;
    `verdict`: the majority side with an empty trace. Pairs without a trace or a majority are not trained on."""
    max_tokens: Count | None = None
    """A longer row, images included, is refused by name, as a bad one is: prompts are never cut. None is the length
    of the model's own context."""


class PixelLimits(Config):
    """How large images are when a model sees them."""

    min_pixels: Count | None = None
    """Smaller images are enlarged to this many pixels (width × height); None leaves the processor's own limit, and a
    listener's to what the reasoner sees."""
    max_pixels: Count | None = None
    """Larger images are shrunk to this many pixels; None as above."""

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> "PixelLimits":
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class ImageConfig(PixelLimits):
    """How images are made ready for the model that is trained; listener and claim checker take what they do not say."""

    # Pillow gives the same pixels whatever is installed [C].
    backend: Literal["pil", "torchvision"] | None = None
    """Who scales them, for all models of a run; None is as the model was trained here before, or `pil`. Families for
    which transformers has only one take that one (docs/models.md)."""


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class LeakAlarmConfig(Config):
    """Asks the listener, with grey images for the real ones, about a sample of the latest rollouts: a listener that
    sees nothing and still knows the label was told it by the trace."""

    every_steps: Count | None = None
    """Ask after every so many steps; None never asks."""


class RemoteConfig(Config):
    """How a listener on another machine is asked: one of `paths` that is an address (docs/remote.md)."""

    # vLLM batches what arrives together; 16 requests at a time are one step of 16 completions [C].
    concurrency: Count = 16
    """Requests at a time."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long one attempt may take."""
    patience_s: Annotated[float, Field(ge=0)] = 60.0
    """How long a request is repeated while the server is away or has no room; after that the rewards of the step are
    missing, and training goes on."""
    key_env: str = "EARSHOT_LISTENER_KEY"
    """The environment variable that holds the server's key, if it has one."""


class ListenerConfig(HeldConfig, PixelLimits):
    """A frozen model that reads traces, how it is asked, and which control it is replaced by, if any."""

    paths: Annotated[tuple[Place, ...], BeforeValidator(_one_or_several), Field(strict=False)] = ()
    """Local folders, hub ids, `world:NAME`, or addresses: `http://HOST:PORT` of an `earshot serve`,
    `http://HOST:PORT/v1#MODEL` of an OpenAI-compatible server. One or a list. Several are an ensemble: the mean of
    their probabilities. `self` is the model that is trained, with the weights it has at each step: a baseline, and no
    frozen listener."""
    remote: RemoteConfig = RemoteConfig()
    """How the addresses among `paths` are asked."""
    # METHOD, Definitions: the listener never sees the answer block; removing more is an option. Ours [C] removes more:
    # with the answer block alone gone, text that is addressed to the listener turns it round (docs/attacks.md).
    redaction: RedactionLevel = "verdict"
    """What is removed from the trace before the listener reads it: nothing (a diagnostic), the answer block (as
    published), also the trace's own concluding assertions and what it says to its reader (`verdict`), or all but the
    sentences that describe (`evidence`)."""
    # Ours [C], for the same reason; the published form has no such condition.
    needs_claims: bool = True
    """A trace that claims nothing of either image is heard as no trace; how a trace is cut into claims depends on the
    language of the listener (`protocol.PromptSet`)."""
    control: Literal["random", "shuffled", "blind", "no_trace"] | None = None
    """Replaces the listener by a control of METHOD: random scores, another pair's trace, grey images, no trace."""
    # METHOD: options beyond the paper [C] are off by default.
    both_orders: bool = False
    """Mean of the probability with the images shown in either order."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits of the two answer tokens; fitted on validation pairs, 1 where it was not."""
    prior_corrected: bool = False
    """Pay p(label | trace) − p(label | no trace), so that an empty trace earns nothing."""
    soft_labels: bool = False
    """Pay the mean over raters, share·p(first) + (1 − share)·p(second), rather than p(majority side)."""
    # STACK: the batch of the measured step (16 completions).
    batch_size: Count = 16
    """Traces judged in one forward pass."""
    leak_alarm: LeakAlarmConfig = LeakAlarmConfig()
    """Whether traces leak the verdict to a listener that sees no image."""

    @model_validator(mode="after")
    def _has_a_model_or_needs_none(self) -> "ListenerConfig":
        if not self.paths and self.control != "random":
            raise ValueError("a listener has no 'paths', expected a model folder or hub id, or control: random")
        if self.paths and self.control == "random":
            raise ValueError("a listener with control: random reads no model, expected no 'paths'")
        if self.control == "random" and self.leak_alarm.every_steps is not None:
            raise ValueError("leak_alarm asks a model without its images, and control: random has none")
        return self

    @model_validator(mode="after")
    def _self_is_as_it_is_trained(self) -> "ListenerConfig":
        said = {"device": self.device, "dtype": self.dtype} | {
            key: value for key in ("min_pixels", "max_pixels") if (value := getattr(self, key)) is not None
        }
        for key, value in said.items() if SELF in self.paths else ():
            if value != "auto":
                raise ValueError(
                    f"{key} is {value}, and the policy, which listens here as 'self', is held and shown images as "
                    f"it is trained; leave listener.{key} out, or name a frozen copy's folder"
                )
        return self


class ClaimsConfig(HeldConfig):
    """A frozen model that is asked of each claim of a trace whether it is true of its image (METHOD, last section [C]).

    The part of the reward is the mean over the trace's distinct claims of p(yes); a trace without a claim earns 0.
    """

    paths: Annotated[tuple[Place, ...], BeforeValidator(_one_or_several), Field(strict=False, min_length=1)]
    """Local folders, hub ids or `world:NAME`; one or a list. Of several, the mean of their probabilities."""
    # Every claim counts as the claims of this trace do: the pilot of METHOD's table pays the plain share.
    at_least: Count = 1
    """A trace with fewer claims is paid as if it made this many and the missing ones were worth nothing, so that
    saying one safe thing does not earn what saying everything does."""
    prior_corrected: bool = False
    """Pay p(yes | image) − p(yes | grey image), so that a claim which is believed of any image earns nothing."""
    batch_size: Count = 64
    """Images encoded in one forward pass; up to eight times as many claims are then read in one."""

    @model_validator(mode="after")
    def _is_frozen(self) -> "ClaimsConfig":
        if SELF in self.paths:
            raise ValueError(
                "'self', the policy, cannot check its own claims: it would be paid for what it believes anyway; name a "
                "frozen model, or its folder as './self' if it is called so"
            )
        return self


class RewardConfig(Config):
    """Weights of the parts of the reward, r = format·r_fmt + accuracy·r_acc + listener·r_list + claims·r_claims +
    speaker·r_spk + read_agreement·r_read."""

    # METHOD, Definitions: 1, 0.5, 0.5 [B].
    format: Weight = 1.0
    accuracy: Weight = 0.5
    listener: Weight = 0.5
    # METHOD: an option beyond the paper [C], off by default.
    claims: Weight = 0.0
    # Ours [C]: an option, off by default.
    speaker: Weight = 0.0
    """Pays how likely the listener itself finds the words of the trace, given the images: the geometric mean of its
    probabilities of the tokens that it reads. It comes from the pass that the listener makes anyway."""
    speaker_at_least: Count = 1
    """A trace that makes fewer claims than this has its speaker's part in proportion."""
    # Ours [C]: an option, off by default.
    read_agreement: Weight = 0.0
    """Pays a completion that is right and whose trace the listener reads alike: both are on the label's side."""
    # Ours [C]; METHOD's advantage is one number a completion.
    reward_to_go: bool = False
    """Tokens after the trace get no share of what listener, claims and speaker pay: they read the trace alone, so that
    to the verdict they are noise."""
    decoupled: bool = False
    """As `reward_to_go`, and tokens of the trace get no share of what format and accuracy pay, either: the verdict is
    taught by the votes alone, and the trace by those alone who read it. `read_agreement` takes both and pays both."""

    claim_credit: bool = False
    """As `decoupled`, and what `claims` pays goes claim by claim: a claim's own tokens are told how far it is believed,
    less the mean of all claims of the pair's completions, and no other tokens are told of it."""

    @model_validator(mode="after")
    def _one_kind_of_credit(self) -> "RewardConfig":
        if self.decoupled and self.reward_to_go:
            raise ValueError("rewards.decoupled does what rewards.reward_to_go does, and more; set one of them")
        if self.claim_credit and not self.decoupled:
            also = ", and leave rewards.reward_to_go out" if self.reward_to_go else ""
            raise ValueError(
                "rewards.claim_credit is decoupled credit: a claim's tokens cannot be told of that claim alone "
                f"and of the whole reward as well; set rewards.decoupled: true with it{also}"
            )
        if self.claim_credit and self.claims == 0:
            raise ValueError(
                "rewards.claim_credit tells a claim's tokens what rewards.claims pays for it, and that weighs 0; give "
                "it a weight, and a checker under claims.paths"
            )
        if self.decoupled and self.listener == self.claims == self.speaker == self.read_agreement == 0:
            raise ValueError(
                "rewards.decoupled leaves the trace to listener, claims, speaker and read_agreement, which all weigh 0"
            )
        return self


class EvaluationConfig(Config):
    """The evaluation during training, on the first pairs of `data.validation`."""

    every_steps: Count | None = None
    """Evaluate after every so many steps; None only trains."""
    # 200 pairs give accuracy to about ± 7 points (95 %), enough to see a run go wrong and cheap beside a step [C].
    pairs: Count = 200
    # One sample in either order of the images [C]; the final `earshot eval` takes more.
    samples: Count = 1
    """Completions per pair and order of its images."""


class TrainingConfig(Config):
    """What every training can be told."""

    model: ModelConfig
    data: DataConfig
    out: Place
    """The run directory."""
    images: ImageConfig = ImageConfig()
    lora: dict[str, Any] | None = None
    """Goes to `peft.LoraConfig` as it is; None trains all weights."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Goes to `trl.SFTConfig` or `trl.GRPOConfig` as it is: every knob of TRL and transformers can be reached."""
    evaluation: EvaluationConfig = EvaluationConfig()
    # An arbitrary but fixed seed, so that a run that names none can be repeated [C].
    seed: Annotated[int, Field(ge=0)] = 0


class SftConfig(TrainingConfig):
    """`earshot train sft`: supervised fine-tuning on reference traces or verdicts."""

    data: SftDataConfig
    elsewhere = dict.fromkeys(
        ("listener", "claims", "rewards", "sampling", "log_rollouts_every"), "'earshot train grpo'"
    )


class SamplingConfig(Config):
    """Who draws a step's completions."""

    engine: Literal["local", "vllm"] = "local"
    """`local` is transformers on shared prompts; `vllm` a vLLM in the same process, given the weights anew after every
    step (`trl.vllm_gpu_memory_utilization`, `vllm_enable_sleep_mode` and the like say how it shares a GPU)."""


class GrpoConfig(TrainingConfig):
    """`earshot train grpo`: GRPO with a reward for format, accuracy and the listener's confidence."""

    listener: ListenerConfig | None = None
    """None is naive GRPO, and needs `rewards.listener: 0`. A listener at weight 0 is asked and logged, not paid."""
    claims: ClaimsConfig | None = None
    """Who checks the traces' claims; None checks none, and needs `rewards.claims: 0`. At weight 0 it is asked and
    logged, not paid."""
    rewards: RewardConfig = RewardConfig()
    sampling: SamplingConfig = SamplingConfig()
    # Rollouts are text, small beside the cost of generating them [C].
    log_rollouts_every: Count = 1
    """Write the rollouts of every so many-th step to `rollouts/`."""
    elsewhere = dict.fromkeys(("data.targets", "data.max_tokens"), "'earshot train sft'")

    @model_validator(mode="after")
    def _listener_part_has_a_listener(self) -> "GrpoConfig":
        if self.listener is None and self.rewards.listener > 0:
            raise ValueError(
                f"rewards.listener is {self.rewards.listener} but there is no 'listener'; "
                "name one, or set rewards.listener: 0 for GRPO without a listener"
            )
        if self.listener is None and self.rewards.speaker > 0:
            raise ValueError("rewards.speaker needs a 'listener', whose words the trace's are compared with; name one")
        if self.listener is None and self.rewards.read_agreement > 0:
            raise ValueError("rewards.read_agreement needs a 'listener' that reads traces; name one")
        if self.rewards.speaker > 0 and self.listener is not None:
            told = self.listener
            if len(told.paths) != 1 or told.both_orders or told.control is not None or told.temperature != 1.0:
                raise ValueError(
                    "rewards.speaker needs a listener that is one model, asked in the order shown at temperature 1, "
                    "without a control: of others it is not known how likely they find a trace"
                )
        if self.claims is None and self.rewards.claims > 0:
            raise ValueError(
                f"rewards.claims is {self.rewards.claims} but there is no 'claims'; name a model under claims.paths, "
                "or set rewards.claims: 0"
            )
        if self.rewards.claim_credit and self.claims is not None and self.claims.at_least > 1:
            raise ValueError(
                f"claims.at_least is {self.claims.at_least}, and with rewards.claim_credit nothing is paid for a claim "
                "that is not made: it has no tokens; leave one of them out"
            )
        paid = self.rewards
        if not any((paid.format, paid.accuracy, paid.listener, paid.claims, paid.speaker, paid.read_agreement)):
            raise ValueError("all weights under 'rewards' are 0, expected at least one above 0")
        return self
