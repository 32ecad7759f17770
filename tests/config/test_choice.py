"""Sections whose name selects their settings: methods, and judges of evaluations and of synthesis."""

import pytest

from boresight import methods
from boresight.config.choice import read_choice, write_choice
from boresight.core.errors import UserError
from boresight.scorers import judges
from boresight.synthesis import judge_config

SECTIONS = [
    (methods, {"name": "dpo", "beta": 0.3}),
    (judges, {"name": "checks", "check": "constraint_met"}),
    (judge_config, {"name": "checks", "check": "constraint_met"}),
    (judge_config, {"name": "rubric", "by": "api"}),
]


@pytest.mark.parametrize(("registry", "section"), SECTIONS)
def test_what_is_written_is_read_back(registry, section):
    config = read_choice(registry, section, "recipe", "part")
    written = write_choice(registry, config)
    assert next(iter(written)) == "name" and section.items() <= written.items()
    assert read_choice(registry, written, "recipe", "part") == config


def test_a_name_alone_is_a_choice_with_default_settings():
    assert read_choice(methods, "dpo", "recipe", "method") == read_choice(
        methods, {"name": "dpo"}, "r", "method"
    )


@pytest.mark.parametrize("registry", [methods, judges, judge_config])
def test_a_mistake_names_the_file_and_the_way_out(registry):
    first, last = registry.names()[0], registry.names()[-1]
    with pytest.raises(UserError, match=f"r.yaml: part.name is missing; set it to one of {first}, .*{last}"):
        read_choice(registry, {"beta": 0.1}, "r.yaml", "part")
    with pytest.raises(UserError, match=f"r.yaml: .*there is no .*did you mean '{first}'"):
        read_choice(registry, {"name": f"{first}_"}, "r.yaml", "part")
    with pytest.raises(UserError, match=r"r\.yaml: unknown key part\.no_such_key"):
        read_choice(registry, {"name": first, "no_such_key": 1}, "r.yaml", "part")
