"""The page of an experiment: tables and figures, from its summary alone."""

from pathlib import Path

from earshot.files import write_text
from earshot.lab.experiment.figures import accuracy_against_disagreement, endpoints_by_arm
from earshot.lab.experiment.summary import Summary
from earshot.lab.experiment.tables import Results, markdown

PAGE = "results.md"
SCATTER, FOREST = "accuracy-against-disagreement.svg", "endpoints.svg"


def write_results(summary: Summary, out: Path, *, name: str) -> list[Path]:
    """Writes the page and the figures, and returns their paths.

    The first figure is against the last listener of the plan, by habit the held-out one.
    """
    results = Results(summary)
    out.mkdir(parents=True, exist_ok=True)
    figures = {FOREST: endpoints_by_arm(results, _figure_endpoints(summary))}
    if listeners := summary.about["listeners"]:
        figures = {SCATTER: accuracy_against_disagreement(results, listeners[-1])} | figures
    words = {
        SCATTER: "Arms by disagreement and accuracy; beside it, accuracy where the listener agrees and where not",
        FOREST: "Endpoints by arm, in brackets its seeds, with their intervals; the dotted line is the reference",
    }
    pictures = [f"![{words[file]}]({file})" for file in figures]
    text = "\n\n".join([f"# {name}: results", *pictures, markdown(results)])
    write_text(out / PAGE, text)
    for file, svg in figures.items():
        write_text(out / file, svg)
    return [out / file for file in (PAGE, *figures)]


def _figure_endpoints(summary: Summary) -> list[str]:
    """The primary endpoints; without any, accuracy and the faults."""
    chosen = list(dict.fromkeys(entry["endpoint"] for entry in summary.about["primary"]))
    usual = ["accuracy", "false_claims", *(f"disagreement.{name}" for name in summary.about["listeners"][-1:])]
    return [key for key in (chosen or usual) if key in summary.endpoints] or summary.endpoints[:1]
