"""Write the configuration's JSON Schema, for editors that complete and check YAML."""

import json
import sys
from pathlib import Path
from typing import Any

from trainkit.config import Study
from trainkit.files import write_text


def schema() -> str:
    """The schema of one layer of the configuration, which need not be whole: others lie below it."""
    found = Study.model_json_schema()
    contest = found["$defs"]["Contest"]["properties"]
    for entries in (found["properties"]["experiments"], contest["crossed"]):  # null leaves one out
        for name in entries["patternProperties"]:
            either = [{"$ref": "#/$defs/Experiment"}, {"type": "null"}]
            entries["patternProperties"][name] = {"anyOf": either}
    like = {"type": "string", "description": "the experiment that this one takes everything else from"}
    found["$defs"]["Experiment"]["properties"]["like"] = like
    return json.dumps(_in_parts(found), indent=1) + "\n"


def _in_parts(node: Any) -> Any:
    """A schema in which no key is required, so that of a model's kinds several may fit."""
    if isinstance(node, list):
        return [_in_parts(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {"anyOf" if key == "oneOf" else key: _in_parts(value) for key, value in node.items()}
    if "properties" in node:
        node.pop("required", None)
    node.pop("discriminator", None)
    return node


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), schema())
