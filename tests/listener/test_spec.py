"""A listener is described once, and said in one line."""

from pathlib import Path

import pytest

from earshot.errors import InputError
from earshot.images import Sight
from earshot.listener.spec import ListenerSpec, parse_listener, parse_listeners


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("world:listener", ListenerSpec(("world:listener",))),
        ("far=org/name", ListenerSpec(("org/name",), "far")),
        ("a=b=c", ListenerSpec(("c",), "a=b")),
        (
            "held=world:held-out,orders=both,temperature=1.3",
            ListenerSpec(("world:held-out",), "held", orders="both", temperature=1.3),
        ),
        ("x,needs_claims=true,batch_size=4", ListenerSpec(("x",), needs_claims=True, batch_size=4)),
        ("two=org/a+world:listener", ListenerSpec(("org/a", "world:listener"), "two")),
        (
            "http://h:8000/v1#org/m,prompts=brief,patience_s=1",
            ListenerSpec(("http://h:8000/v1#org/m",), prompts="brief", patience_s=1.0),
        ),
        ("http://[::1]:1+b", ListenerSpec(("http://[::1]:1", "b"))),
        ("runs/a,b/model", ListenerSpec(("runs/a,b/model",))),
        ("chance=,control=random,seed=3", ListenerSpec((), "chance", control="random", seed=3)),
    ],
)
def test_a_listener_is_said_in_one_line(text: str, spec: ListenerSpec) -> None:
    assert parse_listener(text) == spec
    assert parse_listener(str(spec)) == spec


def test_a_folder_is_taken_as_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1e-5,orders=both+more"
    folder.mkdir()
    assert parse_listener(str(folder)) == ListenerSpec((str(folder),))
    (tmp_path / "lr=1e-5").mkdir()
    assert parse_listener(f"name={tmp_path}/lr=1e-5,seed=2") == ListenerSpec((f"{tmp_path}/lr=1e-5",), "name", seed=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,order=both", "unknown key 'order'; the nearest known key is 'orders'"),
        ("x,zzz=1", "unknown key 'zzz'; the known keys are control, orders"),
        ("x,temperature=warm", "temperature is 'warm', expected a number"),
        ("x,seed=1.5", "seed is '1.5', expected a whole number"),
        ("x,needs_claims=yes", "needs_claims is 'yes', expected true or false"),
        ("x,control=grey", "control is 'grey', expected random or shuffled or blind or no_trace"),
        ("x,orders=none", "orders is 'none', expected shown or both"),
        ("x,image_backend=cv2", "image_backend is 'cv2', expected pil or torchvision"),
        ("x,redaction=all", "redaction is 'all', expected none or answer or verdict or evidence"),
        ("x,control=random", "has x with control random, expected a model"),
        ("x=", "has no model with control None"),
        ("x,engine=local,engine_options={}", "engine_options are of engine vllm, and the engine is local"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_listener(text)
    assert problem in str(caught.value)


def test_a_listener_sees_images_as_the_reasoner_does_but_for_what_is_said_of_it() -> None:
    reasoner = Sight(900, 1600, "torchvision")

    def sight(options: str) -> Sight:
        return parse_listener(f"x{options}").filled(batch_size=1, device="cpu", dtype="auto", sight=reasoner).sight

    assert sight("") == reasoner
    assert sight(",max_pixels=1000,image_backend=pil") == Sight(900, 1000, "pil")
    # A limit of the reasoner's that crosses the listener's gives way.
    assert sight(",max_pixels=400") == Sight(400, 400, "torchvision")
    assert sight(",min_pixels=2500") == Sight(2500, 2500, "torchvision")


def test_listeners_are_named_by_the_user_or_by_their_folder() -> None:
    named = parse_listeners(["models/kin", "far=org/name", "world:held-out", "http://h:1", "org/a+org/b"])
    assert list(named) == ["kin", "far", "world:held-out", "http://h:1", "a+b"]
    with pytest.raises(InputError, match="two listeners are called 'a'"):
        parse_listeners(["a=x", "a=y"])


def test_another_working_directory_changes_folders_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_listener("model+org/name").absolute().sources == (str(tmp_path / "model"), "org/name")
