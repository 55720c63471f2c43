"""The report of a run: what its figures mean, and what lies in its folder."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from vitrine.model import OutputKind
from vitrine.training import Dataset, Examples, FitConfig, RunFolder, fit, held_out_digit_images, load_dataset
from vitrine.training.cli import main
from vitrine.training.files.run_folder import ReportFolder
from vitrine.training.network.evaluate import percent
from vitrine.training.network.losses import loss_of, losses_of
from vitrine.training.rendering.forms import FORMS
from vitrine.training.rendering.nondigits import LOOK_ALIKE_SETS, NON_DIGITS
from vitrine.training.rendering.stress import EVERY_CONDITION
from vitrine.training.report import FormsPlan, make_report, write_report
from vitrine.training.report.contact_sheet import CELL, SIDE, draw_most_wrong
from vitrine.training.report.curves import wilson_interval
from vitrine.training.report.handwriting import MOST_SHOWN, form_examples
from vitrine.training.report.measurements import MAX_MISTAKES
from vitrine.training.report.mistakes import MIN_LOSS, Mistake, find_mistakes, find_refused
from vitrine.training.report.novelty import NoveltyPlan, NoveltyReport, SetResult
from vitrine.training.report.results import Results
from vitrine.training.report.roc import auroc, roc_curve
from vitrine.training.report.table import Table

WRITTEN = {"REPORT.md", "calibration.png", "confusion_matrix.png", "most_wrong.png", "report.json"}
BY_NOVELTY = {"least_novel.png", "roc.png"}
BY_GROUP = {"handwriting.png"}


def test_auroc_is_the_share_of_pairs_in_order_ties_counted_half() -> None:
    low, high = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert auroc(low, high) == pytest.approx((1.5 + 3) / 6)  # 2 is above 1 and ties with 2; 4 is above all three
    assert auroc(high, low) == pytest.approx(1 - (1.5 + 3) / 6)


def test_auroc_is_a_half_where_scores_tell_nothing_and_1_where_they_tell_all() -> None:
    assert auroc(np.zeros(3), np.zeros(5)) == 0.5
    assert auroc(np.array([1.0, 2.0]), np.array([3.0])) == 1.0


def test_the_area_under_the_curve_is_the_auroc() -> None:
    generator = np.random.default_rng(0)
    low, high = generator.integers(0, 20, 300).astype(float), generator.integers(5, 25, 200).astype(float)
    of_low, of_high = roc_curve(low, high)
    assert (of_low[0], of_high[0], of_low[-1], of_high[-1]) == (0, 0, 1, 1)
    area = (np.diff(of_low) * (of_high[1:] + of_high[:-1]) / 2).sum()
    assert area == pytest.approx(auroc(low, high))


def a_novelty(threshold: float) -> NoveltyReport:
    """Digits of novelty 0 to 9, and four images that show none, of novelty 5, 8.5, 9.5 and 20; two have no ink."""
    pixels = np.zeros((4, 18, 18), np.uint8)
    pixels[:2, 9, 9] = 255
    scores = np.array([5, 8.5, 9.5, 20], np.float32)
    digits = np.arange(10, dtype=np.float32)
    refused = float((scores > threshold).mean())
    outcome = SetResult("shapes", pixels, np.full((4, 10), 0.1, np.float32), scores, auroc(digits, scores), refused)
    return NoveltyReport(NoveltyPlan(), threshold, digits, digits[:4] + 7, 0.75, [outcome])


def test_novelty_up_to_the_threshold_is_kept_and_above_it_refused() -> None:
    document = a_novelty(threshold=8.0).to_dict()
    assert document["digits"] == {"count": 10, "kept": 0.9}
    assert document["printed_digits"] == {"count": 4, "kept": 0.5, "recognised": 0.75}
    (shapes,) = document["sets"]
    assert (shapes["count"], shapes["empty"], shapes["refused"]) == (4, 0.5, 0.75)
    assert shapes["auroc"] == pytest.approx((5.5 + 9 + 10 + 10) / 40)


def test_what_is_refused_is_told_for_shares_of_refused_digits() -> None:
    (shapes,) = a_novelty(threshold=8.0).to_dict()["sets"]
    by_digits = shapes["refused_by_refused_digits"]
    assert by_digits["0.05"] == 0.5  # no digit may be refused: what is above 9
    assert by_digits["0.1"] == 0.75  # one digit may: what is above 8


def test_images_that_pass_where_98_percent_of_digits_are_kept_are_taken_for_digits() -> None:
    digits = np.arange(1, 101, dtype=np.float32)
    scores = np.array([97.5, 98.5, 99.5, 200], np.float32)
    result = SetResult("letters", np.zeros((4, 18, 18), np.uint8), np.full((4, 10), 0.1, np.float32), scores, 1.0, 1.0)
    report = NoveltyReport(NoveltyPlan(), 0.0, digits, digits, 1.0, [result])
    assert report.taken_for_digits(result) == 0.25  # 98 of 100 digits are at 98 or below, and so is one image
    assert report.to_dict()["sets"][0]["taken_for_digits"] == 0.25


OUTPUTS: tuple[OutputKind, ...] = ("softmax", "sigmoid")


@pytest.fixture
def guessed() -> tuple[Examples, torch.Tensor]:
    """Examples, and logits at random that are right about most of them."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 200)
    logits = torch.tensor(generator.normal(0, 2, (200, 10)) + 3 * np.eye(10)[labels], dtype=torch.float32)
    pixels = np.arange(200, dtype=np.uint8)[:, None, None].repeat(18, axis=1).repeat(18, axis=2)
    return Examples(pixels, labels), logits


def mistakes_of(examples: Examples, logits: torch.Tensor, output: OutputKind, count: int = 500) -> list[Mistake]:
    return find_mistakes(examples, results_of(examples, logits, output), count)


def results_of(examples: Examples, logits: torch.Tensor, output: OutputKind) -> Results:
    outputs = torch.softmax(logits, dim=1) if output == "softmax" else torch.sigmoid(logits)
    return Results.of_logits(logits, outputs.numpy(), output, examples.labels)


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_most_wrong_come_by_their_loss_and_none_is_forgotten(
    guessed: tuple[Examples, torch.Tensor], output: OutputKind
) -> None:
    examples, logits = guessed
    mistakes = mistakes_of(examples, logits, output)
    losses = [mistake.loss for mistake in mistakes]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] >= MIN_LOSS
    misclassified = np.flatnonzero(logits.argmax(dim=1).numpy() != examples.labels)
    assert len(misclassified) > 0
    assert sorted(mistake.number for mistake in mistakes if mistake.wrong) == misclassified.tolist()
    assert [mistake.number for mistake in mistakes_of(examples, logits, output, 3)] == [
        mistake.number for mistake in mistakes[:3]
    ]


def test_a_mistake_says_what_was_seen_what_it_is_and_what_it_was_taken_for() -> None:
    logits = torch.zeros(2, 10)
    logits[0, 4], logits[1, 7] = 50, 50
    examples = Examples(np.stack([np.full((18, 18), 9, np.uint8)] * 2), np.array([4, 2]))
    (mistake,) = mistakes_of(examples, logits, "softmax")
    assert (mistake.number, mistake.label, mistake.taken_for, mistake.probability) == (1, "2", "7", 1.0)
    assert mistake.loss == pytest.approx(50)
    assert mistake.pixels[0, 0] == 9


def test_the_refused_are_those_above_the_threshold_the_most_novel_first(
    guessed: tuple[Examples, torch.Tensor],
) -> None:
    examples, logits = guessed
    results = results_of(examples, logits, "softmax")
    threshold = float(np.quantile(results.novelty, 0.9))
    refused = find_refused(examples, results, threshold, 500)
    assert [each.novelty for each in refused] == sorted(results.novelty[results.novelty > threshold], reverse=True)
    assert [each.number for each in find_refused(examples, results, threshold, 3)] == [
        each.number for each in refused[:3]
    ]
    assert find_refused(examples, results, float(results.novelty.max()), 500) == []


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_mean_of_the_losses_is_the_loss(guessed: tuple[Examples, torch.Tensor], output: OutputKind) -> None:
    examples, logits = guessed
    labels = torch.tensor(examples.labels)
    mean = losses_of(output, logits, labels).mean()
    assert float(mean) == pytest.approx(float(loss_of(output, logits, labels)), rel=1e-5)


def test_the_contact_sheet_shows_the_mistakes_in_their_order(
    guessed: tuple[Examples, torch.Tensor], tmp_path: Path
) -> None:
    mistakes = mistakes_of(*guessed, "softmax", count=12)
    draw_most_wrong(mistakes, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (10 * CELL[0], 2 * CELL[1])
        margin = (CELL[0] - SIDE) // 2 + SIDE // 18
        shown = [sheet.getpixel((place % 10 * CELL[0] + margin, place // 10 * CELL[1] + margin)) for place in range(12)]
    assert shown == [(255 - int(mistake.pixels[0, 0]),) * 3 for mistake in mistakes]


def test_a_network_without_mistakes_has_an_empty_sheet(tmp_path: Path) -> None:
    draw_most_wrong([], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert len(sheet.getcolors() or []) == 1


def test_an_interval_is_wide_for_few_images_and_stays_between_0_and_1() -> None:
    low, high = wilson_interval(np.array([0.5, 1.0]), np.array([10, 1]))
    assert (low[0], high[0]) == pytest.approx((0.2366, 0.7634), abs=1e-4)  # as tables have it for 5 of 10
    assert 0 < low[1] < 0.3
    assert high[1] == pytest.approx(1)


def test_a_table_reads_in_a_terminal_and_in_markdown() -> None:
    table = Table(("name", "share"), [("a", "5%"), ("longer", "100%")])
    assert table.to_text().splitlines() == ["name    share", "a          5%", "longer   100%"]
    assert table.to_markdown().splitlines()[1:3] == ["| --- | ---: |", "| a | 5% |"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the embedded digits, which needs no network."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_CACHE_DIR", str(folder / "cache"))
        dataset = load_dataset("digits", progress=False)
    fit(dataset, FitConfig(hidden=(16,), epochs=3, device="cpu"), folder, progress=False)
    return folder


def evaluate(run: Path, *words: str | Path) -> Result:
    result = CliRunner().invoke(main, ["evaluate", str(run), "--quiet", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_evaluate_writes_numbers_pictures_and_a_page_that_shows_them(run: Path, tmp_path: Path) -> None:
    result = evaluate(run, "--out", tmp_path / "report")
    assert names_in(tmp_path / "report") == WRITTEN
    assert result.stdout.rstrip().endswith(str(tmp_path / "report" / "REPORT.md"))
    page = (tmp_path / "report" / "REPORT.md").read_text()
    linked = set(re.findall(r"\]\(([^)]+)\)", page))
    assert linked == WRITTEN - {"REPORT.md"}
    for picture in linked - {"report.json"}:
        with Image.open(tmp_path / "report" / picture) as image:
            assert image.width > 500


def test_what_is_printed_is_what_is_saved(run: Path) -> None:
    printed = json.loads(evaluate(run, "--json").stdout)
    assert printed == json.loads((run / "evaluation" / "report.json").read_text())
    assert printed["novelty"] is printed["stress"] is None
    text = evaluate(run).stdout
    assert f"error {percent(printed['error'])}: {printed['errors']} of {printed['count']} misclassified" in text
    error = printed["calibration"]["expected_calibration_error"]
    assert f"expected calibration error {percent(error)}, in 15 bins" in text
    assert sum(each["count"] for each in printed["calibration"]["bins"]) == printed["count"]


def test_the_most_wrong_are_the_misclassified_and_some_that_are_unsure(run: Path) -> None:
    document = json.loads(evaluate(run, "--json").stdout)
    wrong = [mistake for mistake in document["most_wrong"] if mistake["label"] != mistake["taken_for"]]
    assert len(wrong) == min(document["errors"], MAX_MISTAKES)
    assert all(mistake["loss"] >= math.log(2) for mistake in document["most_wrong"])


def test_the_files_of_the_most_wrong_and_of_the_refused_are_named(run: Path, tmp_path: Path) -> None:
    images, labels = held_out_digit_images()
    wrong = (labels + 1) % 10  # every label is one too high, so that nearly all files are mistakes
    for number, (image, label) in enumerate(zip(images[:120], wrong[:120], strict=True)):
        file = tmp_path / "mine" / str(label) / f"scan-{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    noise = np.random.default_rng(0).integers(0, 256, (18, 18), np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine" / "3" / os.fsdecode(b"noise\n\xff.png"))  # a name in no encoding

    words = ("--dataset", tmp_path / "mine", "--out", tmp_path / "report")
    document = json.loads(evaluate(run, *words, "--json").stdout)
    for listed in (document["most_wrong"], document["refused"]["examples"]):
        assert listed
        for each in listed:
            assert (tmp_path / "mine" / each["file"]).is_file()
            assert each["file"].startswith(each["label"] + "/")
    threshold = json.loads(RunFolder(run).metrics.read_text())["calibration"]["novelty_threshold"]
    assert all(each["novelty"] > threshold for each in document["refused"]["examples"])
    worst, page = document["most_wrong"][0], (tmp_path / "report" / "REPORT.md").read_text()
    row = f"{worst['file']} | {worst['label']} | {worst['taken_for']} | {percent(worst['probability'])}"
    assert row in page.replace("\\", "")
    assert "## Refused images" in page
    printed = evaluate(run, *words).stdout
    assert worst["file"] in printed
    assert f"refused as unlike any class, {document['refused']['count']}:" in printed


def test_examples_that_are_no_files_are_named_by_their_index(run: Path) -> None:
    document = json.loads(evaluate(run, "--json").stdout)
    assert {each["file"] for each in document["most_wrong"]} == {None}
    assert f"| #{document['most_wrong'][0]['number']} |" in (run / "evaluation" / "REPORT.md").read_text().replace(
        "\\", ""
    )


def test_novelty_is_measured_on_every_set_and_on_printed_digits(run: Path, tmp_path: Path) -> None:
    result = evaluate(run, "--novelty", "--count", "12", "--json", "--out", tmp_path / "report")
    novelty = json.loads(result.stdout)["novelty"]
    assert [each["set"] for each in novelty["sets"]] == list(NON_DIGITS)
    assert {each["count"] for each in novelty["sets"]} == {12} == {novelty["printed_digits"]["count"]}
    assert all(0 <= each["auroc"] <= 1 for each in novelty["sets"])
    assert [each["set"] for each in novelty["look_alike_sets"]] == list(LOOK_ALIKE_SETS)
    assert novelty["digits"]["kept"] > 0.9
    assert names_in(tmp_path / "report") == WRITTEN | BY_NOVELTY
    page = (tmp_path / "report" / "REPORT.md").read_text()
    assert set(re.findall(r"\]\(([^)]+)\)", page)) == (WRITTEN | BY_NOVELTY) - {"REPORT.md"}


def test_a_report_takes_the_place_of_the_one_before_and_of_nothing_else(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    evaluate(run, "--novelty", "--count", "2", "--out", folder)
    (folder / "notes.txt").touch()
    evaluate(run, "--out", folder)
    assert names_in(folder) == WRITTEN | {"notes.txt"}


def test_the_stress_set_is_measured_on_the_network_as_it_would_be_served(run: Path, mnist: Path) -> None:
    result = evaluate(run, "--stress", "--count", "1", "--data-dir", mnist, "--out", mnist / "report")
    outcomes = json.loads((mnist / "report" / "report.json").read_text())["stress"]["conditions"]
    assert [outcome["condition"] for outcome in outcomes] == list(EVERY_CONDITION)
    assert "mean over conditions" in result.stdout
    assert ", over forms " in result.stdout
    assert "| phone_photo | 1 |" in (mnist / "report" / "REPORT.md").read_text()


def test_forms_are_measured_each_by_itself_and_shown_on_a_sheet(run: Path, tmp_path: Path) -> None:
    words = ("--forms", "--count", "4", "--out", tmp_path / "report")
    forms = json.loads(evaluate(run, *words, "--json").stdout)["forms"]
    assert [form["name"] for form in forms] == list(FORMS)
    for form in forms:
        digit = str(FORMS[form["name"]].digit)
        assert form["classes"] == {digit: {name: form[name] for name in ("count", "errors", "accuracy")}}
        assert form["count"] == 4
        assert 0 <= form["kept"] <= 1
    assert names_in(tmp_path / "report") == WRITTEN | BY_GROUP
    with Image.open(tmp_path / "report" / "handwriting.png") as sheet:
        assert sheet.height == len(FORMS) * CELL[1]
    page = (tmp_path / "report" / "REPORT.md").read_text()
    assert "| 1 with upstroke | 4 |" in page
    assert "Forms are ways of writing a digit" in page
    assert "Sources are" not in page
    assert "(handwriting.png)" in page


def test_examples_of_several_sources_are_measured_by_source(toy: Dataset, tmp_path: Path) -> None:
    run = fit(toy, FitConfig(hidden=(8,), epochs=2, device="cpu"), tmp_path / "run", progress=False)
    sources = np.array(["mnist", "unipen/ibm", "unipen/ibm"])[np.arange(len(toy.test)) % 3]
    report = make_report(run.checkpoint, replace(toy.test, sources=sources), "toy", progress=False)
    assert [source.name for source in report.sources] == ["mnist", "unipen/ibm"]
    assert sum(source.evaluation.errors for source in report.sources) == report.evaluation.errors
    assert sum(source.evaluation.count for source in report.sources) == len(toy.test)
    assert all(source.hardest for source in report.sources)
    write_report(report, files := ReportFolder(tmp_path / "report"))
    assert files.handwriting.exists()
    page = files.page.read_text()
    assert "| unipen/ibm |" in page
    assert "Sources are data sets" in page
    assert "Forms are" not in page
    assert not make_report(run.checkpoint, toy.test, "toy", progress=False).sources


def test_the_hardest_images_are_the_worst_first_and_right_ones_among_them(toy: Dataset, tmp_path: Path) -> None:
    run = fit(toy, FitConfig(hidden=(8,), epochs=20, device="cpu"), tmp_path / "run", progress=False)
    named = replace(toy.test, sources=np.full(len(toy.test), "only"))
    (only,) = make_report(run.checkpoint, named, "toy", progress=False).sources
    losses = [each.loss for each in only.hardest]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == min(MOST_SHOWN, len(toy.test)) > only.evaluation.errors


def test_forms_are_the_same_from_the_same_seed_and_new_from_another() -> None:
    first, again, other = (form_examples("4 open", FormsPlan(3, seed), (18, 18)).pixels for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_folder_of_fonts_that_has_none_is_an_error_of_one_sentence(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", str(run), "--novelty", "--fonts", str(tmp_path), "--quiet"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path} has no font with Latin letters")


def test_a_report_vanishes_with_the_results_that_it_tells_of(toy: Dataset, tmp_path: Path) -> None:
    fit(toy, FitConfig(hidden=(8,), epochs=1, device="cpu"), tmp_path, progress=False)
    report = ReportFolder(tmp_path / "evaluation")
    report.path.mkdir()
    report.page.touch()
    (report.path / "notes.txt").touch()
    RunFolder(tmp_path).remove_results()
    assert names_in(report.path) == {"notes.txt"}


def test_the_sigmoid_output_has_a_report_too(toy: Dataset, tmp_path: Path) -> None:
    run = fit(toy, FitConfig(hidden=(8,), output="sigmoid", epochs=2, device="cpu"), tmp_path, progress=False)
    report = make_report(run.checkpoint, toy.test, "toy", progress=False)
    assert report.evaluation.count == len(toy.test)
    confidence: npt.NDArray[np.float64] = report.reliability.confidence
    assert np.nanmax(confidence) <= 1
