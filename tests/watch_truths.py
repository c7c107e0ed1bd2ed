"Months of flights in which something is known to have changed, or nothing"

import numpy as np
import pandas as pd

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
        rows = (
            rows if share == 1 else np.sort(rng.choice(rows, max(int(share * len(rows)), 1), replace=False))
        )
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


PLANTED = {
    "plane_built": shifted,
    "carrier": new_category,
    "distance": unit_changed,
    "outcome": labels_shifted,
}


class World:
    "A model, its reference, and months that are like it or not"

    def __init__(self, share=0.12, model_share=0.3, metrics=("roc_auc", "log_loss"), frame=None):
        import lightgbm as lgb

        from nbs_lib.tasks.metrics import get_metric
        from nbs_lib.watch.profile import build_profile

        frame = flights() if frame is None else frame
        frame = frame[frame["scheduled"] < "2013-09-01"].reset_index(drop=True)
        luck = np.random.default_rng(0).random(len(frame))
        learn = frame[luck < model_share]
        self.rows = frame[(luck >= model_share) & (luck < model_share + share)].reset_index(drop=True)
        self.days = days_of(self.rows)
        self.bins = build_profile(learn[INPUTS])
        data = lgb.Dataset(self._features(learn), learn["late"].to_numpy(float))
        options = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 0}
        self.model = lgb.train(options, data, num_boost_round=80)
        self.metrics = [get_metric(m, "binary") for m in metrics]
        self.set_reference(self.rows)

    def _features(self, frame):
        from nbs_lib.watch.profile import see

        codes = see(self.bins, frame[INPUTS]).codes
        names = [v.name for v in self.bins.views if v.column != "scheduled" or v.how == "hour"]
        return np.column_stack([codes[n] for n in names]).astype(np.float32)

    def predict(self, frame):
        "As a model of the project answers"
        p = self.model.predict(self._features(frame))
        said = pd.array(np.where(p >= 0.3, "late", "on time"), dtype="str")
        return pd.DataFrame({"prediction": said, "p_late": p, "p_on time": 1 - p}, index=frame.index)

    def set_reference(self, rows):
        "What later months are compared with"
        from nbs_lib.watch.performance import learn_classes
        from nbs_lib.watch.profile import block_codes, build_profile

        said = self.predict(rows)
        self.profile = build_profile(rows[INPUTS], said[["prediction", "p_late"]], time="scheduled")
        blocks = block_codes(rows, None, "scheduled", "D")
        self.facts = learn_classes(self.metrics, rows["arrival"], said, blocks, "late")

    def month(self, rng, change=nothing, n=30):
        "So many days drawn by chance, changed"
        return change(resampled(self.rows, self.days, n, rng, "2014-01-01"), rng)

    def report(self, month, seed=0, together=True):
        "What a monthly report would raise an alarm about, by name"
        from nbs_lib.watch.drift import drift
        from nbs_lib.watch.performance import compare, estimated, measured, relation
        from nbs_lib.watch.profile import see
        from nbs_lib.watch.schema import breaches

        said, auc = self.predict(month), self.metrics[0]
        seen = see(self.profile, month[INPUTS], said)
        table = breaches(self.profile, month[INPUTS], seen)
        found = drift(self.profile, month[INPUTS], said, together=together, seed=seed)
        every, reference = np.arange(len(month)), tuple(self.facts["reference"][auc.name])
        real = measured(auc, month["arrival"], said, seen.blocks, "late")(every)
        guess = estimated(self.facts, auc, said)(every)
        alarms = {f"breach {c}" for c in table.loc[table["relevant"], "column"]}
        alarms |= {f"drift {v}" for v in found.table.loc[found.table["verdict"] == "drifted", "view"]}
        alarms |= {"together"} if found.together.get("verdict") == "drifted" else set()
        alarms |= {"worse"} if compare(auc, real, reference, tests=2)["verdict"] == "worse" else set()
        alarms |= {"relation"} if relation(auc, real, guess, tests=2)[0] == "changed" else set()
        return alarms, real, guess, found
