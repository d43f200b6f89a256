"""A model card for the Hugging Face Hub: metadata that its readers know, then the audit in words.

Source: https://huggingface.co/docs/hub/model-cards, with `model-index` as results of evaluation. Metadata are written
as JSON, which is YAML too, so that no name can end its quotes.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from xai.audits import Audit
from xai.reports.content import headline
from xai.reports.markdown import fenced, joined, limits_list, plain, standards_table, summary, table
from xai.reports.words import Words, harmless

_METRICS = {"accuracy": "accuracy", "robust_accuracy": "accuracy", "corruption_accuracy": "accuracy"}


def card(audit: Audit, words: Words) -> str:
    """Return the card: metadata, details, evaluation, examination, limits, how to start."""
    document = audit.document
    told = headline(document, words)
    return joined(
        [
            _front(document, words),
            f"# {plain(document['model']['name'])}",
            f"**{plain(told['verdict'])}.** {plain(told['counts'])}",
            f"## {words('card.details')}",
            _details(document, words),
            f"## {words('card.uses')}",
            plain(words("card.uses_text")),
            f"## {words('card.evaluation')}",
            summary(audit, words).strip(),
            f"## {words('card.examination')}",
            plain(words("lead.standards")),
            standards_table(document, words),
            f"## {words('card.bias')}",
            limits_list(document, words),
            f"## {words('card.start')}",
            fenced(f"# python\nimport xai\n\nmodel = xai.load({document['model']['source']!r})"),
        ]
    )


def _front(document: Mapping[str, Any], words: Words) -> str:
    model = {"name": harmless(document["model"]["name"]), "results": _results(document)}
    held: dict[str, Any] = {
        "language": words.language,
        "pipeline_tag": "image-classification",
        "library_name": "pytorch",
        "tags": ["image-classification", "xai-audit", f"audit-{document['verdict']}"],
        "metrics": ["accuracy"],
        "model-index": [model],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=True, allow_nan=False)}" for name, value in held.items()]
    return "\n".join(["---", *lines, "---"])


def _results(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = document["data"]["data"]["source"]
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": harmless(source), "type": re.sub(r"[^\w.-]+", "-", source).strip("-") or "data"},
            "metrics": [_result(check)],
        }
        for check in document["checks"]
        if check["measured"] and check["measured"]["value"] is not None and check["metric"] != "speed"
    ]


def _result(check: Mapping[str, Any]) -> dict[str, Any]:
    measured = check["measured"]
    kind = _METRICS.get(check["metric"], check["metric"])
    found = {"type": kind, "name": harmless(f"{check['title']} ({check['id']})"), "value": measured["value"]}
    if measured["low"] is not None:
        found["args"] = {
            "low": measured["low"],
            "high": measured["high"],
            "level": measured["level"],
            "n": measured["n"],
        }
    return found | {"verified": False}


def _details(document: Mapping[str, Any], words: Words) -> str:
    model, data = document["model"], document["data"]["data"]
    rows = [
        [words("source"), model["source"]],
        [words("fingerprint"), model["fingerprint"]],
        [words("architecture"), model["architecture"]],
        [words("parameters"), words.number(model["parameters"])],
        [words("classes"), f"{len(model['classes'])}: {', '.join(model['classes'][:30])}"],
        [words("data"), f"{data['source']}: {words.number(data['n'])}, {data['accounting']['sha256']}"],
        [words("thresholds"), document["thresholds"]["sha256"]],
    ]
    return table([words("model"), model["name"]], rows)
