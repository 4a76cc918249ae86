"""Write the configuration's JSON Schema, for editors that complete and check YAML."""

import json
import sys
from pathlib import Path

from trainkit.config import Study
from trainkit.files import write_text


def schema() -> str:
    return json.dumps(Study.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), schema())
