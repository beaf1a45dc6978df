"""The language of the world's models, as `protocol` knows it: importing this registers it under the name `brief`."""

from typing import Final

from earshot.protocol import PromptSet, register
from earshot.world.claims import split_world_claims
from earshot.world.language import swap_trace

BRIEF: Final = register(
    PromptSet("brief", "prompt : {prompt} . which better ?", split=split_world_claims, swap=swap_trace)
)
