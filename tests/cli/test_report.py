"""`earshot report`: where the page goes, and what wrong calls get."""

from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.files import append_jsonl
from earshot.locks import sole_writer
from tests.killing import contents, killed_at_each_step


def make_run(path: Path) -> Path:
    append_jsonl(path / "metrics.jsonl", [{"step": step, "reward": step / 2} for step in (1, 2, 3)])
    return path


def test_the_page_of_one_run_goes_into_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert "<svg" in (run / "report.html").read_text()


def test_the_page_of_several_goes_beside_them_or_where_it_is_told(tmp_path: Path) -> None:
    runs = [str(make_run(tmp_path / name)) for name in ("a", "b")]
    assert main(["report", *runs]) == 0
    assert (tmp_path / "report.html").is_file()
    assert main(["report", *runs, "--out", str(tmp_path / "deep" / "page.html")]) == 0
    assert (tmp_path / "deep" / "page.html").is_file()


def test_wrong_calls_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert main(["report", str(make_run(tmp_path / "run")), "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "is a folder" in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))


def test_a_model_card_is_written_instead_of_the_page_or_beside_it(tmp_path: Path) -> None:
    run, card = make_run(tmp_path / "run"), tmp_path / "card.md"
    assert main(["report", str(run), "--markdown", str(card)]) == 0
    assert card.read_text().startswith("---\nlibrary_name: transformers\n")
    assert not (run / "report.html").exists()
    assert main(["report", str(run), "--markdown", str(card), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").is_file()


def test_a_card_cannot_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(make_run(tmp_path / "run")), "--markdown", str(tmp_path)]) == 2
    assert "expected the name of a Markdown file" in capsys.readouterr().err


def test_killed_at_any_step_the_same_command_leaves_the_page_and_nothing_else(tmp_path: Path) -> None:
    run, card = make_run(tmp_path / "run"), tmp_path / "card.md"
    words = ["report", str(run), "--markdown", str(card)]
    assert main(words) == 0
    expected = contents(tmp_path)
    card.unlink()
    n_kills = 0
    for _ in killed_at_each_step(lambda: main(words), tmp_path):
        n_kills += 1
        assert main(words) == 0
        assert contents(tmp_path) == expected
        card.write_text("of an older run")
    assert n_kills >= 5


def test_a_page_has_one_writer_and_a_run_that_is_written_can_be_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    with sole_writer(run):
        assert main(["report", str(run)]) == 0
        with sole_writer(run / "report.html"):
            assert main(["report", str(run)]) == 2
    assert "report.html: another process writes there (process " in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "report.html"]
