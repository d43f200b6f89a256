"""The page "Audit": what to ask, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.session import SharedModel, data_names, parted, shown_name, source_of, upload_store, with_parts
from xai.dashboard.text import m, read_setting, read_toml, setting_text, t, toml_text

_USUAL = ("accuracy", "calibration", "robust_accuracy", "corruption_accuracy", "faithfulness")
_LIMITS = {
    "accuracy": {"at_least": 0.8},
    "calibration": {"at_most": 0.1},
    "generalisation_gap": {"at_most": 0.1},
    "robust_accuracy": {"at_least": 0.5},
    "certified_accuracy": {"at_least": 0.1},
    "corruption_accuracy": {"at_least": 0.5},
    "ood_detection": {"at_least": 0.8},
    "data_faults": {"at_most": 0.05},
    "faithfulness": {"at_least": 0.5},
    "stability": {"at_least": 0.5},
}
_CONDITIONS = {
    "at_least": m("at least"),
    "at_most": m("at most"),
    "max_drop_vs_baseline": m("largest drop against the baseline"),
    "worst_class_at_least": m("worst class at least"),
    "worst_group_at_least": m("worst group at least"),
}
_WAYS = (m("Select checks"), m("Write xai.toml"))
_ACROSS = 3


@dataclass(frozen=True, eq=False)
class AuditRequest:
    """An audit as it was set up on the page.

    Attributes:
        tables: as in `xai.toml`, without the model; data sets that were brought are loaded.
        shown: the same as a user would write it, model included.
    """

    tables: Mapping[str, Any]
    shown: Mapping[str, Any]


def choose_data(model: SharedModel) -> dict[str, Any]:
    """Let the user choose the images of an audit: those judged, and those that some checks need."""
    names = with_parts(ui.names_for(model))
    judged = st.selectbox(t("Evaluated on"), names, key="audit_data", bind="query-params")
    left, right = st.columns(2)
    count = ui.choose_number(t("How many"), "audit_n", 10, 100_000, 500, 100, place=left)
    seed = ui.choose_seed("audit_seed", right)
    result: dict[str, Any] = {"data": _table(judged, count), "audit": {"seed": seed}}
    with st.expander(t("More data, for some checks"), icon=":material/photo_library:"):
        nothing = t("none")
        roles = {"train": t("Training data"), "calibration": t("In-distribution data to calibrate on")}
        for role, label in roles.items():
            name = st.selectbox(
                label,
                [None, *names],
                format_func=lambda choice: choice or nothing,
                key=f"audit_{role}",
                bind="query-params",
            )
            if name is not None:
                result[role] = _table(name, count)
        ood_sources = st.multiselect(
            t("Out-of-distribution data"),
            [choice for choice in data_names() if choice not in names],
            key="audit_ood",
            bind="query-params",
        )
        if ood_sources:
            result["ood"] = {_plain(name): _table(name, count) for name in ood_sources}
    return result


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.rpartition(":")[2])


def _table(name: str, count: int) -> dict[str, Any]:
    source, part = parted(name)
    return {"source": source, **({} if part is None else {"part": part}), "n": count}


def choose_checks(data: Mapping[str, Any], model: SharedModel, baseline: str | None) -> AuditRequest:
    """Let the user choose checks with their thresholds, or write them as a file."""
    way = ui.choose_one(t("Checks"), _WAYS, "audit_way")
    tables = {name: dict(table) for name, table in data.items()}
    if baseline is not None:
        tables["audit"]["baseline"] = baseline
    if way == _WAYS[0]:
        tables["check"] = _chosen_checks()
    else:
        tables = _written(tables)
    return AuditRequest(_loaded(tables), {"model": {"source": model.name}, **tables})


def _chosen_checks() -> Any:
    infos = {info.name: info for info in xai.Audit.available_checks()}
    chosen = st.pills(
        t("Checks"),
        list(infos),
        selection_mode="multi",
        default=[name for name in _USUAL if name in infos],
        format_func=lambda name: t(infos[name].title),
        wrap=True,
        key="checks",
        bind="query-params",
        label_visibility="collapsed",
    )
    if not chosen:
        st.info(t("Choose a check."), icon=":material/arrow_upward:")
        st.stop()
    return [_one_check(infos[name]) for name in infos if name in chosen]


def _one_check(info: xai.results.CheckInfo) -> dict[str, Any]:
    """Let the user set thresholds and settings of a check."""
    conditions = _conditions_of(info)
    thresholds = ", ".join(f"{t(_CONDITIONS[name])} {value:g}" for name, value in conditions().items())
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{t(info.title)}** · {thresholds or t('only measured')}", width="content")
            edit = st.toggle(t("Edit"), key=f"edit {info.name}")
        if edit:
            st.caption(t(info.question))
            _show_conditions(info)
            _show_settings(info)
    return {"metric": info.name, **conditions(), **_changed_settings(info)}


def _key(info: xai.results.CheckInfo, name: str) -> str:
    return f"{info.name}.{name}"


def _conditions_of(info: xai.results.CheckInfo) -> Callable[[], dict[str, float]]:
    """Return what gives the thresholds as they are set now; a check that was never opened has its usual ones."""
    usual = {**info.usual, **_LIMITS.get(info.name, {})}
    for name in info.conditions:
        key = _key(info, name)
        if f"chosen {key}" not in st.session_state:
            st.session_state[f"chosen {key}"] = _from_link(key, usual.get(name))

    def now() -> dict[str, float]:
        values = {name: st.session_state.get(f"chosen {_key(info, name)}") for name in info.conditions}
        return {name: value for name, value in values.items() if value is not None}

    return now


def _from_link(key: str, usual: float | None) -> float | None:
    """Return the number that the link has for a threshold: empty for none, nothing for the usual one."""
    text = st.query_params.get(key)
    try:
        return usual if text is None else float(text) if text else None
    except ValueError:
        return usual


def _show_conditions(info: xai.results.CheckInfo) -> None:
    columns = st.columns(_ACROSS)
    for k, name in enumerate(info.conditions):
        key = _key(info, name)
        value = columns[k % _ACROSS].number_input(
            t(_CONDITIONS[name]),
            value=st.session_state[f"chosen {key}"],
            step=0.01,
            format="%g",
            key=key,
            placeholder=t("not asked"),
        )
        if value != st.session_state[f"chosen {key}"]:
            st.session_state[f"chosen {key}"] = value
            st.query_params[key] = "" if value is None else f"{value:g}"
            st.rerun()  # the label above says it, too


def _show_settings(info: xai.results.CheckInfo) -> None:
    """Show the settings as text: names, numbers, "8/255", or several with commas between them."""
    able = {"images": info.images, **info.settings}
    able.pop("settings", None)
    columns = st.columns(_ACROSS)
    for k, (name, default) in enumerate(able.items()):
        key = _key(info, name)
        value = columns[k % _ACROSS].text_input(
            t("images (empty: all)") if name == "images" else ui.name_of(name),
            st.session_state.get(f"chosen {key}", st.query_params.get(key, _text(name, default))),
            key=key,
        )
        st.session_state[f"chosen {key}"] = value
        if value != _text(name, default):
            st.query_params[key] = value


def _text(name: str, value: Any) -> str:
    return f"{255 * value:g}/255" if name == "eps" and value is not None else setting_text(value)


def _changed_settings(info: xai.results.CheckInfo) -> dict[str, Any]:
    """Return the settings that are not the usual ones, as `xai.toml` has them."""
    result = {}
    for name, default in {"images": info.images, **info.settings}.items():
        key = _key(info, name)
        text = st.session_state.get(f"chosen {key}", st.query_params.get(key))
        if text is not None and text.strip() != _text(name, default) and name != "settings":
            value = read_setting(text.strip(), default)
            result[name] = list(value) if isinstance(value, tuple) else value
    return result


def _written(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Let the user write the checks as a file; model and data stay those that are chosen."""
    if "audit_toml" not in st.session_state:
        st.session_state["audit_toml"] = st.session_state.get("chosen audit_toml") or _starting_text(tables)
    text = st.text_area("xai.toml", key="audit_toml", height=340)
    st.session_state["chosen audit_toml"] = text
    st.caption(t("Model and data are those selected on the left; all keys are in docs/audits.md."))
    with ui.stop_on_error():
        result = read_toml(text)
        result.pop("model", None)
        result.pop("report", None)
        settings = {**tables["audit"], **result.pop("audit", {})}
        for name in ("store", "shard", "micro_batch"):
            settings.pop(name, None)
        return {**tables, **result, "data": tables["data"], "audit": settings}


def _starting_text(tables: Mapping[str, Any]) -> str:
    infos = {info.name: info for info in xai.Audit.available_checks()}
    checks = [{"metric": name, **infos[name].usual, **_LIMITS.get(name, {})} for name in _USUAL]
    return toml_text({**{k: v for k, v in tables.items() if k not in {"data", "ood"}}, "check": checks})


def _loaded(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables with what was brought in place of its name on the pages, without a place of this process."""
    result = dict(tables)
    for role in ("data", "train", "calibration"):
        if role in result:
            result[role] = _source(result[role])
    if isinstance(result.get("ood"), Mapping):
        result["ood"] = {name: _source(table) for name, table in result["ood"].items()}
    return result


def _source(table: Any) -> Any:
    name = table.get("source") if isinstance(table, Mapping) else table
    if name not in upload_store().data:
        return table
    with ui.stop_on_error():
        data = xai.load_data(source_of(str(name)))
    named = replace(data, source=replace(data.source, name=shown_name(str(name))))
    return {**table, "source": named} if isinstance(table, Mapping) else named
