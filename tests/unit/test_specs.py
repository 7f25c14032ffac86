"""The spec ledger: every figure has a source and a grade, and what is unknown stays unknown."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unisono.hardware.specs
from unisono.core.errors import HardwareError, SpecError
from unisono.hardware.specs import (
    GRADES,
    QUANTITIES,
    ChipSpec,
    Evidence,
    Figure,
    Quantity,
    find_spec,
    load_specs,
)
from unisono.hardware.specs.figures import UNKNOWN_REASONS
from unisono.hardware.specs.parsing import parse_spec

FOLDER = Path(unisono.hardware.specs.__file__).parent
SPECS = load_specs()
CHIPS = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
RATES = ("bf16", "fp16", "fp32", "tf32", "fp8", "int8")
NAMES = (
    *("br100", "br104", "br106", "br166", "a100", "h100", "h200", "h20", "b200", "b300", "gb200"),
    *("l40s", "mi300x", "ascend-910b", "ascend-910c", "mlu370-x8", "mlu590", "k100-ai", "bw1000"),
    *("s4000", "s5000", "c500", "c550", "bi-v150", "p800", "s60", "arc-b60"),
)


def evidence(spec: ChipSpec) -> list[Evidence]:
    return [
        found
        for quantity in spec.quantities.values()
        for found in (
            quantity.nominal,
            quantity.unsupported,
            *quantity.measured,
            *quantity.conflicts,
        )
        if found is not None
    ]


# -- what the ledger holds --------------------------------------------------------------------


def test_every_file_is_a_chip_of_that_name() -> None:
    assert sorted(SPECS) == sorted(path.stem for path in FOLDER.glob("*.toml"))
    assert all(spec.id == name for name, spec in SPECS.items())


def test_the_api_is_what_is_documented() -> None:
    for name in unisono.hardware.specs.__all__:
        assert getattr(unisono.hardware.specs, name) is not None
    found = load_specs()
    found.clear()
    assert load_specs() == SPECS


def test_names_are_unique() -> None:
    names = [name for spec in SPECS.values() for name in (spec.id, *spec.aliases)]
    plain = [name.replace("-", "") for name in names]
    assert len(set(plain)) == len(plain)


@pytest.mark.parametrize("name", NAMES)
def test_the_names_people_use(name: str) -> None:
    spec = find_spec(name)
    assert name in (spec.id, *spec.aliases)


@CHIPS
def test_every_figure_has_a_source_and_a_grade(spec: ChipSpec) -> None:
    assert tuple(spec.quantities) == tuple(QUANTITIES)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", spec.id)
    assert spec.name
    assert spec.vendor
    for found in evidence(spec):
        assert found.source.strip()
        assert found.grade in GRADES
        assert re.fullmatch(r"20\d\d-\d\d", found.retrieved)


@CHIPS
def test_each_quantity_is_known_unsupported_or_unknown(spec: ChipSpec) -> None:
    for name, quantity in spec.quantities.items():
        states = (quantity.nominal, quantity.unsupported, quantity.unknown)
        assert sum(state is not None for state in states) == 1, name
        assert quantity.unknown is None or quantity.unknown in UNKNOWN_REASONS
        assert quantity.unknown != "sources contradict" or quantity.conflicts
        assert (spec.base(name) is None) == (quantity.nominal is None)
        assert all(figure.grade == "measured" for figure in quantity.measured)
        assert quantity.nominal is None or quantity.nominal.grade != "measured"


@CHIPS
def test_units_fit_the_quantity(spec: ChipSpec) -> None:
    for name, quantity in spec.quantities.items():
        for figure in (quantity.nominal, *quantity.measured, *quantity.conflicts):
            if figure is not None:
                assert figure.unit in QUANTITIES[name].units
                assert (figure.direction is not None) == (name == "link_bandwidth")
    assert QUANTITIES["int8"].units == ("TOPS",)
    assert all(QUANTITIES[name].units == ("TFLOPS",) for name in RATES if name != "int8")


LIKELY = {
    "memory": (8e9, 512e9),
    "memory_bandwidth": (100e9, 20e12),
    "link_bandwidth": (10e9, 2e12),
    "board_power": (50, 2000),
    **dict.fromkeys(RATES, (1e12, 20e15)),
}


@CHIPS
def test_figures_are_plausible(spec: ChipSpec) -> None:
    for name, (low, high) in LIKELY.items():
        for value in (spec.base(name), spec.measured_base(name)):
            assert value is None or low <= value <= high, name
    bf16 = spec.base("bf16")
    if bf16 is not None:
        at_most = {"fp16": 10, "fp32": 1, "tf32": 1, "fp8": 3, "int8": 3}
        for name, factor in at_most.items():
            assert (spec.base(name) or 0) <= bf16 * factor, f"{name}: a rate with sparsity?"
        assert (spec.base("fp16") or bf16) * 10 >= bf16


SEVERAL_CHIPS_UNDER_ONE_NAME = {"ascend-910b"}


@CHIPS
def test_no_measurement_is_above_the_published_figure(spec: ChipSpec) -> None:
    for name in QUANTITIES:
        nominal, measured = spec.base(name), spec.measured_base(name)
        if nominal is None or measured is None or spec.id in SEVERAL_CHIPS_UNDER_ONE_NAME:
            continue
        gigabytes_or_gibibytes = 1.08 if name == "memory" else 1
        assert measured <= nominal * gigabytes_or_gibibytes, name


def test_figures_without_an_origin_stay_out() -> None:
    for name in ("br166", "br166l", "br166c"):
        spec = find_spec(name)
        assert spec.base("bf16") is None
        assert spec.base("memory") is None
        text = (FOLDER / f"{spec.id}.toml").read_text("utf-8")
        assert not re.search(r"\b(800|128)(\.0)?\b", text)


def test_sources_name_a_place_or_a_publication() -> None:
    for spec in SPECS.values():
        for found in evidence(spec):
            assert not re.search(r"secondary|^/|\s/|TODO", found.source)


# -- what is known of some chips --------------------------------------------------------------


def test_base_units() -> None:
    a100 = find_spec("a100")
    assert a100.base("memory") == 80 * 2**30
    assert a100.base("memory_bandwidth") == 2039e9
    assert a100.base("bf16") == 312e12
    assert a100.base("int8") == 624e12
    assert a100.base("board_power") == 400
    assert find_spec("gb200").base("memory") == 189_471 * 2**20
    assert find_spec("br100").base("memory") == 64e9


def test_a_link_is_per_direction() -> None:
    assert find_spec("a100").base("link_bandwidth") == 300e9
    assert find_spec("br100").base("link_bandwidth") == 256e9


def test_measured_beside_nominal() -> None:
    bf16 = find_spec("a100").quantities["bf16"]
    assert bf16.nominal is not None
    assert bf16.nominal.grade == "vendor"
    assert 259.2 in [figure.value for figure in bf16.measured]
    assert find_spec("a100").measured_base("memory_bandwidth") is None


def test_unknown_stays_unknown() -> None:
    for name in QUANTITIES:
        assert find_spec("mlu590").base(name) is None
    assert [figure.value for figure in find_spec("mlu590").quantities["memory"].conflicts] == [
        *(64, 48, 96)
    ]
    br106 = find_spec("br106")
    assert br106.base("memory") is None
    assert br106.measured_base("memory") == 32_512 * 2**20
    assert br106.quantities["bf16"].unknown == "not disclosed by the vendor"


def test_a_part_of_a_card_is_no_card() -> None:
    bandwidth = find_spec("br166").quantities["memory_bandwidth"]
    assert len(bandwidth.measured) == 2
    assert bandwidth.best_measured is None


def test_both_numbers_are_kept_where_the_vendor_has_two() -> None:
    memory = find_spec("b200").quantities["memory"]
    assert memory.nominal is not None
    assert memory.nominal.value == 180
    assert [figure.value for figure in memory.conflicts] == [192]


def test_unsupported_is_not_unknown() -> None:
    fp8 = find_spec("br100").quantities["fp8"]
    assert fp8.unsupported is not None
    assert fp8.unsupported.grade == "vendor"
    assert fp8.unknown is None
    assert find_spec("br100").base("fp8") is None


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H100", "h100-SXM", " h100 ", "H100_SXM", "nvidia h100"])
def test_case_and_separators_do_not_matter(name: str) -> None:
    assert find_spec(name).id == "h100"


def test_an_unknown_name_gets_near_ones() -> None:
    with pytest.raises(SpecError, match="'h101' is not a chip") as caught:
        find_spec("h101")
    assert "h100" in caught.value.hint
    assert "unisono specs" in caught.value.hint
    assert isinstance(caught.value, HardwareError)


@pytest.mark.parametrize("name", ["", "-", "zzzzzzzzzz", "../../etc/passwd", "显卡"])
def test_a_hopeless_name(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        find_spec(name)
    assert caught.value.hint == "`unisono specs` lists them all."


def test_an_unknown_quantity_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        find_spec("a100").base("bf61")


def test_the_ledger_imports_no_torch() -> None:
    code = (
        "import sys; from unisono.hardware.specs import find_spec; find_spec('a100');"
        " sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- strict parsing ---------------------------------------------------------------------------

EVIDENCE = 'source = "example.org"\ngrade = "vendor"\n'
MEMORY = f'value = 64\nunit = "GB"\n{EVIDENCE}'


def chip_text(head: str = "", **tables: str) -> str:
    """A whole file; ``tables`` replace the text of a quantity, "" leaves it out."""
    top = 'id = "x1"\nname = "X1"\nvendor = "X"\naliases = []\nnotes = []\nretrieved = "2026-11"\n'
    texts = dict.fromkeys(QUANTITIES, 'unknown = "not found"\n') | {"memory": MEMORY} | tables
    return f"{top}{head}" + "".join(f"[{name}]\n{text}" for name, text in texts.items() if text)


def parse(text: str) -> ChipSpec:
    return parse_spec(text, "x1.toml")


def test_a_file_as_it_should_be() -> None:
    spec = parse(chip_text())
    memory = spec.quantities["memory"].nominal
    assert memory == Figure(
        value=64.0, unit="GB", source="example.org", grade="vendor", retrieved="2026-11"
    )
    assert spec.quantities["bf16"] == Quantity(name="bf16", unknown="not found")
    assert spec.base("memory") == 64e9


MEASURED = '[[bf16.measured]]\nvalue = 1\nunit = "TFLOPS"\nsource = "x"\n'
LINK = f'value = 1\nunit = "GB/s"\n{EVIDENCE}'
WRONG = {
    "no TOML": ("id = ", "x1.toml is not TOML"),
    "unknown key": (chip_text("price = 1\n"), "x1.toml, price: is not a known key."),
    "unknown key of a figure": (
        chip_text(memory=f"{MEMORY}sauce = 'a'\n"),
        "x1.toml, memory.sauce: is not a known key.",
    ),
    "quantity missing": (chip_text(fp8=""), "x1.toml, fp8: is missing."),
    "no table": (chip_text("bf16 = 1\n", bf16=""), "x1.toml, bf16: is a int, not a dict."),
    "no source": (
        chip_text(memory='value = 64\nunit = "GB"\ngrade = "vendor"\n'),
        "x1.toml, memory.source: is missing.",
    ),
    "empty source": (
        chip_text(memory=MEMORY.replace("example.org", " ")),
        "x1.toml, memory.source: is empty.",
    ),
    "no grade": (
        chip_text(memory='value = 64\nunit = "GB"\nsource = "x"\n'),
        "x1.toml, memory.grade: is missing.",
    ),
    "wrong grade": (
        chip_text(memory=MEMORY.replace('"vendor"', '"official"')),
        "x1.toml, memory.grade: 'official' is not one of vendor, reseller",
    ),
    "wrong unit": (
        chip_text(memory=MEMORY.replace('"GB"', '"TB"')),
        "x1.toml, memory.unit: 'TB' is not one of GB, GiB, MiB.",
    ),
    "TOPS for TFLOPS": (
        chip_text(bf16=f'value = 1\nunit = "TOPS"\n{EVIDENCE}'),
        "x1.toml, bf16.unit: 'TOPS' is not one of TFLOPS.",
    ),
    "TFLOPS for TOPS": (
        chip_text(int8=f'value = 1\nunit = "TFLOPS"\n{EVIDENCE}'),
        "x1.toml, int8.unit: 'TFLOPS' is not one of TOPS.",
    ),
    "text for a value": (
        chip_text(memory=MEMORY.replace("64", '"64"')),
        "x1.toml, memory.value: is not a number.",
    ),
    "a truth for a value": (
        chip_text(memory=MEMORY.replace("64", "true")),
        "x1.toml, memory.value: is not a number.",
    ),
    "zero": (
        chip_text(memory=MEMORY.replace("64", "0")),
        "x1.toml, memory.value: is not positive.",
    ),
    "not a number": (
        chip_text(memory=MEMORY.replace("64", "nan")),
        "x1.toml, memory.value: is not positive.",
    ),
    "infinite": (
        chip_text(memory=MEMORY.replace("64", "inf")),
        "x1.toml, memory.value: is not positive.",
    ),
    "neither value nor unknown": (
        chip_text(memory='note = "?"\n'),
        "x1.toml, memory: needs exactly one of value, unknown, unsupported.",
    ),
    "value and unknown": (
        chip_text(memory=f'{MEMORY}unknown = "not found"\n'),
        "x1.toml, memory: needs exactly one of value, unknown, unsupported.",
    ),
    "another reason": (
        chip_text(memory='unknown = "forgotten"\n'),
        "x1.toml, memory.unknown: 'forgotten' is not one of not disclosed by the vendor",
    ),
    "a contradiction of nothing": (
        chip_text(memory='unknown = "sources contradict"\n'),
        "x1.toml, memory.unknown: sources that contradict are listed under conflicts.",
    ),
    "unknown with a source": (
        chip_text(memory='unknown = "not found"\nsource = "x"\n'),
        "x1.toml, memory.source: is not a known key.",
    ),
    "unsupported without evidence": (
        chip_text(fp8="unsupported = true\n"),
        "x1.toml, fp8.source: is missing.",
    ),
    "not unsupported": (
        chip_text(fp8=f"unsupported = false\n{EVIDENCE}"),
        "x1.toml, fp8.unsupported: can only be true.",
    ),
    "memory unsupported": (
        chip_text(memory=f"unsupported = true\n{EVIDENCE}"),
        "x1.toml, memory.unsupported: is for arithmetic types alone.",
    ),
    "a link without direction": (
        chip_text(link_bandwidth=LINK),
        "x1.toml, link_bandwidth.direction: is missing.",
    ),
    "a direction that is none": (
        chip_text(link_bandwidth=f'{LINK}direction = "up"\n'),
        "x1.toml, link_bandwidth.direction: 'up' is not one of both, one way.",
    ),
    "memory with a direction": (
        chip_text(memory=f'{MEMORY}direction = "both"\n'),
        "x1.toml, memory.direction: is not a known key.",
    ),
    "nominal that is measured": (
        chip_text(memory=MEMORY.replace('"vendor"', '"measured"')),
        "x1.toml, memory.grade: a measurement belongs under measured.",
    ),
    "measured by whom": (
        chip_text(bf16=f'unknown = "not found"\n{MEASURED}grade = "press"\n'),
        "x1.toml, bf16.measured[0].grade: has to be measured.",
    ),
    "measured without grade": (
        chip_text(bf16=f'unknown = "not found"\n{MEASURED}'),
        "x1.toml, bf16.measured[0].grade: is missing.",
    ),
    "a conflict without source": (
        chip_text(
            bf16='unknown = "sources contradict"\n[[bf16.conflicts]]\nvalue = 1\nunit = "TFLOPS"\n'
        ),
        "x1.toml, bf16.conflicts[0].source: is missing.",
    ),
    "a part of a published figure": (
        chip_text(memory=f'{MEMORY}part = "half"\n'),
        "x1.toml, memory.part: is not a known key.",
    ),
    "measurements that are no tables": (
        chip_text(memory=f"{MEMORY}measured = [64]\n"),
        "x1.toml, memory.measured: is not a list of tables.",
    ),
    "a date that is none": (
        chip_text(memory=f'{MEMORY}date = "May 2026"\n'),
        "x1.toml, memory.date: 'May 2026' is not YYYY, YYYY-MM or YYYY-MM-DD.",
    ),
    "an id that is no id": (
        chip_text().replace('"x1"', '"X 1"'),
        "x1.toml, id: 'X 1' is not in lower case with dashes.",
    ),
    "another file's id": (
        chip_text().replace('"x1"', '"x2"'),
        "x1.toml, id: 'x2' is not the name of the file.",
    ),
    "an alias that is no name": (
        chip_text().replace("aliases = []", 'aliases = ["The X"]'),
        "x1.toml, aliases: 'The X' is not in lower case with dashes.",
    ),
    "notes that are no texts": (
        chip_text().replace("notes = []", "notes = [1]"),
        "x1.toml, notes: is not a list of texts.",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_named_with_its_key(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert caught.value.message.startswith(message)


def test_two_chips_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from unisono.hardware.specs import ledger

    one = parse(chip_text())
    other = parse_spec(
        chip_text().replace('"x1"', '"x2"').replace("aliases = []", 'aliases = ["x-1"]'), "x2.toml"
    )
    monkeypatch.setattr(ledger, "_all_specs", lambda: {"x1": one, "x2": other})
    ledger._by_name.cache_clear()
    try:
        with pytest.raises(SpecError, match=r"x2\.toml, aliases: 'x-1' is a name of x1 too"):
            find_spec("x1")
    finally:
        ledger._by_name.cache_clear()


def test_a_figure_cannot_be_changed() -> None:
    memory = find_spec("a100").quantities["memory"].nominal
    assert memory is not None
    with pytest.raises(AttributeError):
        memory.value = math.inf  # type: ignore[misc]
    with pytest.raises(TypeError):
        find_spec("a100").quantities["memory"] = Quantity(name="memory")  # type: ignore[index]
