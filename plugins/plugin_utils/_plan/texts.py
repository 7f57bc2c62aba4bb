# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML and JSON files that people and we write, read so that nothing is lost without a word. PRIVATE to the collection.

YAML takes the last of two equal keys, and turns names such as C(010), C(1e3) and C(no) into numbers and truth values. Here
two equal keys are refused, which is what a merge of two branches leaves, and every value is the text that was written.
"""

from __future__ import annotations

import json
from typing import Any, Hashable

import yaml

_VAULT = "$ANSIBLE_VAULT"


class TextError(ValueError):
    """A text is not what it is to be; says why, and where."""


class TextLoader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Every scalar as its text, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise TextError(f"line {line} has a key that is no name")
            if key.value in lines:
                raise TextError(f"lines {lines[key.value]} and {line} both give {key.value}. Delete the one that is not right")
            lines[key.value] = line
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == "!vault":
            raise TextError(f"line {node.start_mark.line + 1} has an encrypted value, where a readable one is needed")
        return super().construct_scalar(node)


def decode_text(data: bytes) -> str:
    """The text of a file that is to be read by people too."""
    if data.startswith(_VAULT.encode()):
        raise TextError("it is encrypted by ansible-vault, and has to be readable. Decrypt it: ansible-vault decrypt FILE")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TextError(f"line {line} is not in UTF-8. Save the file in that encoding") from None


def parse_yaml(text: str) -> Any:
    """The data of a YAML text; None where there is none."""
    try:
        return yaml.load(text, Loader=TextLoader)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise TextError(f"it is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise TextError(f"it is not YAML: {' '.join(str(error).split())}") from None


def parse_json(text: str) -> Any:
    """The data of a JSON text."""
    try:
        return json.loads(text, object_pairs_hook=_refuse_twice)
    except json.JSONDecodeError as error:
        raise TextError(f"it is not JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise TextError("it is not JSON that anybody wrote: too deep") from None
    except TextError:
        # JSON is YAML, whose parser knows lines; it takes its time, and so is asked only now.
        parse_yaml(text)
        raise


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _value in pairs]
        raise TextError(f"{next(key for key in keys if keys.count(key) > 1)} is given twice. Delete the one that is not right")
    return found
