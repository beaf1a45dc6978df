"""The reward model, and the listener alone, in the shapes that other projects' code calls.

Thin: nothing is computed here that `judge`, `listener` or `rewards` does not compute. None of the projects is imported.
"""

from earshot.adapters.generators import group_win_rates
from earshot.adapters.imagereward import ImageRewardStyle
from earshot.adapters.reasoners import trl_listener_reward, verl_listener_reward

__all__ = ["ImageRewardStyle", "group_win_rates", "trl_listener_reward", "verl_listener_reward"]
