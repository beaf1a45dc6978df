"""`earshot lab`: what evidence is made with."""

from earshot.cli.lazy import Command, lazy_app

COMMANDS = {
    "bench": Command("earshot.lab.commands.bench:app", "How fast it is, against stock TRL and transformers."),
    "experiment": Command("earshot.lab.commands.experiment:app", "Arms × seeds of a plan: run them, compare them."),
    "screen": Command(
        "earshot.lab.commands.screen:screen_command", "What a reward would select among recorded rollouts."
    ),
    "overoptimise": Command(
        "earshot.lab.commands.overoptimise:overoptimise_command",
        "What rewards are worth when they are optimised against.",
    ),
    "attack": Command(
        "earshot.lab.commands.attack:attack_command", "Try to talk a listener into a side, in many ways."
    ),
    "readers": Command(
        "earshot.lab.commands.readers:readers_command", "Whether judges' verdicts are what their texts imply."
    ),
}

app = lazy_app("lab", COMMANDS, help="What evidence is made with: measurements, experiments, attacks, readers.")
