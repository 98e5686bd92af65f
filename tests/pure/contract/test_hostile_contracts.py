"""Whatever a contract's file holds, it is read or refused with a sentence; nothing crashes."""

import pytest

from breezeway.contract.clock import HOUR, WEEKDAY
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from tests.fixtures.fuzz import Round, rounds

SHIPPED = [file.read_text(encoding="utf-8") for file in Settings.shipped_sensors.glob("*.toml")]
PLANT = (Settings.shipped_sensors / "plant.toml").read_text(encoding="utf-8")

HOSTILE = [
    *("1" * 401, "9" * 5000, "0x" + "f" * 5000, "1e400", "-1e400", "nan", "inf"),
    *("[" * 3000, "(" * 500, "{" * 300, "- " * 3000 + "1", "+".join(["1"] * 6000)),
    *(
        "+".join(["torque"] * 250),
        "1" * 401 + " * torque",
        "1 if 1 else 2",
        "torque[0]",
        "a" * 10**5,
    ),
    *("", "\x00", "\u202e", "[[", "true", "1979-05-27T07:32:00Z", "{a = 1}", "<", "x[1]"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("interval_seconds = 60", "interval_seconds = " + "9" * 5000, "not TOML: .*4300"),
        ("interval_seconds = 60", "interval_seconds = inf", "interval_seconds: .*finite"),
        ("interval_seconds = 60", "interval_seconds = " + "1" * 401, "interval_seconds: "),
        ("interval_seconds = 60", "x = " + "[" * 5000, "nested too deeply"),
        ('"rms(vibration)"', '"' + "1" * 401 + ' * torque"', "larger than a float can be"),
        ('"rms(vibration)"', '"1e999 * torque"', "larger than a float can be"),
        ('"rms(vibration)"', '"' + "+".join(["torque"] * 250) + '"', "more than 200 operations"),
        ('"rms(vibration)"', '"' + "torque + " * 400 + 'torque"', "3606 characters; 2000 are"),
        ('"rms(vibration)"', '"' + "(" * 300 + "torque" + ")" * 300 + '"', "not arithmetic"),
        *[
            ("vibration_rms =", f'"{name}" =', "is not a name of a feature")
            for name in ("a[1]", "<b")
        ],
        ("vibration_rms =", '"" =', "is not a name of a feature"),
        ("vibration_rms =", f'"{"x" * 101}" =', "is not a name of a feature"),
    ],
)
def test_it_is_refused_with_its_reason(old: str, new: str, message: str) -> None:
    assert old in PLANT
    with pytest.raises(DataError, match=message) as raised:
        Contract.from_text(PLANT.replace(old, new, 1), "mine.toml")
    assert str(raised.value).startswith("mine.toml: ")


def test_a_file_without_end_is_refused_unread() -> None:
    with pytest.raises(DataError, match="1048577 characters; 1048576 are allowed"):
        Contract.from_text("#" * (1 + (1 << 20)), "mine.toml")


@pytest.mark.fuzz
def test_no_mutation_crashes() -> None:
    for chance in rounds(300):
        text = mutated(chance)
        try:
            contract = Contract.from_text(text, "mine.toml")
        except DataError:
            continue
        except Exception as error:
            raise AssertionError(f"round {chance.number}: {error!r} for {text[:3000]}") from error
        ones = dict.fromkeys([*contract.fields, HOUR, WEEKDAY], 1.0)
        for expression in contract.expressions.values():
            if not expression.takes_vectors:
                expression.of_reading(ones)


def mutated(chance: Round) -> str:
    """A shipped contract with one to three lines changed."""
    lines = chance.choice(SHIPPED).splitlines()
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        key, equals, value = lines[at].partition("=")
        hostile = chance.choice(HOSTILE)
        if chance.random() < 0.5:
            hostile = f'"{hostile}"'
        place = chance.randrange(len(lines[at]) + 1)
        lines[at : at + 1] = chance.choice(
            [
                [f"{key}= {hostile}"] if equals else [hostile],
                [f"{hostile} ={value}"],
                [lines[at][:place] + hostile + lines[at][place:]],
                [lines[at], chance.choice(lines)],
                ["#"],
            ]
        )
    return "\n".join(lines)
