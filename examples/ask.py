"""Ask a served model for rows of a table, one request each, and keep what came of them.

Example: python examples/ask.py http://127.0.0.1:8000/ data/processed/wine/v002/train.parquet --target cultivar --times 10000
"""

import argparse
import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd


def ask(
    address: str,  # of the server
    rows: pd.DataFrame,  # raw columns
) -> list[dict]:  # id, prediction …
    "One request after another over one connection"
    line = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    found = []
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        asked = json.dumps({"row": row}, default=str)  # moments as text
        line.request("POST", "/predict", asked, {"Content-Type": "application/json"})
        answer = line.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"refused ({answer.status}): {json.dumps(said)}")
        found.append(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="of the server, as nbs serve prints it")
    parser.add_argument("table", type=Path, help="Parquet or CSV")
    parser.add_argument("--target", required=True, help="its column; it is not sent")
    parser.add_argument("--times", type=int, default=1000, help="requests; rows are drawn at random")
    parser.add_argument("--scale", metavar="COLUMN=NUMBER", help="multiply a column, as a changed unit would")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outcomes", type=Path, help="where ids and true values go, for nbs outcomes")
    asked = parser.parse_args()
    read = pd.read_csv if asked.table.suffix == ".csv" else pd.read_parquet
    rows = read(asked.table).sample(asked.times, replace=True, random_state=asked.seed)
    sent = rows.drop(columns=asked.target)
    if asked.scale:
        column, by = asked.scale.split("=")
        sent[column] = sent[column] * float(by)
    found = ask(asked.address, sent)
    print(f"{len(found):,} requests answered")
    if asked.outcomes:
        came = {"id": [p["id"] for p in found], asked.target: rows[asked.target].to_numpy()}
        pd.DataFrame(came).to_csv(asked.outcomes, index=False)


if __name__ == "__main__":
    main()
