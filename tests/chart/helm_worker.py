"""Helm's library behind a pipe: one request a line, one answer a line. Started by helm.py.

python helm_worker.py CHART
"""

import json
import sys
from typing import Any

import helm_python


def answer(chart: helm_python.Chart, path: str, request: dict[str, Any]) -> Any:
    """What the request asks for. Helm's own errors go to the asker."""
    if request["do"] == "template":
        chart.validate_schema(request["values"])
        rendered = chart.render(request["values"], name=request["name"], namespace=request["namespace"])
        return {name: text for name, text in rendered.items() if not name.endswith("NOTES.txt")}
    report = helm_python.lint(path, request["values"], namespace=request["namespace"])
    return [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] > 1]


def main() -> None:
    """Answer until the input ends."""
    path = sys.argv[1]
    with helm_python.Chart.load(path) as chart:
        for line in sys.stdin:
            try:
                reply = {"answer": answer(chart, path, json.loads(line))}
            except helm_python.HelmError as error:
                reply = {"error": str(error)}
            print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
