"""How traces in the language of the world are read: importing this registers the language under the name `world`."""

from earshot.protocol import TraceLanguage, register_language
from earshot.world.claims import split_world_claims
from earshot.world.language import swap_trace

register_language("world", TraceLanguage(split_world_claims, swap_trace))
