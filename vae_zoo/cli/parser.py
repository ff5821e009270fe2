"""The parser of the commands that run no Trainer."""

import argparse
import re
from typing import NoReturn

from vae_zoo.cli import UsageError
from vae_zoo.settings import nearest


class Parser(argparse.ArgumentParser):
    """argparse's, which raises what was not understood, with the nearest option, and prints no page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what was not understood."""
        unknown = re.search(r"unrecognized arguments: .*?(--[^\s=]+)", message)
        raise UsageError(f"there is no option {unknown[1]}{nearest(unknown[1], self._names())}" if unknown else message)

    def _names(self) -> set[str]:
        """The options, those of the parsers below it too."""
        names = {name for name in self._option_string_actions if name.startswith("--")}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names.update(*(below._names() for below in action.choices.values()))
        return names
