"""`nnmass search` without a service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import nnmass
from app.cli import app as all_commands
from nnmass import formatting
from tests.commands import SMALL, run
from tests.core.latencies import profile
from tests.networks import SIZES

pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")


def test_a_search_prints_its_ranking_and_what_is_proved() -> None:
    done = run("search", *SMALL, "--max-macs", "60M", "--top-k", "3")
    answer = nnmass.search("densenet-tiny-free", max_params="100k", max_macs="60M", top_k=3)
    assert (done.exit_code, done.stderr) == (0, "")
    for item in answer:
        assert f"{item.rank} " in done.stdout
        assert f"{item.params:,}" in done.stdout
        assert f"{item.macs:,}" in done.stdout
        assert item.shape in done.stdout
    assert f"The best of {answer.certificate.space_size:,} architectures, proved in" in done.stdout
    assert "Limited by" in done.stdout
    assert "Note: NN-Mass compares networks fairly only at equal width" in done.stdout
    assert "Next: add --save" in done.stdout


def test_search_prints_one_json_document_that_evaluate_reads(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    done = run("search", *SMALL, "--top-k", "3", "--json", "--save", str(path))
    document = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    answer = nnmass.search("densenet-tiny-free", max_params="100k", top_k=3)
    assert nnmass.Answer.from_json(document, document["request"]) == answer
    assert answer.best is not None
    assert json.loads(path.read_text()) == answer.best.definition
    evaluated = json.loads(run("evaluate", "-", "--json", given=done.stdout).stdout)["results"]
    assert [item["arch_id"] for item in evaluated] == [item.arch_id for item in answer]


def test_a_space_is_read_from_a_file_or_standard_input(tmp_path: Path) -> None:
    definition = json.dumps(nnmass.space("resnet-tiny-free"))
    path = tmp_path / "space.json"
    path.write_text(definition)
    documents = [
        json.loads(run("search", *place, "--max-params", "1M", "--json", given=definition).stdout)
        for place in (("--space", str(path)), ("--space", "-"), ("--preset", "resnet-tiny-free"))
    ]
    assert documents[0]["items"] == documents[1]["items"] == documents[2]["items"]


@pytest.mark.parametrize(
    ("given_options", "objective"),
    [
        (("--minimize", "macs", "--min-nn-mass", "9"), {"minimize": "macs", "min_nn_mass": 9.0}),
        (("--minimize", "weight_bytes"), {"minimize": "weight_bytes"}),
        (("--maximize", "macs"), {"maximize": "macs"}),
        (("--pareto", "macs"), {"pareto": ["nn_mass", "macs"]}),
        (("--pareto", "params, macs"), {"pareto": ["nn_mass", "params", "macs"]}),
        (("--pareto", "weight_bytes,macs"), {"pareto": ["nn_mass", "weight_bytes", "macs"]}),
        (("--pareto", "macs", "--points", "5"), {"pareto": ["nn_mass", "macs"], "points": 5}),
        ((), {"maximize": "nn_mass"}),
    ],
)
def test_objective_options_give_the_objective_of_the_request(
    given_options: tuple[str, ...], objective: dict[str, Any]
) -> None:
    done = run("search", "--preset", "densenet-mlp-mnist", "--time-limit", "0.5", *given_options, "--json")
    assert json.loads(done.stdout)["request"]["objective"] == objective
    assert done.exit_code == 0


def test_limit_options_give_the_budget_of_the_request() -> None:
    limits = ("--max-macs", "1.5G", "--max-weight-bytes", "300 KiB", "--max-peak-bytes", "0.5MB")
    done = run("search", *SMALL, *limits, "--precision", "int8", "--diversity", "shape", "--time-limit", "9", "--json")
    request = json.loads(done.stdout)["request"]
    assert request["budget"] == {
        "max_params": 100_000,
        "max_macs": 1_500_000_000,
        "max_weight_bytes": 307_200,
        "max_peak_activation_bytes": 500_000,
        "precision": "int8",
    }
    assert (request["diversity"], request["time_limit_seconds"]) == ("shape", 9.0)


def test_options_set_floors_and_limits_on_nn_mass() -> None:
    floors = ("--min-params", "40k", "--min-macs", "1M", "--min-weight-bytes", "3KiB", "--min-nn-mass", "20")
    done = run("search", *SMALL, *floors, "--max-nn-mass", "60.5", "--json")
    document = json.loads(done.stdout)
    assert document["request"]["objective"] == {"maximize": "nn_mass"}
    assert document["request"]["budget"] == {
        "max_params": 100_000,
        "min_params": 40_000,
        "min_macs": 1_000_000,
        "min_weight_bytes": 3072,
        "min_nn_mass": 20.0,
        "max_nn_mass": 60.5,
        "precision": "fp32",
    }
    least = run("search", *SMALL, "--minimize", "macs", "--min-nn-mass", "20", "--min-params", "40k", "--json")
    request = json.loads(least.stdout)["request"]
    assert request["objective"] == {"minimize": "macs", "min_nn_mass": 20.0}
    assert request["budget"] == {"max_params": 100_000, "min_params": 40_000, "precision": "fp32"}
    front = run("search", *SMALL, "--pareto", "macs", "--min-nn-mass", "60", "--json")
    assert min(item["nn_mass"] for item in json.loads(front.stdout)["items"]) >= 60
    smaller = run("compress", "resnet18", "--max-nn-mass", "1", "--keep-stages", "0", "--keep-params", "0")
    assert (smaller.exit_code, "the reference must have at most the budget's max_nn_mass" in smaller.stderr) == (
        2,
        True,
    )


def test_an_option_limits_the_density_of_every_cell() -> None:
    done = run("search", *SMALL, "--max-density", "0.5", "--json")
    document = json.loads(done.stdout)
    assert document["request"]["budget"] == {"max_params": 100_000, "max_density": 0.5, "precision": "fp32"}
    assert all(cell["density"] <= 0.5 for item in document["items"] for cell in item["cells"])
    assert "density" in document["result"]["binding"][-1]
    text = run("search", *SMALL, "--max-density", "0.5").stdout
    assert re.search(r"Unused by the best: [\d,]+ params and [\d.]+ density\.", text)
    refused = run("search", "--preset", "mobilenet-v2-tiny-free", "--max-density", "0.5")
    assert (refused.exit_code, "--max-density is not available for mobilenet_v2" in refused.stderr) == (2, True)


@pytest.mark.parametrize("share", ["0.95", "95%"])
def test_an_option_spends_a_share_of_the_most_of_a_cost(share: str) -> None:
    done = run("search", *SMALL, "--spend", f"macs={share}", "--top-k", "1", "--json")
    document = json.loads(done.stdout)
    assert document["request"]["spend"] == {"quantity": "macs", "share": 0.95}
    spent = document["result"]["spent"]
    assert document["items"][0]["macs"] >= spent["least"]
    answer = nnmass.search("densenet-tiny-free", max_params="100k", spend={"quantity": "macs", "share": 0.95}, top_k=1)
    assert answer.certificate.spent == spent
    assert "limited by" in str(formatting.binding(document["result"], document["request"])).lower()
    said = run("search", *SMALL, "--spend", f"macs={share}", "--top-k", "1").stdout
    assert "Limited by params and the share to be spent. Easing any one of these limits" in said
    assert re.search(r"The most that fits is [\d,]+ MACs, proved; the networks use at least [\d,]+ MACs\.", said)


def test_an_option_takes_the_limits_of_a_reference() -> None:
    done = run("search", "--within", "resnet18", "--ratio", "macs=55%", "--ratio", "depth=1", "--top-k", "1", "--json")
    document = json.loads(done.stdout)
    answer = nnmass.search(within="resnet18", ratio={"macs": 0.55, "depth": 1}, top_k=1)
    assert (answer.request, answer.best) == (
        document["request"],
        nnmass.Answer.from_json(document, answer.request).best,
    )
    assert document["result"]["within"]["limits"]["max_macs"] == 997_740_339
    said = run("search", "--within", "mlperf-tiny-resnet8", "--max-macs", "9M", "--top-k", "1").stdout
    limits = "78,186 params, 314,664 bytes of weight memory and 196,608 bytes of activation memory"
    assert f"Limits from the reference (NN-Mass 176; arch_24aecd025eb1a1208e8319997ca44204): {limits}." in said
    small = run(
        *("compress", "resnet18", "--keep-stages", "0", "--keep-params", "0"),
        *("--within", "resnet18", "--ratio", "params=0.6", "--top-k", "1", "--json"),
    )
    assert json.loads(small.stdout)["items"][0]["params"] <= 0.6 * 11_689_512


@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        (("search", "--within", "convnext_tiny"), {"params": 28_589_128, "macs": 4_455_531_264}),
        (("search", "--around", "convnext_tiny", "--max-macs", "2G"), {"macs": 2 * 10**9}),
        (("scale", "convnext_tiny", "--max-macs", "2G"), {"macs": 2 * 10**9}),
        (("compress", "convnext_tiny"), {"macs": 4_455_531_264 - 1}),
    ],
)
def test_a_convnext_is_a_reference(asked: tuple[str, ...], limits: dict[str, int]) -> None:
    (best,) = json.loads(run(*asked, "--top-k", "1", "--json").stdout)["items"]
    assert best["architecture"]["family"] == "convnext"
    assert all(best[cost] <= most for cost, most in limits.items())


def test_options_say_what_cells_have_in_common() -> None:
    asked = ("search", *SMALL, "--widths", "equal", "--equal-density", "--equal-skip-channels", "--top-k", "3")
    document = json.loads(run(*asked, "--json").stdout)
    rules = {"widths": "equal", "density": "equal", "skip_channels": "equal"}
    assert document["request"]["structure"] == rules
    for item in document["items"]:
        assert len({(cell["width"], cell["skip_channels"], cell["density"]) for cell in item["cells"]}) == 1
    answer = nnmass.search("densenet-tiny-free", max_params="100k", structure=rules, top_k=3)
    assert [one.arch_id for one in answer] == [item["arch_id"] for item in document["items"]]


def test_several_devices_limit_a_search(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"name": "mine", "flash_bytes": 90_000}))
    asked = ("search", "--preset", "densenet-tiny-free", "--device", "rp2040", "--device", str(mine), "--top-k", "1")
    document = json.loads(run(*asked, "--json").stdout)
    assert [fit["device"] for fit in document["items"][0]["devices"]] == ["rp2040", "mine"]
    said = run(*asked).stdout
    assert re.search(r"Unused by the best on rp2040: [\d.]+ MB weight memory and", said)
    assert re.search(r"Unused by the best on mine: [\d.]+ k?B weight memory\.", said)
    answer = nnmass.search("densenet-tiny-free", devices=["rp2040", json.loads(mine.read_text())], top_k=1)
    assert answer.best is not None
    assert answer.best.devices == document["items"][0]["devices"]
    assert answer.request["budget"]["precision"] == "int8"


def test_options_continue_a_ranking_and_exclude_networks(tmp_path: Path) -> None:
    whole = json.loads(run("search", *SMALL, "--top-k", "6", "--json").stdout)["items"]
    first = tmp_path / "first.json"
    first.write_text(run("search", *SMALL, "--top-k", "2", "--json").stdout)
    later = json.loads(run("search", *SMALL, "--top-k", "4", "--first-rank", "3", "--json").stdout)
    assert later["items"] == whole[2:]
    without = json.loads(run("search", *SMALL, "--top-k", "4", "--exclude", str(first), "--json").stdout)
    assert [item["arch_id"] for item in without["items"]] == [item["arch_id"] for item in whole[2:]]
    assert [item["rank"] for item in without["items"]] == [1, 2, 3, 4]
    said = run("search", *SMALL, "--top-k", "2", "--first-rank", "3").stdout
    assert "Ranks 3 to 4 of" in said
    assert "Unused by rank 3:" in said
    assert "Rank 5 of" in run("search", *SMALL, "--top-k", "1", "--first-rank", "5").stdout
    said = run("search", *SMALL, "--top-k", "1", "--exclude", str(first), "--exclude", "resnet50").stdout
    assert "architectures (3 excluded), proved" in said
    answer = nnmass.search("densenet-tiny-free", max_params="100k", top_k=6)
    rest = nnmass.search("densenet-tiny-free", max_params="100k", top_k=2, exclude=answer[:3], first_rank=2)
    assert [one.arch_id for one in rest] == [one.arch_id for one in answer[4:6]]
    assert rest.certificate.first_rank == 2


def test_a_rank_below_the_last_network_has_none() -> None:
    few = ("--preset", "densenet-tiny-free", "--max-params", "7k", "--first-rank", "5000")
    done = run("search", *few)
    assert done.exit_code == 0
    assert "Fewer than 5,000 of" in done.stdout


def test_sentences_about_floors_say_what_would_help() -> None:
    floored = run("search", *SMALL, "--min-macs", "60M", "--top-k", "1").stdout
    assert "Limited by params and the floor on MACs. Easing any one of these limits would allow" in floored
    assert re.search(r"Unused by the best: [\d,]+ params\. Above the floors: [\d,]+ MACs\.", floored)
    ceiling = run("search", *SMALL, "--max-nn-mass", "50", "--top-k", "1").stdout
    assert "Limited by NN-Mass. A higher limit would allow a better network." in ceiling
    largest = run("search", *SMALL, "--maximize", "macs", "--top-k", "1").stdout
    assert "Limited by params. A higher limit would allow more MACs." in largest
    nothing = run("search", *SMALL, "--min-macs", "60G")
    assert nothing.exit_code == 3
    assert "Changing the params limit alone does not help." in nothing.stdout
    assert re.search(r"Lower the floor on MACs to at most [\d,]+\.", nothing.stdout)
    said = formatting.relaxation({"relaxation": {"min_params": None, "max_nn_mass": 50.5}, "joint_relaxation": None})
    assert said == [
        "Changing the floor on params alone does not help.",
        "The minimum NN-Mass within the budget is 50.5.",
    ]
    joint = {"factor": 2.0, "limits": {"max_macs": 10}, "unchanged": ["min_params", "max_nn_mass"]}
    (said_together,) = formatting.relaxation({"relaxation": {}, "joint_relaxation": joint})
    assert "by a factor of about 2 with the floor on params and NN-Mass unchanged: MACs to 10." in said_together


def test_what_the_time_limit_left_open_is_said() -> None:
    request = {"objective": {"maximize": "nn_mass"}, "budget": {"max_params": 10}}
    cut = {"optimal": False, "feasible": True, "value_proved": True, "gap": 0.0, "count": 10, "space_size": "2000"}
    said = formatting.certificate(cut | {"elapsed_seconds": 1.0}, request)
    assert said == (
        "No better one among 2,000 architectures, proved in 1.0 s; ties with it and later ranks are not proved within "
        "the time limit."
    )
    assert formatting.binding({"binding": None, "unfinished": ["binding"]}, request) == (
        "Which limits restrict the result was not worked out within the time limit."
    )
    for field, lead in {"relaxation": "Which limits to ease", "joint_relaxation": "How far to raise all"}.items():
        (line,) = formatting.relaxation({"relaxation": None, "unfinished": [field]})
        assert line.startswith(lead)
        assert line.endswith("not worked out within the time limit.")


def test_an_infeasible_search_reports_sufficient_limits() -> None:
    done = run("search", "--preset", "densenet-tiny-free", "--max-params", "100", "--save", "/nowhere/at/all")
    assert done.exit_code == 3
    assert re.search(r"None of [\d,]+ architectures fits", done.stdout)
    assert re.search(r"Raise the params limit to at least [\d,]+\.", done.stdout)
    found = json.loads(run("search", "--preset", "densenet-tiny-free", "--max-params", "100", "--json").stdout)
    assert found["result"]["relaxation"]["max_params"] > 100


def test_a_search_whose_limits_only_together_admit_nothing_reports_a_common_factor() -> None:
    tight = ("search", "--preset", "densenet-cifar", "--max-params", "78666", "--max-macs", "12.5M")
    done = run(*tight)
    assert done.exit_code == 3
    assert "Changing the params limit alone does not help." in done.stdout
    together = r"Raise all limits together, by a factor of about [\d.]+: params to ([\d,]+) and MACs to ([\d,]+)\."
    found = re.search(together, done.stdout)
    assert found is not None
    params, macs = (limit.replace(",", "") for limit in found.groups())
    document = json.loads(run(*tight, "--json").stdout)
    assert document["outcome"] == "nothing_fits"
    assert document["result"]["joint_relaxation"]["limits"] == {"max_params": int(params), "max_macs": int(macs)}
    enough = run("search", "--preset", "densenet-cifar", "--max-params", params, "--max-macs", macs, "--json")
    assert (enough.exit_code, json.loads(enough.stdout)["outcome"]) == (0, "proved")


def test_a_front_is_printed_without_ranks_and_without_a_best_network() -> None:
    done = run("search", "--preset", "densenet-mlp-mnist", "--pareto", "params", "--max-macs", "20k")
    assert done.exit_code == 0
    assert done.stdout.split()[:2] == ["point", "NN-Mass"]
    for word in ("rank", "by the best", "The best", "--save"):
        assert word not in done.stdout
    thinned = run(
        "search", "--preset", "densenet-mlp-mnist", "--pareto", "params", "--max-macs", "20k", "--points", "7"
    )
    whole = next(line for line in done.stdout.splitlines() if "the exact front" in line).split()[0]
    assert f"7 of {whole} points: the exact front" in thinned.stdout
    refused = run("search", "--preset", "densenet-mlp-mnist", "--pareto", "params", "--save", "best.json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--save does not apply to a Pareto front" in refused.stderr


def test_tables_name_the_precision_and_the_resolution_where_it_varies() -> None:
    varied = run("search", "--space", "-", "--device", "stm32f746", "--top-k", "2", given=json.dumps(SIZES)).stdout
    assert all(head in varied for head in ("weights, int8", "activations, int8", "resolution"))
    size = nnmass.search(SIZES, device="stm32f746", top_k=1)[0].definition["input"]
    assert f"{size['height']} x {size['width']}" in varied
    fixed = run("search", *SMALL, "--top-k", "2").stdout
    assert "weights, fp32" in fixed
    assert "resolution" not in fixed.splitlines()[0]
    assert "weights, fp16" in run("evaluate", "resnet18", "--precision", "fp16").stdout


def test_several_spaces_are_one_question() -> None:
    limits = ("--max-params", "200k", "--max-macs", "20M", "--top-k", "3")
    both = run("search", "--preset", "resnet-tiny-free", "--preset", "mobilenet-v2-tiny-free", *limits)
    assert both.exit_code == 0
    assert re.search(r"^ rank .* space   stages", both.stdout, re.MULTILINE)
    assert "The best of 34,865,152 architectures in 2 spaces, proved in" in both.stdout
    assert "Space 1 (resnet): 28,672 architectures, 0 listed, none has more than 697.6 NN-Mass." in both.stdout
    definitions = [nnmass.space(name) for name in ("resnet-tiny-free", "mobilenet-v2-tiny-free")]
    given = run("search", "--space", "-", *limits, "--json", given=json.dumps(definitions))
    assert [item["space"] for item in json.loads(given.stdout)["items"]] == [2, 2, 2]
    minimized = ("--minimize", "macs", "--max-params", "200k", "--top-k", "1")
    least = run("search", "--preset", "resnet-tiny-free", "--preset", "mobilenet-v2-tiny-free", *minimized)
    assert re.search(
        r"Space 1 \(resnet\): 28,672 architectures, \d listed, none has less than [\d,]+ MACs\.", least.stdout
    )
    nothing = run("search", "--preset", "resnet-tiny-free", "--preset", "mobilenet-v2-tiny-free", "--max-params", "100")
    assert (nothing.exit_code, nothing.stdout.count("none fits.")) == (3, 2)
    front = run(
        "search",
        "--preset",
        "resnet-tiny-free",
        "--preset",
        "mobilenet-v2-tiny-free",
        *limits[:4],
        "--pareto",
        "params",
    )
    assert re.search(r"Space 2 \(mobilenet_v2\): 34,836,480 architectures, \d+ listed\.", front.stdout)


def test_a_search_without_proof_exits_with_4() -> None:
    done = run("search", "--preset", "densenet-cifar-free", "--time-limit", "0.000001", "--json")
    assert done.exit_code == 4
    assert json.loads(done.stdout)["result"]["optimal"] is False


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ((), "give --preset NAME"),
        (
            ("--preset", "resnet-tiny-free", "--preset", "densenet-tiny-free"),
            "--preset: 1 must have the input of the first space",
        ),
        (("--preset", "resnet-tin"), "--preset must be a full definition or one of"),
        (("--space", "nowhere.json"), "cannot read nowhere.json: No such file"),
        (("--space", "-"), "the space is not JSON"),
        ((*SMALL[:2], "--max-params", "1.2"), "--max-params must be a whole number, such as"),
        ((*SMALL[:2], "--max-params", "-4"), "--max-params must be a whole number, such as"),
        ((*SMALL[:2], "--max-weight-bytes", "3KBit"), "--max-weight-bytes must be a whole number of bytes"),
        ((*SMALL[:2], "--max-peak-bytes", "x"), "--max-peak-bytes must be"),
        ((*SMALL, "--device", "toaster"), "--device must be one of"),
        ((*SMALL, "--device", "STM32F47"), 'or a profile; did you mean "stm32f407"?'),
        (("--preset", "resnet-tin"), 'did you mean "resnet-tiny"?'),
        ((*SMALL, "--minimize", "mac", "--min-nn-mass", "1"), "--minimize must be one of params, macs"),
        ((*SMALL, "--minimize", "mac", "--min-nn-mass", "1"), '; did you mean "macs"?'),
        ((*SMALL, "--top-k", "0"), "--top-k must be at least 1"),
        ((*SMALL, "--top-k", "some"), "--top-k"),
        ((*SMALL, "--precision", "fp64"), "--precision"),
        ((*SMALL, "--time-limit", "0"), "--time-limit must be above 0"),
        ((*SMALL, "--spend", "macs"), "--spend must be a cost and a share, such as macs=0.95 or macs=95%"),
        ((*SMALL, "--spend", "macs=1.5"), "--spend must be a number above 0 and at most 1"),
        ((*SMALL, "--spend", "beauty=0.5"), "--spend must be one of params, macs"),
        ((*SMALL, "--spend", "macs=0.5", "--pareto", "macs"), "--spend applies only where NN-Mass is maximized"),
        (("--within", "resnet1"), '"resnet1" is not a file or a known network'),
        (
            ("--within", "mobilenet_v1"),
            "--space is required: no preset of mobilenet_v1 (mobilenet-v1-vww) has inputs",
        ),
        (
            ("--within", "resnet18", "--ratio", "macs"),
            "--ratio must be a cost and a ratio, such as macs=0.5 or macs=50%",
        ),
        (("--within", "resnet18", "--ratio", "mac=1"), "--ratio: mac must be one of params, macs"),
        (("--within", "resnet18", "--ratio", "macs=1", "--max-macs", "1G"), "--ratio: macs conflicts with max_macs"),
        ((*SMALL, "--ratio", "macs=1"), "--ratio requires within"),
        ((*SMALL, "--device", "rp2040", "--device", "toaster"), "must be one of"),
        ((*SMALL, "--device", "rp2040", "--device", "rp2040"), "--device must have different names"),
        ((*SMALL, "--widths", "rise"), "--widths must be one of equal, never_fall"),
        (("--preset", "resnet-tiny-free", "--equal-density"), "--equal-density means nothing for resnet"),
        (("--preset", "resnet-tiny-free", "--equal-skip-channels"), "--equal-skip-channels means nothing for resnet"),
        ((*SMALL, "--first-rank", "0"), "--first-rank must be at least 1"),
        ((*SMALL, "--first-rank", "9992"), "--first-rank must be at most 9991"),
        ((*SMALL, "--exclude", "resnet5"), '"resnet5" is not a file or a known network. Did you mean resnet56?'),
        (
            (*SMALL, "--first-rank", "2", "--pareto", "macs"),
            "--first-rank does not apply to a Pareto front, which has no ranks",
        ),
        ((*SMALL, "--maximize", "mac"), "--maximize must be one of nn_mass, params, macs, weight_bytes, latency_ms"),
        ((*SMALL, "--maximize", "latency_ms"), "--maximize requires a device with a latency profile"),
        ((*SMALL, "--maximize", "macs", "--minimize", "macs"), "--minimize cannot be combined with --maximize"),
        ((*SMALL, "--min-params", "2M"), "--min-params must be at most max_params, which is 100000"),
        ((*SMALL, "--min-macs", "some"), "--min-macs must be a whole number, such as"),
        ((*SMALL, "--min-latency-ms", "5ms"), "--min-latency-ms requires a device with a latency profile"),
        ((*SMALL, "--batch", "0"), "--batch must be at least 1"),
        ((*SMALL, "--max-depth", "deep"), "--max-depth must be a whole number, such as"),
        ((*SMALL, "--min-depth", "9", "--max-depth", "8"), "--min-depth must be at most max_depth, which is 8"),
        ((*SMALL, "--max-nn-mass", "-3"), "--max-nn-mass must be a number from 0"),
        ((*SMALL, "--min-nn-mass", "3", "--max-nn-mass", "2"), "--min-nn-mass must be at most max_nn_mass, which is 2"),
        ((*SMALL, "--minimize", "macs", "--min-nn-mass", "-1"), "--min-nn-mass must be a number"),
        ((*SMALL, "--pareto", "macs", "--minimize", "macs"), "--pareto cannot be combined with"),
        ((*SMALL, "--pareto", "beauty"), "--pareto must be nn_mass and one or two different ones of"),
        ((*SMALL, "--points", "9"), "--points applies only to a Pareto front"),
        ((*SMALL, "--pareto", "macs", "--points", "2"), "--points must be"),
        ((*SMALL, "--pareto", "macs,macs"), "--pareto must be nn_mass and one or two different ones of"),
        ((*SMALL, "--pareto", "macs,latency_ms"), "--pareto requires a device with a latency profile"),
        ((*SMALL, "--pareto", "macs", "--top-k", "3"), "--top-k does not apply to a Pareto front"),
        ((*SMALL, "--save", "/nowhere/at/all"), "cannot write /nowhere/at/all: No such file"),
        ((*SMALL, "--server", "localhost"), "--server must be an address"),
        ((*SMALL, "--width", "0.5"), "--width needs --around NETWORK"),
        (("--around", "resnet5"), '"resnet5" is not a file or a known network. Did you mean resnet56?'),
        (("--around", "resnet18", "--width", "wide"), "--width must be multipliers: one such as 0.75"),
        (("--around", "resnet18", "--width", "0.5:1,2"), "--width must be multipliers: one such as 0.75"),
        (("--around", "resnet18", "--depth", "0.5:4"), "--depth: max must be a number above 0 and at most 3"),
        (("--around", "resnet152", "--depth", "2"), "--depth makes 72 blocks or layers, more than 64"),
        (("--around", "resnet18", "--keep", "stm"), 'did you mean "stem"?'),
        (("--around", "resnet18", "--keep", "resolution"), "--keep must have stem, or proportions"),
    ],
)
def test_an_invalid_argument_is_reported_by_name(arguments: tuple[str, ...], output: str) -> None:
    done = run("search", *arguments, given="{")
    assert (done.exit_code, done.stdout) == (2, "")
    assert output in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_is_scaled_within_a_budget(tmp_path: Path) -> None:
    limits = ("--max-macs", "9M", "--top-k", "2", "--json")
    scaled = json.loads(run("scale", "mlperf-tiny-resnet8", *limits, "--save", str(tmp_path / "best.json")).stdout)
    around = json.loads(run("search", "--around", "mlperf-tiny-resnet8", *limits).stdout)
    assert scaled["items"] == around["items"]
    assert scaled["request"] == around["request"]
    asked = nnmass.scale("mlperf-tiny-resnet8", max_macs="9M", top_k=2).request
    assert asked == scaled["request"]
    assert json.loads((tmp_path / "best.json").read_text()) == scaled["items"][0]["architecture"]
    axes = ("--width", "0.5:1", "--depth", "1,2", "--keep", "resolution,stem")
    chosen = json.loads(run("search", "--around", str(tmp_path / "best.json"), *axes, *limits).stdout)["request"]
    assert chosen["space"] == {
        "around": scaled["items"][0]["architecture"],
        "keep": ["resolution", "stem"],
        "width": {"min": 0.5, "max": 1.0, "step": 0.05},
        "depth": [1.0, 2.0],
    }


def test_an_invalid_space_names_its_fields() -> None:
    done = run("search", "--space", "-", given='{"family": "resnet", "stages": 4}')
    assert "--space: input is required" in done.stderr
    assert "--space: stages must be a list of objects" in done.stderr


def test_a_search_without_limits_prints_a_note() -> None:
    note = "Note: The request sets no limit"
    assert note in run("search", "--preset", "densenet-tiny-free", "--top-k", "1").stdout
    assert note not in run("search", *SMALL, "--top-k", "1").stdout


def test_a_limit_on_latency_accepts_a_profile_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps(profile()), encoding="utf-8")
    done = run("search", *SMALL, "--device", str(path), "--max-latency-ms", "4ms", "--top-k", "2")
    assert (done.exit_code, done.stderr) == (0, "")
    answer = nnmass.search("densenet-tiny-free", max_params="100k", max_latency_ms=4, device=profile(), top_k=2)
    assert answer.best is not None
    assert answer.best.latency_ms is not None
    assert answer.best.latency is not None
    assert answer.best.latency_ms <= 4
    assert f"{answer.best.latency_ms:.3g} ms" in done.stdout
    assert "estimated latency" in done.stdout
    band = f"{answer.best.latency['low_ms']:.3g} to {answer.best.latency['high_ms']:.3g} ms"
    assert f"estimated for my-board; expect to measure {band}" in done.stdout


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (("--max-latency-ms", "4"), "--max-latency-ms requires a device with a latency profile"),
        (("--max-latency-ms", "soon"), "--max-latency-ms must be milliseconds"),
        (("--device", "nowhere.json"), "cannot read nowhere.json"),
        (("--device", "toaster"), "--device must be one of"),
        (("--minimize", "latency_ms", "--min-nn-mass", "9"), "requires a device"),
    ],
)
def test_a_latency_that_cannot_be_estimated_is_refused_in_one_line(options: tuple[str, ...], output: str) -> None:
    done = run("search", *SMALL, *options)
    assert done.exit_code == 2
    assert output in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["NNMASS_RENOTIFY_SECONDS", "NNMASS_RING_AGAIN_SECONDS"])
def test_a_wrong_setting_is_refused_by_the_name_of_a_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "0")
    answer = CliRunner().invoke(all_commands, ["db", "upgrade"])
    assert answer.exit_code == 2
    assert answer.stderr.startswith("nnmass: NNMASS_RENOTIFY_SECONDS: ")


def test_the_limit_that_is_enough_is_printed_with_all_its_digits() -> None:
    least = {"max_weight_bytes": 1_111_499, "max_latency_ms": 1.234491, "max_params": 276_986.0, "max_macs": None}
    assert formatting.relaxation({"relaxation": least}) == [
        "Raise the weight memory limit to at least 1,111,499 bytes.",
        "Raise the latency limit to at least 1.234491 ms.",
        "Raise the params limit to at least 276,986.",
        "Changing the MACs limit alone does not help.",
    ]


def test_a_default_share_is_said_and_can_be_switched_off() -> None:
    asked = ("search", "--preset", "resnet-tiny", "--max-params", "200k", "--top-k", "1")
    said = run(*asked).stdout
    assert "95 % is the default of spaces that keep proportions: --no-spend" in said
    assert re.search(r"For comparison, the network of most MACs: [\d,]+ params, [\d,]+ MACs; NN-Mass", said)
    off = run(*asked, "--no-spend")
    assert "The most that fits" not in off.stdout
    assert "For comparison" not in off.stdout
    assert nnmass.search("resnet-tiny", max_params="200k", spend=None, top_k=1).certificate.spent is None
    explicit = run(*asked, "--spend", "macs=95%").stdout
    assert "The most that fits" in explicit
    assert "is the default" not in explicit
    both = run(*asked, "--spend", "macs=95%", "--no-spend")
    assert both.exit_code == 2
    assert "--spend conflicts with --no-spend" in both.output
    scaled = ("scale", "resnet20", "--max-macs", "30M", "--top-k", "1")
    assert "is the default" in run(*scaled).stdout
    assert "is the default" not in run(*scaled, "--no-spend").stdout
