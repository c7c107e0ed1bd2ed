"Months of flights in which something is known to have changed, or nothing"

import numpy as np
import pandas as pd
from conftest import ROOT

INPUTS = ["scheduled", "origin", "dest", "carrier", "sched_hour", "distance", "plane_built", "plane_seats", "plane_maker",
          "temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]  # fmt: skip


def flights():
    "The study's flights that have an outcome, with `late`"
    from nbs_lib.core.study import load_study
    from nbs_lib.core.tables import read_table

    frame = read_table(load_study("flights")).frame
    frame = frame[frame["arrival"].notna()].reset_index(drop=True)
    return frame[INPUTS].assign(arrival=frame["arrival"], late=frame["arrival"] == "late")


def days_of(frame):
    "The positions of each day's rows"
    day = frame["scheduled"].to_numpy().astype("datetime64[D]")
    order = np.argsort(day, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(day[order])) + 1)


def resampled(frame, days, n, rng, start, share=1.0):
    "So many days drawn by chance, whole, as if they followed one another from `start` on"
    parts = []
    for i, at in enumerate(rng.integers(0, len(days), n)):
        rows = days[at]
        rows = rows if share == 1 else np.sort(rng.choice(rows, max(int(share * len(rows)), 1), replace=False))
        part = frame.iloc[rows].copy()
        midnight = part["scheduled"].dt.normalize()
        part["scheduled"] += pd.Timestamp(start) + pd.Timedelta(days=i) - midnight
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def nothing(month, rng):
    "The month as it is"
    return month


def shifted(month, rng):
    "Planes are twelve years older"
    return month.assign(plane_built=month["plane_built"] - 12)


def new_category(month, rng):
    "Every eighth flight is flown by a carrier that training never saw"
    taken = rng.random(len(month)) < 0.125
    return month.assign(carrier=month["carrier"].where(~taken, "ZZ"))


def unit_changed(month, rng):
    "Distances in kilometres"
    return month.assign(distance=month["distance"] * 1.609344)


def labels_shifted(month, rng):
    "Every fifth punctual flight is late: the inputs stay, the outcome does not"
    late = month["late"] | (rng.random(len(month)) < 0.2)
    return month.assign(late=late, arrival=np.where(late, "late", "on time"))


PLANTED = {"plane_built": shifted, "carrier": new_category, "distance": unit_changed, "outcome": labels_shifted}
