"""A token's pass is replayed where a replay gives what a plain pass does, and computed plainly where it doesn't.

There is no GPU here: the graph is a pretended one, which computes the pass anew when it is replayed.
"""

import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from earshot.vlm.prefix import captured, encode_prefix, sample
from earshot.vlm.prefix.captured import CapturedRows
from tests.vlm.models import mixed_prompts, tiny
from tests.vlm.test_prefix import OWNERS, SAMPLING, sampling_of, uniforms_of


class Graphs:
    """Stands for `torch.cuda`: what is computed while a graph is captured is not, and a replay computes it.

    Args:
        refuses: What capturing raises.
        off: By how much replayed logits are wrong.
    """

    def __init__(self, refuses: str | None = None, off: float = 0.0):
        self.refuses, self.off = refuses, off
        self.made = self.replayed = 0

    Stream = staticmethod(lambda: SimpleNamespace(wait_stream=lambda other: None))
    current_stream = Stream

    def stream(self, stream):
        return nullcontext()

    def CUDAGraph(self):
        self.made += 1
        return SimpleNamespace(rows=None, found=None, replay=None)

    @contextmanager
    def graph(self, graph):
        if self.refuses:
            raise RuntimeError(self.refuses)
        passes = []
        plain = CapturedRows._pass

        def noting(rows):
            before = (rows._place.clone(), rows._position.clone(), rows._unwritten.clone())
            found = plain(rows)
            for held, was in zip((rows._place, rows._position, rows._unwritten), before, strict=True):
                held.copy_(was)
            passes.append((rows, found))
            return found

        CapturedRows._pass = noting
        try:
            yield
        finally:
            CapturedRows._pass = plain
        ((rows, found),) = passes

        def replay():
            self.replayed += 1
            found.copy_(plain(rows) + self.off)

        graph.replay = replay


@pytest.fixture
def on_gpu(monkeypatch):
    """Samples 20 tokens of six rows as on a GPU with these graphs, and as on a CPU."""
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    given = (OWNERS, uniforms_of(6, 40), sampling_of(vlm, max_new_tokens=40, stop_ids=list(range(5, 22))))
    plain = sample(vlm.model, prefix, *given)
    assert len({len(row) for row in plain}) > 2

    def sampled(graphs):
        begin = CapturedRows.__init__

        def may_capture(rows, *args):
            begin(rows, *args)
            rows._may_capture = True

        monkeypatch.setattr(CapturedRows, "__init__", may_capture)
        monkeypatch.setattr(captured.torch, "cuda", graphs)
        monkeypatch.setattr(f"{SAMPLING}.can_capture", lambda model, device: True)
        monkeypatch.setattr(f"{SAMPLING}._tokens_unseen", lambda device: 4)
        return sample(vlm.model, prefix, *given), plain

    return sampled


def test_every_token_but_the_first_pass_is_replayed_and_the_graph_made_anew_for_fewer_rows(on_gpu):
    graphs = Graphs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words, plain = on_gpu(graphs)
    assert words == plain
    longest = max(len(row) for row in plain)
    assert graphs.made >= 2  # more than half of the rows have ended on the way
    # A replay for each pass and one for each graph that is compared; looked at every fourth token.
    passes = graphs.replayed - graphs.made
    assert longest - 1 <= passes < longest + 4


def test_what_a_gpu_refuses_to_capture_is_computed_plainly_and_said(on_gpu):
    with pytest.warns(UserWarning, match="not captured as a graph: operation not permitted"):
        words, plain = on_gpu(Graphs(refuses="operation not permitted when stream is capturing"))
    assert words == plain


def test_a_replay_that_is_off_is_not_believed(on_gpu):
    graphs = Graphs(off=0.1)
    with pytest.warns(UserWarning, match=r"not captured as a graph: replayed, it is 0\.\d+ off"):
        words, plain = on_gpu(graphs)
    assert words == plain
    assert graphs.replayed == graphs.made
