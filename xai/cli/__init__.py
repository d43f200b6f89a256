"""The command line: `xai explain`, `xai dream`, `xai attack`, ...; nothing heavy is imported before a command runs."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

import xai
from xai.cli.audits import add_audit, add_check, add_compare, add_init, add_report, add_schema
from xai.cli.common import BAD_INPUT, INTERNAL, INTERRUPTED, PASS, Command, one_line
from xai.cli.common import command as command
from xai.cli.explanations import add_dream, add_explain
from xai.cli.fairness import add_bias
from xai.cli.installation import add_dashboard, add_doctor, add_methods
from xai.cli.reliability import add_attack, add_calibration, add_drift, add_ood, add_robustness


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 pass, 1 failed, 2 bad input, 3 internal error, 4 inconclusive or 130 interrupted."""
    options = _parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe went away, as in `xai methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASS
    except Exception as error:  # noqa: BLE001  (the user sees one line, never a traceback)
        if options.debug:
            traceback.print_exc()
        if isinstance(error, xai.XaiError) and not isinstance(error, xai.ContractError):
            return _complain(str(error), BAD_INPUT)
        return _complain(
            f"internal error, please report it ({type(error).__name__}: {error}); --debug shows more", INTERNAL
        )


def _complain(text: str, code: int) -> int:
    print(f"xai: {one_line(text)}", file=sys.stderr)
    return code


def _show_help(parser: argparse.ArgumentParser) -> int:
    """Show all commands: what `xai` alone does, though no command was given."""
    parser.print_help()
    return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xai", description="Explain, stress-test and audit an image classifier.")
    parser.add_argument("--version", action="version", version=f"xai-toolkit {xai.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(run=lambda _options: _show_help(parser), debug=False)
    add_explain(commands)
    add_dream(commands)
    add_attack(commands)
    add_robustness(commands)
    add_ood(commands)
    add_calibration(commands)
    add_drift(commands)
    add_bias(commands)
    add_audit(commands)
    add_check(commands)
    add_compare(commands)
    add_report(commands)
    add_init(commands)
    add_schema(commands)
    add_methods(commands)
    add_doctor(commands)
    add_dashboard(commands)
    return parser
