"""The page "Out of distribution": out-of-distribution images, calibration and drift."""

import streamlit as st

import xai
from xai.dashboard import charts
from xai.dashboard import widgets as ui
from xai.dashboard.pages.ood.detector import choose_plan
from xai.dashboard.pages.ood.judgement import detect
from xai.dashboard.session import DataSample, Job, SharedModel, data_names, draw_sample, with_parts
from xai.dashboard.text import bullets, file_stem, interval, m, percent, t

_VERDICTS = {
    "overconfident": m("Overconfident: its confidence is higher than its accuracy."),
    "underconfident": m("Underconfident: its confidence is lower than its accuracy."),
    "miscalibrated": m("Miscalibrated, in both directions."),
    "no evidence": m("Calibrated: no evidence of miscalibration."),
    "too small to tell": m("Too few images."),
}
_DRIFT_VERDICTS = {
    "drift": m("The two data sets differ by more than chance."),
    "no evidence": m("No evidence of drift."),
    "too small to tell": m("Too few images."),
}


def calibrate(model: SharedModel, sample: DataSample) -> list[Job]:
    """Let the user measure calibration; return what is still to be done."""

    def show(result: xai.Calibration) -> None:
        _show_calibration(model, sample, result)

    texts = m("Measuring"), m("Measure the calibration"), m("{rows} images through the model")
    return ui.ask_verb("calibration", texts, model, [sample], show)


def _show_calibration(model: SharedModel, sample: DataSample, result: xai.Calibration) -> None:
    ui.show_verdict(result.verdict, _VERDICTS, f" {_summary(result)}", "speed")
    ui.show_chart(charts.reliability(result), "reliability", t("Reliability curve. {text}", text=_summary(result)))
    st.caption(
        t(
            "On the {value} images not used to fit the temperature. On the dashed line, confidence "
            "equals accuracy. Bars: 95 % intervals.",
            value=int(result.is_evaluation.sum()),
        )
    )
    st.markdown(bullets(result.reasons))
    ui.show_notes(result.notes, together=True)
    with st.expander(t("When only the most confident predictions are used"), icon=":material/filter_alt:"):
        text = t("Error rate by coverage")
        ui.show_chart(charts.risk_by_coverage(result), "risk", text)
    measures = t("Calibration measures with intervals and tests")
    ui.show_table(t("All figures"), result.table.round(4), measures)
    ui.show_table(t("Class by class"), result.per_class.round(4), t("Calibration of each class"), icon="category")
    table = ui.csv_file(result.table, t("Table"), t("A line per figure"))
    ui.show_downloads(result, "calibration", file_stem(str(result.model["name"]), "calibration"), table)
    ui.show_verb_code(model, "calibration", {"data": sample}, "verdict,reasons,table")


def _summary(result: xai.Calibration) -> str:
    """Say accuracy, confidence, error and temperature in two sentences."""
    measures, warm, (low, high) = result.measures, result.temperature, result.ece_interval
    return t(
        "Mean confidence {confidence}, accuracy {right}. The expected calibration error (ECE) is {ece:.3f}; corrected "
        "for chance, {low:.3f} to {high:.3f}. With temperature {value:.2f} ({low_2:.2f} to {high_2:.2f}) it would be "
        "{value_2:.3f} instead of {value_3:.3f}, on held-out images.",
        confidence=percent(measures.confidence),
        right=interval(measures.accuracy, *measures.accuracy_interval),
        ece=result.ece,
        low=low,
        high=high,
        value=warm.value,
        low_2=warm.low,
        high_2=warm.high,
        value_2=result.after.ece.value,
        value_3=result.before.ece.value,
    )


def compare_data(model: SharedModel, pair: tuple[DataSample, DataSample]) -> list[Job]:
    """Let the user look for drift; return what is still to be done."""

    def show(result: xai.Drift) -> None:
        _show_drift(model, pair, result)

    texts = m("Comparing the data"), m("Compare the data"), m("{rows} images through the model, then 500 relabellings")
    return ui.ask_verb("drift", texts, model, pair, show)


def _show_drift(model: SharedModel, pair: tuple[DataSample, DataSample], result: xai.Drift) -> None:
    verdict = t(_DRIFT_VERDICTS[result.verdict])
    ui.show_verdict(result.verdict, _DRIFT_VERDICTS, "", "difference")
    st.markdown(bullets(result.reasons))
    ui.show_notes(result.notes, together=True)
    st.markdown(t("**How often each class is predicted**"))
    names = [f"{order} {sample.name}" for order, sample in zip(("1:", "2:"), pair, strict=True)]
    text = t("Share of each class among the predictions in both data sets. {verdict}", verdict=verdict)
    ui.show_chart(charts.shares_of_classes(result, names), "classes", text)
    tests = t("Tests of drift with sizes and p-values")
    ui.show_table(t("All tests"), result.table.round(4), tests, words=["name"])
    shares = t("Shares of each class with intervals")
    ui.show_table(t("Class by class"), result.per_class.round(4), shares, icon="category")
    table = ui.csv_file(result.table, t("Tests"), t("A line per test"))
    ui.show_downloads(result, "drift", file_stem(str(result.model["name"]), "drift"), table)
    ui.show_verb_code(model, "drift", dict(zip(("first", "second"), pair, strict=True)), "verdict,table")


_USUAL, _MOST = 500, 5000  # images of each of two data sets


def choose_two() -> tuple[DataSample, DataSample]:
    """Let the user choose two data sets; one that is chosen twice is halved."""
    with ui.stop_on_error():
        names = with_parts(data_names())
    first = st.selectbox(t("Compare"), names, key="drift_a", help=t("The reference data."), bind="query-params")
    others = [name for name in names if name.partition("@")[0] != names[0]]
    second = st.selectbox(t("with"), names, names.index(others[0]), key="drift_b", bind="query-params")
    count, seed = ui.choose_size(t("How many of each"), "drift_count", _USUAL, _MOST)
    with ui.stop_on_error(), st.spinner(t("Sampling images …")):
        if first == second:
            whole = draw_sample(first, 2 * count, seed)
            pair = whole.every(2, 0), whole.every(2, 1)
        else:
            pair = draw_sample(first, count, seed), draw_sample(second, count, seed)
    st.caption(t("{count} and {count_2} images.", count=len(pair[0].data), count_2=len(pair[1].data)))
    return pair


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("ood")
    ways = (m("Out-of-distribution images"), m("Calibration"), m("Drift"))
    way = ui.choose_one(t("Question"), ways, "ood_about")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model = ui.choose_model()
        if way == ways[0]:
            plan = choose_plan(model)
        elif way == ways[1]:
            sample = ui.choose_sample(model, "probabilities", usual=1000, most=5000)
        else:
            pair = choose_two()

    with right:
        if way == ways[0]:
            ui.run_next(detect(model, plan))
        else:
            ui.run_next(calibrate(model, sample) if way == ways[1] else compare_data(model, pair))
