"""What training relies on in TRL, word for word: the next release fails here first, and not in the middle of a run.

To move to another release, read the methods below in it, mend `earshot.train`, and change the pin in pyproject.toml.
"""

import inspect

import pytest
import trl
from transformers import Trainer, TrainerCallback
from trl import GRPOTrainer, SFTTrainer

TENSORS = "tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]"
SIGNATURES = {
    GRPOTrainer._calculate_rewards: "(self, inputs, prompts, completions, completion_ids_list)",
    GRPOTrainer._load_optimizer_and_scheduler: "(self, checkpoint)",
    GRPOTrainer._prepare_inputs: (
        "(self, generation_batch: dict[str, torch.Tensor | typing.Any]) -> dict[str, torch.Tensor | typing.Any]"
    ),
    GRPOTrainer._generate_single_turn: (
        "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)"
    ),
    GRPOTrainer._get_per_token_logps_and_entropies: (
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
        "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
        f"image_position_ids=None) -> {TENSORS}"
    ),
    GRPOTrainer.training_step: "(self, model, inputs, num_items_in_batch)",
    Trainer._load_from_checkpoint: (
        "(self, resume_from_checkpoint: str, model: torch.nn.modules.module.Module | None = None) -> None"
    ),
    SFTTrainer.training_step: "(self, *args, **kwargs)",
    Trainer.training_step: (
        "(self, model: torch.nn.modules.module.Module, inputs: dict[str, torch.Tensor | typing.Any], "
        "num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor"
    ),
}


def test_trl_is_the_release_that_was_read() -> None:
    assert trl.__version__.split(".")[:2] == ["1", "16"], f"trl {trl.__version__}: read the new trainer first"


@pytest.mark.parametrize("method", SIGNATURES, ids=lambda method: method.__qualname__)
def test_the_methods_relied_on_are_as_they_were(method: object) -> None:
    found = str(inspect.signature(method)).replace("'", "")  # type: ignore[arg-type]
    assert found == SIGNATURES[method], f"{method} changed: read it, and what earshot.train makes of it"


def test_the_hooks_relied_on_are_called() -> None:
    assert "on_pre_optimizer_step" in vars(TrainerCallback)
    assert "on_pre_optimizer_step" in inspect.getsource(Trainer)
    # A completion whose reward is None leaves its group's baseline, and moves nothing.
    scoring = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert "rewards[unscorable_mask] = torch.nan" in scoring
    assert "torch.nan_to_num(advantages, nan=0.0)" in scoring
    # What `vlm.mechanisms.reason_for_whole_steps` says before there is a trainer.
    enabled = (
        'self.aux_loss_enabled = hasattr(text_config, "output_router_logits") and self.router_aux_loss_coef != 0.0'
    )
    assert enabled in inspect.getsource(GRPOTrainer.__init__)
