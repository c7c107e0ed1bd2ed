"Evidently's drift preset on two tables: prints seconds, processor seconds, peak memory and how many columns drifted"

import json
import resource
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
numbers = [c for c in reference if reference[c].dtype.kind in "fiu"]
columns = DataDefinition(numerical_columns=numbers, categorical_columns=[c for c in reference if c not in numbers])  # fmt: skip
began, busy = time.perf_counter(), time.process_time()
tables = [Dataset.from_pandas(t, data_definition=columns) for t in (current, reference)]
found = Report([DataDriftPreset()]).run(*tables).dict()
seconds, processor = time.perf_counter() - began, time.process_time() - busy
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
drifted = int(found["metrics"][0]["value"]["count"])
print(json.dumps({"seconds": seconds, "processor": processor, "GiB": peak, "drifted": drifted}))
