"""Writes arrays, archives, folders and tables with NumPy and pandas, and what these read back.

    python make_arrays.py FOLDER

Makes FOLDER/{npy,npz,alf,phy,csv}/… and FOLDER/expected.json, which tests of the readers compare with value by value.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

rng = np.random.default_rng(20261126)


def plain(array):
    """A list that JSON takes: NaN becomes null, infinities become texts."""
    array = np.asarray(array)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    values = array.tolist()

    def value(one):
        if isinstance(one, list):
            return [value(x) for x in one]
        if isinstance(one, float) and not np.isfinite(one):
            return None if np.isnan(one) else str(one)
        return one

    return value(values)


def column(values):
    kind = {"b": "flags", "U": "texts", "S": "texts", "O": "texts"}.get(np.asarray(values).dtype.kind, "numbers")
    return {"kind": kind, "values": plain(values)}


def frame(table):
    return {"n_rows": len(table), "columns": {str(name): column(table[name].to_numpy()) for name in table}}


def trains(times, clusters, ids):
    return [plain(times[clusters == i]) for i in ids]


def make_npy(folder):
    folder.mkdir(parents=True)
    made = []

    def save(name, array, version=None):
        path = folder / f"{name}.npy"
        with open(path, "wb") as file:
            np.lib.format.write_array(file, array, version=version, allow_pickle=False)
        back = np.load(path, allow_pickle=False)
        rows = back.reshape(1, 1) if back.ndim == 0 else back.reshape(len(back), -1) if back.size else back
        columns = [column(rows[:, c]) for c in range(rows.shape[1])] if rows.ndim == 2 else []
        made.append({"file": path.name, "shape": list(back.shape), "columns": columns})

    kinds = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
    for kind in kinds:
        for order in "<>":
            dtype = np.dtype(order + kind)
            if dtype.kind == "b":
                values = rng.random((5, 3)) < 0.5
            elif dtype.kind == "f":
                values = rng.normal(size=(5, 3)) * 100
                values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -np.inf
                values[3, 0] = np.finfo(dtype).tiny / 4  # not normal
            else:
                limits = np.iinfo(dtype)
                low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
                values = rng.integers(low, high, size=(5, 3), endpoint=True)
                values[0, 0], values[0, 1] = low, high
            values = values.astype(dtype)
            name = kind.replace("?", "b1") + {"<": "_little", ">": "_big"}[order]
            save(f"{name}_c", values)
            save(f"{name}_fortran", np.asfortranarray(values))
            save(f"{name}_list", values[:, 0])
    save("scalar", np.array(2.5))
    save("one_column", np.arange(4.0).reshape(4, 1))
    save("empty", np.zeros(0))
    texts = np.array([["VISp", "", "CA1 "], ["Ünïcode ✓", "a'b\"c", "x"]])
    save("wide_little", texts.astype("<U9"))
    save("wide_big", texts.astype(">U9"))
    save("wide_fortran", np.asfortranarray(texts))
    save("bytes", np.array([b"good", b"mua", b"", b"noise"]))
    save("empty_texts", np.array(["", ""], dtype="U0"))
    save("version_2", np.arange(3), version=(2, 0))
    save("version_3", np.arange(3.0), version=(3, 0))
    return made


def spikes(n_units, n_spikes, stop_s):
    times = np.sort(rng.uniform(0, stop_s, n_spikes))
    clusters = rng.integers(0, n_units, n_spikes)
    clusters[clusters == n_units - 2] = 0  # a unit without spikes
    return times, clusters


def make_npz(folder):
    folder.mkdir(parents=True)
    times, clusters = spikes(6, 500, 60.0)
    order = np.argsort(clusters, kind="stable")
    units = {
        "units_area": np.array(["V1", "V1", "CA1", "CA1", "TH", "TH"]),
        "units/depth": np.arange(6) * 20.5,
        "units_good": np.array([True, False] * 3),
    }
    trials = {
        "trials_intervals": np.stack([np.arange(4.0), np.arange(4.0) + 0.75], axis=1),
        "trials_choice": np.array([-1, 1, 0, 1], dtype="i1"),
        "trials/name": np.array(["a", "b", "c", "d"]),
    }
    series = {
        "series_jaw": rng.normal(size=30).astype("f4"),
        "series_jaw_timestamps": np.arange(30) / 10,
        "series_jaw_unit": np.array("mm"),
        "series_paws": np.asfortranarray(rng.normal(size=(20, 2))),
        "series_paws_rate_hz": np.array(25.0),
        "series_paws_start_s": np.array(0.5),
        "series_paws_channels": np.array(["left", "right"]),
    }
    by_cluster = {"spike_times": times, "spike_clusters": clusters.astype("u4"), **units, **trials, **series}
    by_end = {
        "spike_times": times[order],
        "spike_times_index": np.cumsum(np.bincount(clusters, minlength=6)),
        "units_id": np.array([f"n{i}" for i in range(6)]),
        **units,
    }
    bare = {"spike_times": times, "spike_clusters": clusters * 10}
    keyed = {**bare, "units_cluster_id": np.array([30, 0, 10, 70]), "units_rate": np.array([3.0, 0.5, 1.0, 7.0])}
    for name, arrays in [("clusters", by_cluster), ("ends", by_end), ("bare", bare), ("keyed", keyed)]:
        np.savez(folder / f"{name}.npz", **arrays)
        np.savez_compressed(folder / f"{name}_compressed.npz", **arrays)
    back = np.load(folder / "clusters_compressed.npz", allow_pickle=False)
    return {
        "trains": trains(back["spike_times"], back["spike_clusters"], range(6)),
        "ids": np.unique(back["spike_clusters"]).tolist(),
        "units": {name.replace("/", "_")[6:]: column(back[name]) for name in units},
        "trials": {
            "start_time": column(back["trials_intervals"][:, 0]),
            "stop_time": column(back["trials_intervals"][:, 1]),
            "choice": column(back["trials_choice"]),
            "name": column(back["trials/name"]),
        },
        "jaw": plain(back["series_jaw"]),
        "jaw_times": plain(back["series_jaw_timestamps"]),
        "paws": plain(back["series_paws"]),
    }


def make_alf(folder):
    session = folder / "KS014" / "2019-12-03" / "001"
    alf = session / "alf"
    expected = {"folder": str(session.relative_to(folder.parent)), "probes": {}}
    for probe, n_units, sub in [("probe00", 5, "pykilosort"), ("probe01", 7, "")]:
        path = alf / probe / sub
        path.mkdir(parents=True)
        times, clusters = spikes(n_units, 800, 100.0)
        np.save(path / "spikes.times.npy", times)
        # One column of a matrix is a list too.
        np.save(path / "spikes.clusters.npy", clusters.astype("u2").reshape(-1, 1) if sub else clusters.astype("i4"))
        np.save(path / "spikes.amps.npy", rng.normal(size=len(times)))
        channels = rng.integers(0, 10, n_units)
        np.save(path / "clusters.channels.npy", channels)
        np.save(path / "clusters.depths.npy", rng.uniform(0, 3840, n_units))
        np.save(path / "clusters.waveforms.npy", np.zeros((n_units, 82, 32), dtype="f4"))
        acronyms = np.array([f"area{c % 3}" for c in range(10)])
        ids = np.arange(10) * 7 + 300
        name = "channels.brainLocation{}_ccf_2017.npy"
        np.save(path / name.format("Ids"), ids)
        if probe == "probe00":
            np.save(path / name.format("Acronyms"), acronyms)
        metrics = pd.DataFrame({"cluster_id": range(n_units - 1), "label": np.linspace(0, 1, n_units - 1),
                                "ks2_label": ["good", "mua"] * 3 if n_units == 7 else ["good"] * 4})
        metrics = metrics.iloc[::-1]
        metrics.to_csv(path / "clusters.metrics.csv")
        (path / "clusters.metrics.pqt").write_bytes(b"PAR1PAR1")
        times = np.load(path / "spikes.times.npy")
        clusters = np.load(path / "spikes.clusters.npy").ravel()
        expected["probes"][probe] = {
            "trains": trains(times, clusters, range(n_units)),
            "depths": plain(np.load(path / "clusters.depths.npy")),
            "acronym": acronyms[channels].tolist() if probe == "probe00" else [""] * n_units,
            "atlas_id": ids[channels].tolist(),
            "label": plain(np.append(metrics["label"].to_numpy()[::-1], np.nan)),
            "ks2_label": metrics["ks2_label"].tolist()[::-1] + [""],
        }
    # A revision replaces the file of its folder.
    revised = alf / "probe01" / "#2024-05-06#"
    revised.mkdir()
    depths = rng.uniform(0, 3840, 7)
    np.save(revised / "clusters.depths.npy", depths)
    expected["probes"]["probe01"]["depths"] = plain(depths)

    n_trials = 12
    start = np.arange(n_trials) * 5.0
    intervals = np.stack([start, start + 4], axis=1)
    on = start + 0.5
    on[3] = np.nan
    np.save(alf / "_ibl_trials.intervals.npy", intervals)
    np.save(alf / "_ibl_trials.intervals_bpod.npy", intervals + 0.001)
    np.save(alf / "_ibl_trials.stimOn_times.npy", on)
    np.save(alf / "_ibl_trials.choice.npy", rng.integers(-1, 2, n_trials))
    np.save(alf / "_ibl_trials.included.5f2d0cf1-7c1d-4a29-8b3a-2f5b5cbd1f1c.npy", rng.random(n_trials) < 0.5)
    expected["trials"] = {
        "start_time": column(intervals[:, 0]),
        "stop_time": column(intervals[:, 1]),
        "intervals_bpod_0": column(intervals[:, 0] + 0.001),
        "stimOn_times": column(np.load(alf / "_ibl_trials.stimOn_times.npy")),
        "choice": column(np.load(alf / "_ibl_trials.choice.npy")),
        "included": column(np.load(next(alf.glob("_ibl_trials.included.*")))),
    }

    position = np.cumsum(rng.normal(size=40))
    knots = np.array([[0, 1.0], [10, 3.0], [39, 7.5]])
    np.save(alf / "_ibl_wheel.position.npy", position)
    np.save(alf / "_ibl_wheel.timestamps.npy", knots)
    expected["wheel"] = {"values": plain(position.astype("f4")), "times": plain(np.interp(np.arange(40), *knots.T))}
    np.save(alf / "licks.times.npy", np.sort(rng.uniform(0, 60, 9)))
    expected["licks"] = plain(np.load(alf / "licks.times.npy"))
    camera = np.arange(25) / 60 + 0.25
    np.save(alf / "_ibl_leftCamera.times.npy", camera)
    np.save(alf / "leftCamera.ROIMotionEnergy.npy", rng.random(25))
    pose = pd.DataFrame({"nose_x": rng.normal(size=25), "nose_y": rng.normal(size=25)})
    pose.iloc[4, 1] = np.nan
    pose.to_csv(alf / "_ibl_leftCamera.dlc.csv")
    back = pd.read_csv(alf / "_ibl_leftCamera.dlc.csv", index_col=0)
    expected["camera"] = {
        "times": plain(camera),
        "energy": plain(np.load(alf / "leftCamera.ROIMotionEnergy.npy").astype("f4")),
        "dlc": plain(back.to_numpy().astype("f4")),
    }
    np.save(alf / "spontaneous.intervals.npy", np.array([[60.0, 90.0]]))
    np.save(alf / "eye.timestamps.npy", np.array([[0, 2.0], [99, 11.9]]))
    np.save(alf / "eye.area.npy", rng.random((100, 1)))
    expected["eye"] = plain(np.load(alf / "eye.area.npy").ravel().astype("f4"))
    return expected


def make_alf_index(folder):
    """Tables of clusters whose rows are named by the index that pandas writes: shuffled, and of some clusters only."""
    expected = {}
    for name, rows in [("shuffled", [4, 0, 3, 1, 2]), ("some", [4, 1, 3])]:
        path = folder / name
        path.mkdir(parents=True)
        clusters = np.arange(20) % 5
        np.save(path / "spikes.times.npy", np.arange(20) / 10)
        np.save(path / "spikes.clusters.npy", clusters)
        np.save(path / "clusters.channels.npy", np.arange(5) * 3)
        metrics = pd.DataFrame({"label": np.linspace(0, 1, 5), "name": list("abcde")}).loc[rows]
        metrics.to_csv(path / "clusters.metrics.csv")
        back = pd.read_csv(path / "clusters.metrics.csv", index_col=0).reindex(range(5))
        expected[name] = {"label": plain(back["label"].to_numpy()), "name": back["name"].fillna("").tolist()}
    return expected


def make_phy(folder):
    folder.mkdir(parents=True)
    _, clusters = spikes(9, 600, 1.0)
    samples = np.sort(rng.integers(0, 30_000 * 60, 600))
    np.save(folder / "spike_times.npy", samples.astype("u8").reshape(-1, 1))
    np.save(folder / "spike_clusters.npy", clusters.astype("i4"))
    np.save(folder / "spike_templates.npy", clusters.astype("u4")[::-1].copy())
    (folder / "params.py").write_text("dat_path = r'raw.bin'\nn_channels_dat = 384\nsample_rate = 30000.\nhp_filtered = False\n")
    info = pd.DataFrame({"cluster_id": [8, 0, 1, 2, 3], "depth": [80.5, 0, 10, 20, 30], "KSLabel": ["good"] * 4 + ["mua"],
                         "group": ["good", None, "mua", "noise", "good"]})
    info.to_csv(folder / "cluster_info.tsv", sep="\t", index=False)
    group = info[["cluster_id", "group"]].dropna()
    group = group[group["cluster_id"] != 3]  # which cluster_info alone has
    group.loc[group["cluster_id"] == 2, "group"] = "mua"
    group.to_csv(folder / "cluster_group.tsv", sep="\t", index=False)
    label = pd.DataFrame({"cluster_id": range(11), "KSLabel": ["good"] * 4 + ["mua"] * 7})
    label.loc[3, "KSLabel"] = "mua"
    label.loc[8, "KSLabel"] = "good"
    label.to_csv(folder / "cluster_KSLabel.tsv", sep="\t", index=False)
    groups = dict(zip(info["cluster_id"], info["group"].fillna(""))) | dict(zip(group["cluster_id"], group["group"]))
    merged = label.merge(info[["cluster_id", "depth"]], how="left", on="cluster_id")
    times = np.load(folder / "spike_times.npy").ravel() / 30000.0
    return {
        "trains": trains(times, np.load(folder / "spike_clusters.npy"), range(11)),
        "by_template": trains(times, np.load(folder / "spike_templates.npy"), range(9)),
        "depth": plain(merged["depth"].to_numpy()),
        "KSLabel": label["KSLabel"].tolist(),
        "group": [groups.get(i, "") for i in range(11)],
    }


def make_phy_probes(folder):
    """Two probes of a session, each with its sampling rate, as SpikeGLX names folders."""
    tables = []
    for probe, n_units, rate in [("imec0", 3, 30000.0), ("imec1", 4, 29999.75)]:
        path = folder / f"run_g0_{probe}"
        path.mkdir(parents=True)
        clusters = np.concatenate([np.arange(n_units), rng.integers(0, n_units, 200)])
        np.save(path / "spike_times.npy", np.sort(rng.integers(0, 30_000 * 60, len(clusters))))
        np.save(path / "spike_clusters.npy", clusters.astype("i4"))
        (path / "params.py").write_text(f"sample_rate = {rate}\n")
        label = pd.DataFrame({"cluster_id": range(3), "KSLabel": ["good", "mua", "good"]})
        label.to_csv(path / "cluster_KSLabel.tsv", sep="\t", index=False)
        units = pd.DataFrame({"cluster_id": range(n_units)})
        units = units.merge(pd.read_csv(path / "cluster_KSLabel.tsv", sep="\t"), how="left", on="cluster_id")
        if probe == "imec1":  # columns that one probe alone has
            info = pd.DataFrame({"cluster_id": range(4), "depth": np.arange(4) * 20.5, "group": ["good", "mua", "noise", "good"]})
            info.to_csv(path / "cluster_info.tsv", sep="\t", index=False)
            units = units.merge(pd.read_csv(path / "cluster_info.tsv", sep="\t"), on="cluster_id")
        times = np.load(path / "spike_times.npy") / rate
        units["train"] = trains(times, np.load(path / "spike_clusters.npy"), range(n_units))
        tables.append(units.assign(probe=probe))
    units = pd.concat(tables, ignore_index=True)
    ids = units["probe"] + "_" + units["cluster_id"].astype(str)
    area = pd.DataFrame({"unit": ids, "area": [f"area{n % 3}" for n in range(len(ids))]})
    area.sample(frac=1, random_state=1).to_csv(folder.parent / "phy_probes_areas.csv", index=False)
    texts = units.fillna({"KSLabel": "", "group": ""})
    return {
        "ids": ids.tolist(),
        "trains": units["train"].tolist(),
        "cluster_id": units["cluster_id"].tolist(),
        "depth": plain(units["depth"].to_numpy()),
        "probe": units["probe"].tolist(),
        "KSLabel": texts["KSLabel"].tolist(),
        "group": texts["group"].tolist(),
        "area": area["area"].tolist(),
    }


def make_csv(folder):
    folder.mkdir(parents=True)
    times, clusters = spikes(5, 300, 30.0)
    names = np.array(["u0", "u1", "u2", "u3", "u4"])
    table = pd.DataFrame({"Unit": names[clusters], "time_s": times, "amplitude": rng.normal(size=300)})
    units = pd.DataFrame({"unit_id": names, "area": ["V1", "V1", "a, b", 'say "x"', "CA1"], "depth": [1.5, 2, np.nan, 4, 5],
                          "good": [True, False, True, True, False]})
    trials = pd.DataFrame({"start_time": np.arange(4.0), "stop_time": np.arange(4.0) + 0.9, "type": ["a", "b\nc", "", "d"],
                           "choice": [1, -1, 0, 1]})
    table.to_csv(folder / "spikes.csv", index=False)
    units.to_csv(folder / "units.csv", index=False)
    trials.to_csv(folder / "trials.csv", index=False)
    # Another separator, line end, byte-order mark and units of time each; numbers as names.
    numbered = pd.DataFrame({"time_ms": times * 1000, "neuron": clusters * 1.0})
    numbered.to_csv(folder / "numbered.tsv", sep="\t", index=False, lineterminator="\r\n", encoding="utf-8-sig")
    units.assign(neuron=range(5)).drop(columns="unit_id").to_csv(folder / "units_semicolon.csv", sep=";", index=False)
    back = pd.read_csv(folder / "spikes.csv", dtype=str)
    ms = pd.read_csv(folder / "numbered.tsv", sep="\t", dtype=str)
    trials = pd.read_csv(folder / "trials.csv", keep_default_na=False)
    return {
        "trains": trains(np.array([float(t) for t in back["time_s"]]), back["Unit"].to_numpy(), names),
        "numbered": trains(np.array([float(t) / 1000 for t in ms["time_ms"]]), ms["neuron"].astype(float).to_numpy(), range(5)),
        "area": units["area"].tolist(),
        "depth": plain(units["depth"].to_numpy()),
        "good": units["good"].tolist(),
        "trials": frame(trials),
    }


def main():
    folder = Path(sys.argv[1])
    expected = {
        "npy": make_npy(folder / "npy"),
        "npz": make_npz(folder / "npz"),
        "alf": make_alf(folder / "alf"),
        "alf_index": make_alf_index(folder / "alf_index"),
        "phy": make_phy(folder / "phy"),
        "phy_probes": make_phy_probes(folder / "phy_probes"),
        "csv": make_csv(folder / "csv"),
    }
    (folder / "expected.json").write_text(json.dumps(expected, allow_nan=False))


main()
