"""The slider, without a browser; tests/browser/test_playground_page.py has it in one."""

from slmlab.show.widgets.slider import Slider


def test_a_slider_moves_by_value_and_by_index():
    slider = Slider(options=[("1,000", 1000), ("2,000", 2000)], description="text", help="read")
    seen = []
    slider.observe(lambda change: seen.append(change.new), "value")
    slider.value = 2000
    assert (slider.index, slider.label) == (1, "2,000")
    slider.set_state({"index": 0})  # what a browser sends
    assert seen == [2000, 1000]


def test_a_page_gets_all_that_it_shows():
    state = Slider(options=[8, 16], description="context", help="tokens", disabled=True).get_state()
    assert {"_options_labels", "index", "description", "help", "disabled"} <= state.keys()
    assert "export default" in state["_esm"] and ".slm-slider" in state["_css"]
    assert state["_options_labels"] == ("8", "16")
