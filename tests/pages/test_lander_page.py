from fractions import Fraction

import pytest

from rmviz.ui.words import percent
from rmviz.world.lander import Lander, best_policy


@pytest.mark.parametrize("step", ["-0.04", "-0.5"])
def test_the_sentence_is_what_the_exact_policy_does(step, open_page, text_of):
    lander = Lander.parsed()
    ends = best_policy(lander, Fraction(step)).ends
    goal = float(sum(chance for place, chance in ends.items() if lander.cells[place] == "G"))
    assert f"ends on a goal in **{percent(goal)}**" in text_of(open_page("lander", step=step))


def test_a_preset_moves_the_slider_and_the_address(open_page):
    test = open_page("lander")
    test.button(key="lander-0.2").click().run()
    assert test.select_slider[0].value == "-0.2" and test.query_params["step"] in ("-0.2", ["-0.2"])


@pytest.mark.parametrize("step", ["much", "0.5", "nan"])
def test_a_step_reward_that_is_none_is_told(step, open_page, text_of):
    assert "must be a number below 0" in text_of(open_page("lander", step=step))


def test_a_map_without_a_goal_is_told_and_nothing_breaks(open_page, text_of):
    test = open_page("lander")
    test.text_area(key="lander-map").set_value("L..").run()
    assert "needs an end" in text_of(test) and not test.exception
