"""The keys of the chart. They leave those of the Run screen free, and ^a and ^b to tmux."""

from textual.binding import Binding, BindingType

from sdtui.language import N_
from sdtui.widgets.chart_view import METRICS

CHART_KEYS: list[BindingType] = [
    Binding("t", "metric(1)", N_("Metric"), id="chart.metric",
            tooltip=N_("Show the next metric: loss, validation, rate, gradient norm, images/s")),
    Binding("T", "metric(-1)", N_("Metric before"), show=False, id="chart.metric_before"),
    # Each metric by a key of its own: pressed again, it goes back to the loss.
    *(
        Binding(key, f"show_metric('{metric}')", METRICS[metric][1], show=False,
                id=f"chart.{metric}")
        for key, metric in (("l", "loss"), ("L", "lr"), ("N", "grad_norm"), ("I", "images_per_s"),
                            ("V", "val_loss"), ("U", "gpu_allocated"))
    ),
    Binding("y", "log", N_("Log y"), id="chart.log",
            tooltip=N_("Switch the y axis between linear and logarithmic")),
    Binding("h", "x_axis", N_("x axis"), show=False, id="chart.x",
            tooltip=N_("Place the points by step, by time or by epoch")),
    Binding("right_square_bracket", "smooth(1)", N_("Smoother"), key_display="]",
            show=False, id="chart.smoother", tooltip=N_("Smooth more")),
    Binding("left_square_bracket", "smooth(-1)", N_("Rougher"), key_display="[",
            show=False, id="chart.rougher", tooltip=N_("Smooth less")),
    Binding("b", "both", N_("Both ways"), show=False, id="chart.both",
            tooltip=N_("Smooth in both directions, so that the line does not lag behind")),
    Binding("f", "fit", N_("Fit y"), show=False, id="chart.fit",
            tooltip=N_("Make room for all points, for all but rare spikes, or for the line")),
    Binding("w", "raw", N_("Raw points"), show=False, id="chart.raw",
            tooltip=N_("Show or hide the points as they were measured")),
    Binding("plus,equals_sign", "zoom(0.5)", N_("Zoom in"), key_display="+", id="chart.zoom_in",
            tooltip=N_("Look closer at the cursor, else at the end; the wheel does it, too")),
    Binding("minus", "zoom(2.0)", N_("Zoom out"), key_display="-", show=False,
            id="chart.zoom_out", tooltip=N_("Step back")),
    Binding("a", "whole", N_("Whole run"), show=False, id="chart.whole",
            tooltip=N_("Show the whole run again")),
    Binding("less_than_sign", "pan(-0.25)", N_("Earlier"), key_display="<", show=False,
            id="chart.earlier", tooltip=N_("Move a zoomed view to earlier steps")),
    Binding("greater_than_sign", "pan(0.25)", N_("Later"), key_display=">", show=False,
            id="chart.later", tooltip=N_("Move a zoomed view to later steps")),
    Binding("left", "cursor(-1)", N_("Read off"), show=False, id="chart.left",
            tooltip=N_("Read the values off one column to the left")),
    Binding("right", "cursor(1)", N_("Read off, right"), show=False, id="chart.right",
            tooltip=N_("Read the values off one column to the right")),
    Binding("shift+left", "cursor(-10)", N_("Ten to the left"), show=False,
            id="chart.far_left"),
    Binding("shift+right", "cursor(10)", N_("Ten to the right"), show=False,
            id="chart.far_right"),
    Binding("home", "cursor_to(0)", N_("First step"), show=False, id="chart.first"),
    Binding("end", "cursor_to(-1)", N_("Last step"), show=False, id="chart.last"),
    Binding("escape", "no_cursor", N_("Put the cursor away"), show=False,
            id="chart.no_cursor"),
]  # fmt: skip
