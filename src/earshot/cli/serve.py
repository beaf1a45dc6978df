"""`earshot serve`: a reward model over HTTP."""

import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from earshot.cli.options import with_options
from earshot.cli.reward_model import ModelOptions, cores, load_share, tell_note

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel


@with_options
def serve_command(
    asked: ModelOptions,
    host: str = typer.Option("127.0.0.1", help="Address to listen on; any but this machine's own needs --key-file."),
    port: int = typer.Option(8379, min=0, max=65535, help="0 is any free one."),
    key_file: Path | None = typer.Option(
        None, help="Lines of NAME KEY; one of the keys must come with every request but health's."
    ),
    name: list[str] = typer.Option([], help="A further name in Host headers, such as a proxy's; repeat it."),
    root_path: str = typer.Option("", help="What a proxy has before the server's own paths, such as /earshot."),
    tls_certificate: Path | None = typer.Option(None, help="In PEM; with --tls-key it is https, without it http."),
    tls_key: Path | None = typer.Option(None, help="Its private key, which nobody else may read."),
    trust_proxy: list[str] = typer.Option(
        [], help="Address or network of a proxy that says in X-Forwarded-For who its clients are; repeat it."
    ),
    batch: int = typer.Option(16, min=1, help="Comparisons that are made together."),
    workers: int = typer.Option(
        0,
        min=0,
        help="Processes with the model, each on a GPU or its part of the cores; 0 is 2 for a small one on a CPU.",
    ),
    max_requests: int = typer.Option(64, min=1, help="Let in at a time; the next one is told to come later."),
    pickle: bool = typer.Option(
        False, "--pickle", help="Also answer pickles of plain values at /pickle, as verl-omni and Flow-GRPO send them."
    ),
    log_prompts: bool = typer.Option(
        False,
        "--log-prompts",
        help="Log what errors say, which may hold clients' prompts; else their kinds and places.",
    ),
    timeout_s: float = typer.Option(60.0, min=0.1, help="The most that a request may take."),
) -> None:
    """Compare, rank and score over HTTP, with a page at /, until SIGTERM or Ctrl-C."""
    import importlib.util
    import ipaddress
    from dataclasses import replace
    from functools import partial

    from earshot.errors import InputError, short
    from earshot.predictions.judgement import AUTHOR

    needed = ("starlette", "uvicorn", "prometheus_client", "python_multipart")
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"serve needs {' and '.join(missing)}; pip install 'earshot-rm[serve]'")
    from earshot.serve import Decoders, Limits, Server, Workers, serve, watch_keys, watch_tls
    from earshot.serve.logs import log_to_stderr
    from earshot.web import LOOPBACK, listen

    if host not in LOOPBACK and key_file is None:
        raise InputError(f"--host {host} can be reached by others, so that a key is needed; give --key-file")
    for proxy in trust_proxy:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise InputError(
                f"--trust-proxy is {short(proxy)}, expected an address or a network, such as 10.0.0.2 or 10.0.0.0/24"
            ) from error
    if (tls_certificate is None) != (tls_key is None):
        raise InputError("--tls-certificate and --tls-key belong together; give both, or neither for http")
    tls = watch_tls(tls_certificate, tls_key) if tls_certificate and tls_key else None
    keys = None if key_file is None else watch_keys(key_file)
    if root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", root_path):
        raise InputError(f"--root-path is {short(root_path)}, expected a path such as /earshot, without a / at its end")
    limits = Limits()
    limits = replace(limits, together=limits.together._replace(requests=max_requests), timeout_s=timeout_s)
    who = {
        "Model": asked.model,
        "Listener": ", ".join(asked.listeners()) or "none",
        "Decided by": "the model (author)" if asked.decide == AUTHOR else asked.decide,
    }
    on_cpu = asked.device == "cpu" or (asked.device == "auto" and not Path("/dev/nvidiactl").exists())
    workers = workers or (2 if on_cpu and cores() > 1 and _is_small(asked.model) else 1)

    def load() -> "partial[RewardModel]":
        """Loads what a link leads to now, also in a process that takes the place of one that died."""
        where = asked.model if not Path(asked.model).is_dir() else str(Path(asked.model).resolve())
        one = replace(asked, model=where).load
        return partial(load_share, of=workers, load=partial(one, batch_size=2 * batch))  # both orders of each

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # nothing to load anew until there is a model
    # Before the model, so that an address that cannot be had is told at once.
    with (
        listen(host, port) as listener,
        Decoders(max(1, min(4, cores() // 2))) as decoders,
        Workers(load(), workers) as engine,
    ):
        server = Server(
            engine,
            host=host,
            names=tuple(name),
            root_path=root_path,
            keys=keys,
            limits=limits,
            batch=batch,
            # On a CPU many together take many times as long.
            tokens=batch * (256 if on_cpu else 4096),
            at_once=workers,
            max_new_tokens=asked.max_new_tokens,
            decode=decoders,
            pickles=pickle,
            up=lambda: engine.up() if decoders.up() else 0,
            who=who,
        )
        log_to_stderr(prompts=log_prompts)
        tell_note(engine.note)

        def announce(address: str) -> None:
            typer.echo(f"{address}  (Ctrl-C ends it)")
            if host not in LOOPBACK:
                typer.echo(elsewhere(address, name), err=True)

        serve(server, listener, host, announce, renew=lambda: engine.renew(load()), tls=tls, proxies=trust_proxy)


def _is_small(model: str) -> bool:
    """Whether there is room for a model twice, and two processes of one thread do more than one of two."""
    weights = Path(model).glob("*.safetensors") if Path(model).is_dir() else ()
    n_bytes = sum(file.stat().st_size for file in weights)
    return model.startswith("world:") or 0 < n_bytes < 2**30


def elsewhere(address: str, names: list[str]) -> str:
    """How other machines reach a server that this one reaches at an address."""
    scheme, port = address.partition(":")[0], address.rpartition(":")[2]
    known = " or ".join(f"{scheme}://{name}:{port}" for name in (socket.gethostname(), *names))
    return f"from other machines: {known}, or this machine's IP address; any other host name needs --name"
