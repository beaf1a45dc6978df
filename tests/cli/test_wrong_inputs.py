"""What people type by mistake: each is one line that says what was found and what to do, and leaves nothing behind.

A case is the words after `earshot` and what the line must hold, in this order.
"""

import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.world.make import Recipe, make_set

MODEL = "--model world:reasoner"
COMPARE = f"compare {MODEL} --prompt p"
EVAL = f"eval {MODEL} --data set --out x"
ATTACK = "lab attack --listener world:listener --data set"

CASES = [
    # Commands and options.
    ("help", "no command 'help'", "earshot --help"),
    ("version", "no command 'version'", "earshot --version"),
    ("evaluate set", "did you mean 'eval'?"),
    ("train configs/x.yaml", "did you mean 'earshot train sft|grpo configs/x.yaml'?"),
    ("train help", "did you mean 'earshot train --help'?"),
    ("data chek set", "did you mean 'check'?"),
    ("lab bnech", "did you mean 'bench'?"),
    ("world mak out", "did you mean 'make'?"),
    ("doctor extra", "extra", "see 'earshot doctor --help'"),
    ("compare --modle x", "--modle", "--model"),
    ("compare --model", "'--model' requires an argument", "--help"),
    ("judge set", "Missing argument 'out'", "see 'earshot judge --help'"),
    # Pictures and prompts.
    (f"{COMPARE} one.png two.png three.png", "3 images", "expected 2", "'earshot rank'"),
    (f"{COMPARE} one.png", "1 image given, expected 2"),
    (f"rank {MODEL} --prompt p one.png", "1 image", "at least 2"),
    (f"compare {MODEL} --prompt ' ' one.png two.png", "prompt: is blank, expected the text"),
    (f"{COMPARE} gone.png two.png", "FIRST: gone.png: is missing, expected an image file"),
    (f"{COMPARE} one.png 'a b.png'", "SECOND: a b.png: is missing"),
    (f"{COMPARE} one.png ~/gone.png", "home/gone.png: is missing"),
    (f"{COMPARE} one.png empty.png", "empty.png: is empty; expected the bytes of an image"),
    (f"{COMPARE} one.png text.png", "text.png: is no JPEG or PNG or WEBP", "convert"),
    (f"{COMPARE} one.png set", "SECOND: set: cannot be read (Is a directory)"),
    (f"{COMPARE} one.png https://example.com/a.png", "is a link, and none is opened; expected a path"),
    (f"rank {MODEL} --prompt p one.png gone.png", "IMAGE 2: gone.png: is missing"),
    # Devices, models, listeners, prompt sets.
    (f"{COMPARE} --device cuda:0 one.png two.png", "'cuda:0' is not one of 'auto', 'cpu', 'cuda'"),
    (f"{COMPARE} --device gpu one.png two.png", "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
    (f"{COMPARE} --device cuda one.png two.png", "'cuda' was asked for", "use device 'cpu' or 'auto'"),
    (f"{COMPARE} --dtype float16 one.png two.png", "'float16' is not one of 'auto', 'float32', 'bfloat16'"),
    ("compare --model mine --prompt p one.png two.png", "mine: the folder holds no config.json", "is in mine/model"),
    ("compare --model emptydir --prompt p one.png two.png", "emptydir: the folder holds no config.json"),
    ("compare --model '' --prompt p one.png two.png", "a model is called '', expected a folder, a hub id"),
    ("compare --model one.png --prompt p one.png two.png", "one.png: not a folder, expected one with config.json"),
    ("compare --model ./gone --prompt p one.png two.png", "./gone: no such folder, expected one with config.json"),
    ("compare --model world:nobody --prompt p one.png two.png", "no such model, expected one of: world:held-out"),
    ("compare --model Some/Model-7B --prompt p one.png two.png", "no such folder", "'hf download Some/Model-7B'"),
    ("compare --model http://127.0.0.1:1 --prompt p one.png two.png", "no answer", "or http://HOST:PORT/v1#NAME"),
    (f"{COMPARE} --listener mine one.png two.png", "a model is in mine/model"),
    (f"{COMPARE} --listener world:listner one.png two.png", "world:listner: no such model", "world:listener"),
    (f"{COMPARE} --listener world:listener,orderz=both one.png two.png", "'orderz'; the nearest known key is 'orders'"),
    (f"{COMPARE} --listener world:listener,dtype=f16 one.png two.png", "dtype is 'f16', expected auto or float32"),
    (f"{COMPARE} --listener world:listener,temperature=nan one.png two.png", "nan, expected a finite number above 0"),
    (f"{COMPARE} --listener world:listener,timeout_s=-1 one.png two.png", "timeout_s is -1", "above 0"),
    (f"{COMPARE} --listener world:listener,prompts=x one.png two.png", "prompts 'x': no such file", "standard"),
    (f"{COMPARE} --listener a=mine --listener a=gone one.png two.png", "two listeners are called 'a'", "NAME=MODEL"),
    (f"{COMPARE} --decide somebody one.png two.png", "decide is 'somebody', expected one of author"),
    (f"{COMPARE} --prompts nosuch one.png two.png", "prompts 'nosuch': no such file, expected one or a name"),
    (f"{COMPARE} --prompts bad.yaml one.png two.png", "bad.yaml:1: expected ',' or ']'"),
    # Numbers.
    (f"{COMPARE} --samples 0 one.png two.png", "'--samples'", "greater than or equal to 1"),
    (f"{COMPARE} --samples many one.png two.png", "'--samples'", "integer"),
    (f"{COMPARE} --samples 2 --temperature 0 one.png two.png", "temperature 0 is greedy", "samples=1"),
    (f"{COMPARE} --temperature nan one.png two.png", "'--temperature'", "greater than or equal to 0"),
    (f"{COMPARE} --temperature inf one.png two.png", "temperature is inf", "finite"),
    (f"{COMPARE} --min-pixels 100 --max-pixels 10 one.png two.png", "min_pixels 100 is above max_pixels 10"),
    # eval and judge.
    (f"eval {MODEL} --data gone --out x", "gone: is no folder, expected a pair set; check the path"),
    (f"eval {MODEL} --data raw --out x", "raw: holds no metadata", "'earshot data import' makes a pair set"),
    (f"eval {MODEL} --data noimages --out x", "has no images", "import the set without --no-images"),
    (f"eval {MODEL} --data lost --out x", "is missing; put the image there or drop the row"),
    (f"eval {MODEL} --data set --out one.png", "one.png: is a file, expected the folder of a run"),
    (f"eval {MODEL} --data set --out one.png/x", "one.png: is a file, expected the folder of a run"),
    (f"eval {MODEL} --data set --out raw", "raw: holds other files and no run; choose an empty or a new folder"),
    (f"{EVAL} --root gone", "gone: is no folder, expected one in which a set's images lie; check --root"),
    (f"{EVAL} --protocol nosuch", "no protocol is called 'nosuch'; expected one of earshot, "),
    (f"{EVAL} --shard 3/2", "--shard is '3/2', expected i/n", "such as 1/8"),
    (f"{EVAL} --workers 2", "--workers", "are for --engine ray"),
    (f"judge set out.csv {MODEL}", "out.csv: judgements are written as parquet", "call it out.parquet"),
    (f"judge set one.png/out.parquet {MODEL}", "one.png: is a file, expected a folder"),
    (f"judge gone.parquet out.parquet {MODEL}", "gone.parquet: is no file, expected a pair set's folder"),
    (f"judge one.png out.parquet {MODEL}", "one.png: ends in '.png', expected a folder, .parquet or .jsonl"),
    (f"judge empty.jsonl out.parquet {MODEL}", "empty.jsonl: holds no JSON object on any line, expected one row"),
    (f"judge set out.parquet {MODEL} --prompt-column text", "expected text and", "--prompt-column"),
    (f"judge set out.parquet {MODEL} --first-column left", "one image column is named", "name both"),
    # train: files and options.
    ("train grpo gone.yaml", "gone.yaml: no such file, expected a YAML configuration", "world-grpo"),
    ("train grpo configs/world-grp.yaml", "no such file", "such as 'world-grpo'"),
    ("train grpo emptydir", "emptydir: is a folder, expected a YAML configuration"),
    ("train grpo empty.yaml", "empty.yaml: empty, expected the keys model, data", "configs/ are examples"),
    ("train grpo bad.yaml", "bad.yaml:1: expected ',' or ']'"),
    ("train grpo latin.yaml", "latin.yaml: not UTF-8 at byte 17, expected a YAML configuration"),
    ("train grpo named.yaml", "named.yaml:1: 'model' is 'world:reasoner'", "model: {path: world:reasoner}"),
    ("train grpo g.yaml --out x", "No such option: --out", "KEY=VALUE: out=…"),
    ("train grpo g.yaml --learning-rate 1e-5", "KEY=VALUE: trl.learning_rate=…"),
    ("train grpo g.yaml --epochs 3", "KEY=VALUE: trl.num_train_epochs=…"),
    ("train grpo g.yaml --model x", "KEY=VALUE: model.path=…"),
    ("train grpo g.yaml out", "override 'out': expected key=value"),
    ("train sft g.yaml", "g.yaml:4: unknown key 'listener'", "'earshot train grpo'"),
    ("train grpo s.yaml", "s.yaml:2: unknown key 'data.targets'", "'earshot train sft'"),
    # train: keys.
    ("train grpo g.yaml learning_rate=1e-5", "unknown key 'learning_rate'", "trl.learning_rate"),
    ("train grpo g.yaml lr=1e-5", "unknown key 'lr'", "trl.learning_rate"),
    ("train grpo g.yaml trl.lr=1e-5", "trl.lr: unknown key", "'trl.learning_rate'"),
    ("train grpo g.yaml max_steps=5", "did you mean trl.max_steps?"),
    ("train grpo g.yaml batch_size=3", "did you mean trl.per_device_train_batch_size or listener.batch_size"),
    ("train grpo g.yaml lora.rank=8", "lora.rank: unknown key", "'lora.r'"),
    ("train grpo g.yaml rewards.listner=0.5", "'rewards.listner'; the nearest known key is 'rewards.listener'"),
    ("train grpo g.yaml listener.path=x", "'listener.path'; the nearest known key is 'listener.paths'"),
    ("train grpo g.yaml listener.remote.timout_s=1", "the nearest known key is 'listener.remote.timeout_s'"),
    ("train grpo g.yaml every_steps=5", "did you mean evaluation.every_steps"),
    ("train grpo g.yaml data=set", "'data' is 'set', expected keys of its own, as in 'data: {train: set}'"),
    ("train grpo g.yaml trl.output_dir=x", "trl.output_dir: set by Earshot itself; use the key outside 'trl'"),
    # train: values.
    ("train grpo g.yaml model.device=cuda:0", "'model.device' is 'cuda:0', expected 'auto', 'cpu' or 'cuda'"),
    ("train grpo g.yaml rewards.listener=-1", "'rewards.listener' is -1, expected greater than or equal to 0"),
    ("train grpo g.yaml trl.learning_rate=high", "trl.learning_rate is 'high', expected a number"),
    ("train grpo g.yaml trl.learning_rate=-1", "trl.learning_rate is -1, expected a finite number of at least 0"),
    ("train grpo g.yaml trl.weight_decay=.nan", "trl.weight_decay is nan, expected a finite number"),
    ("train grpo g.yaml trl.save_steps=0", "trl.save_steps is 0, expected a finite number above 0"),
    ("train grpo g.yaml trl.max_steps=1.5", "trl.max_steps is 1.5, expected a whole number"),
    ("train grpo g.yaml trl.max_steps=-3", "trl.max_steps is -3, expected a finite number of at least -1"),
    ("train grpo g.yaml trl.temperature=0", "trl.temperature is 0, expected a finite number above 0"),
    ("train grpo g.yaml trl.bf16=yes", "trl.bf16 is 'yes', expected true or false"),
    ("train grpo g.yaml trl.num_generations=1", "trl: GRPOConfig refuses these values", "at least 2 generations"),
    ("train grpo g.yaml trl.report_to=nosuch", "trl.report_to: nosuch is not supported", "tensorboard"),
    ("train grpo g.yaml trl.report_to=wandb", "trl.report_to: 'wandb'", "pip install wandb"),
    ("train grpo g.yaml lora.r=-1", "lora.r is -1, expected a finite number above 0"),
    # train: places.
    ("train grpo g.yaml data.train=gone", "gone: is no folder, expected a pair set; check the path"),
    ("train grpo g.yaml data.train=noimages", "has no images", "without --no-images"),
    ("train grpo g.yaml data.validation=gone evaluation.every_steps=1", "gone: is no folder, expected a pair set"),
    ("train grpo g.yaml model.path=mine", "mine: the folder holds no config.json", "a model is in mine/model"),
    ("train grpo g.yaml listener.paths=Some/Model", "Some/Model: no such folder", "'hf download Some/Model'"),
    ("train grpo g.yaml out=one.png", "one.png: is a file, expected the folder of a run"),
    ("train grpo g.yaml out=raw", "raw: holds other files and no run; choose an empty or a new folder"),
    # serve, report, view.
    (f"serve {MODEL} --port PORT", "PORT of 127.0.0.1 cannot be had", "choose another --port, or 0 for any"),
    (f"serve {MODEL} --host 0.0.0.0", "a key is needed; give --key-file"),
    (f"serve {MODEL} --root-path earshot/", "--root-path is 'earshot/', expected a path such as /earshot"),
    (f"serve {MODEL} --trust-proxy proxy.example", "--trust-proxy is 'proxy.example', expected an address"),
    (f"serve {MODEL} --trust-proxy *", "--trust-proxy is '*', expected an address or a network"),
    (f"serve {MODEL} --tls-key emptykey", "--tls-certificate and --tls-key belong together"),
    (f"serve {MODEL} --tls-certificate gone --tls-key gone", "gone: cannot be read", "expected a private key"),
    (f"serve {MODEL} --key-file gone", "gone: cannot be read", "expected a file with keys"),
    (f"serve {MODEL} --key-file emptykey", "emptykey: holds no keys", "expected lines of 'NAME KEY'", ">> emptykey"),
    (f"serve {MODEL} --key-file own.csv", "own.csv: others on this machine may read it"),
    ("report gone", "gone: holds no run, expected config.yaml"),
    ("report set --out emptydir", "emptydir: is a folder", "try emptydir/report.html"),
    ("view emptydir", "emptydir: holds no predictions.jsonl", "'earshot eval --model MODEL"),
    ("view own.csv", "own.csv: is no folder, expected a run directory"),
    # metrics.
    ("metrics", "nothing to measure: give PREDICTIONS, or --data"),
    ("metrics gone.csv --data set", "gone.csv: is no file, expected scores or choices; check the path"),
    ("metrics empty.csv --data set", "empty.csv: is empty, expected rows of answers"),
    ("metrics own.csv --data set", "has the columns picture, rating, expected", "'image,score'", "--image-column NAME"),
    ("metrics nan.csv --data set", "nan.csv row 1: a score is nan, expected a finite number"),
    ("metrics latin.csv --data set", "latin.csv: is no CSV in UTF-8", "mend the file"),
    ("metrics one.png --data set", "one.png: ends in '.png', expected one of .jsonl"),
    ("metrics scores.csv --data noimages", "has no images", "import the set without --no-images"),
    ("metrics scores.csv scores.csv --data set", "scores.csv: is given twice", "leave one out"),
    ("metrics scores.csv --data set --image-column nosuch", "has no column nosuch", "image, score; correct the name"),
    ("metrics --list nosuch", "no protocol is called 'nosuch'; expected one of earshot"),
    # data and world.
    ("data check raw", "raw: holds no metadata", "'earshot data import' makes a pair set"),
    ("data check one.png", "one.png: is no folder, expected a pair set; check the path"),
    ("data import nosuch raw out", "no published set is called 'nosuch'; expected one of imagereward"),
    ("data import imagereward emptydir out", "emptydir: expected one *.json, found none"),
    ("data split set out --validation 200%", "validation is '200%', expected a share such as 5%"),
    ("data split set out", "give the size of another, such as --validation 5%"),
    ("data split set one.png --validation 2", "one.png: is a file, expected a folder for the pair set"),
    ("data overlap set emptydir", "emptydir: holds no metadata"),
    ("data overlap set set --out emptydir", "emptydir: is a folder", "try emptydir/overlap.jsonl"),
    ("world make out --sets trian", "no set 'trian', did you mean 'train'?"),
    ("world make one.png", "one.png: is a file, expected a folder for the pair set"),
    ("world pretrain out --scale nan", "'--scale'"),
    # doctor, quickstart, lab.
    ("doctor --model mine", "a model is in mine/model"),
    ("doctor --max-new-tokens 5", "give --model"),
    ("quickstart --out set", "set: holds files already; remove it, or choose another folder with --out"),
    ("quickstart --steps 0", "'--steps'", "greater than or equal to 1"),
    ("lab bench step pixel=224", "unknown key 'pixel'; the nearest known key is 'pixels'"),
    ("lab bench step device=cuda:0", "'device' is 'cuda:0', expected 'auto', 'cpu' or 'cuda'"),
    (f"{ATTACK} --out one.png", "one.png: is a file, expected a folder"),
    (f"{ATTACK} --out o --device cuda:0", "'cuda:0' is not one of"),
    (f"{ATTACK} --out o --dtype f16", "'f16' is not one of"),
    (f"{ATTACK} --out o --redaction all", "--redaction is 'all', expected none or answer or verdict or evidence"),
    ("lab experiment run experiments/smoke --arms nosuch", "no arm 'nosuch'; expected some of naive"),
    ("lab experiment run experiments/smoke --seeds a-b", "seeds are 'a-b', expected such as 0-4"),
    ("lab experiment run experiments/smoke sees=3", "unknown key 'sees'; the nearest known key is 'seeds'"),
    ("lab experiment report raw", "raw: holds no summary.json", "'earshot lab experiment summarise raw' makes them"),
    ("lab experiment report gone", "gone: is no folder, expected an experiment's"),
    ("lab experiment control --difference nan", "'--difference'"),
]

GRPO = """model: {path: world:reasoner}
data: {train: set, validation: set}
out: runs/x
listener: {paths: world:listener}
trl: {max_steps: 2, per_device_train_batch_size: 8, num_generations: 4}
"""
FILES: dict[str, str | bytes] = {
    "g.yaml": GRPO,
    "s.yaml": "model: {path: world:reasoner}\ndata: {train: set, targets: traces}\nout: runs/s\n",
    "named.yaml": "model: world:reasoner\ndata: {train: set}\nout: o\nrewards: {listener: 0}\n",
    "bad.yaml": "model: [unclosed",
    "latin.yaml": "model: {path: café}".encode("latin-1"),
    "own.csv": "picture,rating\na.png,1\n",
    "scores.csv": "image,score\na.png,1\n",
    "nan.csv": "image,score\na.png,nan\n",
    "latin.csv": "image,score\ncafé,1\n".encode("latin-1"),
    "text.png": "no picture",
    "raw/test.json": "[]",
    "mine/model/config.json": "{}",
    **dict.fromkeys(("empty.yaml", "empty.png", "empty.csv", "empty.jsonl", "emptykey", "home/.keep"), ""),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what people may have lying about."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "emptykey").chmod(0o600)
    for name in ("one.png", "two.png", "three.png"):
        Image.new("RGB", (56, 56), "red").save(folder / name)
    (folder / "emptydir").mkdir()
    make_set(folder / "set", Recipe("train"), 4, workers=1)
    for name, first in (("noimages", None), ("lost", "images/gone.png")):
        row = {"id": "a", "prompt": "a cat", "first_file_name": first, "second_file_name": first}
        (folder / name).mkdir()
        (folder / name / "metadata.jsonl").write_text(json.dumps({**row, "votes_first": 1, "votes_second": 0}) + "\n")
    return folder


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_wrong_input_is_one_line_that_leads_on_and_leaves_nothing_behind(
    case: tuple[str, ...],
    place: Path,
    taken_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    typed, *said = (text.replace("PORT", str(taken_port)) if "PORT " in f"{text} " else text for text in case)
    if "~" in typed:
        monkeypatch.setenv("HOME", str(place / "home"))
    before = sorted(place.rglob("*"))
    code = main(shlex.split(typed))
    printed = capfd.readouterr()
    assert code == 2, printed.err
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
    assert "(unexpected" not in printed.err and "Traceback" not in printed.err
    assert printed.out == ""
    at = 0
    for part in said:
        assert part in printed.err[at:], printed.err
        at = printed.err.index(part, at) + len(part)
    assert sorted(place.rglob("*")) == before
