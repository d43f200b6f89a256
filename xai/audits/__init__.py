"""Audits: one question after another to a model, each measured, judged with its uncertainty, and kept."""

from xai.audits.again import judge_again as judge_again
from xai.audits.audit import audit as audit
from xai.audits.audit import share_audit as share_audit
from xai.audits.compare import AuditComparison as AuditComparison
from xai.audits.compare import compare as compare
from xai.audits.control import positive_control as positive_control
from xai.audits.estimate import AuditPlan as AuditPlan
from xai.audits.estimate import plan_audit as plan_audit
from xai.audits.offer import CheckInfo as CheckInfo
from xai.audits.offer import audit_checks as audit_checks
from xai.audits.record import Audit as Audit
from xai.audits.record import Finding as Finding
from xai.audits.starter import init_audit as init_audit
