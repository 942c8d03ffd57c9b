"""Compares what `snnfit export` writes with what other programs read from it. Any difference is an error.

    check_export.py nwb RECORDING.h5 FILE.nwb …       one file for each session, by its name
    check_export.py binned RECORDING.h5 FILE.nwb      counts of one session as spike times
    check_export.py npz RECORDING.h5 FILE.npz …
    check_export.py parameters CHECKPOINT PARAMETERS.h5 RUN.toml
    check_export.py csv PARAMETERS.h5 FOLDER
    check_export.py sonata PARAMETERS.h5 FOLDER
"""

import csv
import json
import re
import struct
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np

DORMANT = np.float32(1e-12)


def texts(dataset):
    return list(dataset.asstr()[:])


def trains(session):
    units = session["units"]
    return np.split(units["spike_times"][:], units["spike_times_index"][:-1])


def session_of(recording, name):
    return recording["sessions"][name]


def check_behaviour(session, series, unit_of, timing_of):
    for name, group in session.get("behaviour", {}).items():
        np.testing.assert_array_equal(series(name), group["data"][:])
        assert unit_of(name) == group.attrs["unit"], name
        times, rate, start = timing_of(name)
        if "timestamps" in group:
            np.testing.assert_array_equal(times, group["timestamps"][:])
        else:
            assert (rate, start) == (group.attrs["rate_hz"], group.attrs["start_s"]), name


def validated(path):
    """The errors of pynwb's validator."""
    import pynwb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pynwb.validate(path=str(path))


def check_nwb(recording, paths):
    from pynwb import NWBHDF5IO

    with h5py.File(recording) as file:
        for path in paths:
            errors = validated(path)
            assert not errors, errors
            session = session_of(file, Path(path).stem)
            with NWBHDF5IO(path, "r") as io:
                nwb = io.read()
                assert nwb.identifier == nwb.session_id == Path(path).stem
                units = nwb.units
                for column, name in [("unit_name", "id"), ("area", "area"), ("cell_type", "cell_type")]:
                    assert list(units[column].data[:]) == texts(session["units"][name]), name
                if "firing_rate" in session["units"]:
                    np.testing.assert_array_equal(units["firing_rate"].data[:], session["units"]["firing_rate"][:])
                whole = [[session.attrs["observed_start_s"], session.attrs["observed_stop_s"]]]
                is_told = "obs_intervals" in session["units"]
                if is_told:
                    ends = session["units/obs_intervals_index"][:]
                    own = np.split(session["units/obs_intervals"][:], ends[:-1])
                    recorded = nwb.intervals["snnfit_recorded"]
                    assert [[recorded["start_time"][0], recorded["stop_time"][0]]] == whole
                for n, times in enumerate(trains(session)):
                    np.testing.assert_array_equal(units.get_unit_spike_times(n), times)
                    np.testing.assert_array_equal(units.get_unit_obs_intervals(n), own[n] if is_told else whole)
                for column in ("start_time", "stop_time", "align_time", "stimulus"):
                    np.testing.assert_array_equal(nwb.trials[column].data[:], session["trials"][column][:])
                assert list(nwb.trials["trial_type"].data[:]) == texts(session["trials"]["trial_type"])
                for kind in ("events", "values"):
                    for name, column in session["trials"].get(kind, {}).items():
                        np.testing.assert_array_equal(nwb.trials[f"{kind[:-1]}_{name}"].data[:], column[:])
                if "behaviour" in session:
                    traces = nwb.processing["behavior"]["BehavioralTimeSeries"].time_series
                    check_behaviour(
                        session,
                        lambda name: traces[name].data[:],
                        lambda name: traces[name].unit,
                        lambda name: (traces[name].timestamps, traces[name].rate, traces[name].starting_time),
                    )
                if "stimulus" in session:
                    for number, movie in enumerate(session["stimulus/movies"]):
                        template = nwb.stimulus_template[f"movie_{number}"]
                        np.testing.assert_array_equal(template.data[:], movie)
                ids = [item.object_id for item in nwb.objects.values()]
                assert len(set(ids)) == len(ids)
            check_pynapple(session, path)


def check_pynapple(session, path):
    """Where pynapple is installed: it is large, so the environment of the tests doesn't have it."""
    try:
        import pynapple
    except ImportError:
        print("pynapple is not installed")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pynapple.load_file(path)
        units = data["units"]
        for n, times in enumerate(trains(session)):
            # pynapple rounds times to nanoseconds.
            np.testing.assert_allclose(units[n].index.values, times, rtol=0, atol=1e-9)
        assert list(units["area"]) == texts(session["units"]["area"])
        trials = data["trials"]
        print("pynapple:", len(units), "units,", len(trials), "trials")
        np.testing.assert_allclose(trials.start[0], session["trials/start_time"][0], rtol=0, atol=1e-9)
        for name in session.get("behaviour", {}):
            np.testing.assert_array_equal(np.asarray(data[name].values), session[f"behaviour/{name}/data"][:])


def check_binned(recording, path):
    """Histograms of the times are the counts; samples of behaviour are in their bins."""
    from pynwb import NWBHDF5IO

    errors = validated(path)
    assert not errors, errors
    with h5py.File(recording) as file, NWBHDF5IO(path, "r") as io:
        [session] = file["sessions"].values()
        counts, attributes = session["binned/spikes"][:], session["binned"].attrs
        nwb = io.read()
        n_bins = counts.shape[1]
        edges_s = (attributes["start_ms"] + attributes["bin_ms"] * np.arange(n_bins + 1)) / 1000
        aligned = session["trials/align_time"][:]
        for n in range(counts.shape[2]):
            times = nwb.units.get_unit_spike_times(n)
            for k, event in enumerate(aligned):
                np.testing.assert_array_equal(np.histogram(times - event, edges_s)[0], counts[k, :, n])
        assert sum(len(nwb.units.get_unit_spike_times(n)) for n in range(counts.shape[2])) == counts.sum()
        np.testing.assert_array_equal(nwb.trials["stimulus"].data[:], session["trials/stimulus"][:])
        for name, group in session.get("behaviour", {}).items():
            trace = nwb.processing["behavior"]["BehavioralTimeSeries"][name]
            centres = (edges_s[:-1] + edges_s[1:]) / 2
            np.testing.assert_allclose(trace.timestamps[:], (aligned[:, None] + centres).ravel(), rtol=0, atol=1e-9)
            np.testing.assert_array_equal(trace.data[:], group["data"][:].ravel())


def check_npz(recording, paths):
    with h5py.File(recording) as file:
        for path in paths:
            with np.load(path, allow_pickle=False) as arrays:
                session = session_of(file, str(arrays["session_id"]))
                if "binned" in session:
                    np.testing.assert_array_equal(arrays["counts"], session["binned/spikes"][:])
                    assert arrays["counts_bin_ms"] == session["binned"].attrs["bin_ms"]
                    assert len(arrays["spike_times"]) == arrays["counts"].sum()
                else:
                    np.testing.assert_array_equal(arrays["spike_times"], session["units/spike_times"][:])
                    np.testing.assert_array_equal(arrays["spike_times_index"], session["units/spike_times_index"][:])
                    assert arrays["observed_start_s"] == session.attrs["observed_start_s"]
                    check_behaviour(
                        session,
                        lambda name: arrays[f"series_{name}"],
                        lambda name: str(arrays[f"series_{name}_unit"]),
                        lambda name: [arrays.get(f"series_{name}_{what}") for what in ("timestamps", "rate_hz", "start_s")],
                    )
                for name in ("id", "area", "cell_type"):
                    assert list(arrays[f"units_{name}"]) == texts(session["units"][name])
                for name in ("align_time", "stimulus"):
                    np.testing.assert_array_equal(arrays[f"trials_{name}"], session["trials"][name][:])
                starts = session["trials/start_time"][:]
                if "binned" in session:
                    # What lies before the first bin was not recorded.
                    first_s = session["trials/align_time"][:] + session["binned"].attrs["start_ms"] / 1000
                    starts = np.maximum(starts, np.minimum(first_s, session["trials/align_time"][:]))
                np.testing.assert_allclose(arrays["trials_start_time"], starts, rtol=0, atol=1e-9)
                if "stimulus" in session:
                    np.testing.assert_array_equal(arrays["movies"], session["stimulus/movies"][:])


def checkpoint_arrays(path):
    """Parameters of a checkpoint, by docs/FORMATS.md and the description of safetensors."""
    content = Path(path).read_bytes()
    assert content[:8] == b"SNNFITCK"
    _, n_sections = struct.unpack_from("<II", content, 8)
    place, sizes = 16, []
    for _ in range(n_sections):
        n_name = content[place]
        name = content[place + 1 : place + 1 + n_name].decode()
        (size,) = struct.unpack_from("<Q", content, place + 1 + n_name)
        sizes.append((name, size))
        place += 1 + n_name + 8 + 32
    place += 32
    for name, size in sizes:
        if name == "parameters":
            section = content[place : place + size]
            (n_header,) = struct.unpack_from("<Q", section)
            header = json.loads(section[8 : 8 + n_header])
            values = section[8 + n_header :]
            return {
                key: np.frombuffer(values[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
                for key, entry in header.items()
                if key != "__metadata__"
            }
        place += size
    raise AssertionError("no section 'parameters'")


def check_parameters(checkpoint, path, config):
    arrays = checkpoint_arrays(checkpoint)
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["version"]) == ("snnfit-parameters", 1)
        seen = []

        def is_annotated(name, item):
            if isinstance(item, h5py.Dataset):
                seen.append(name)
                assert item.attrs["description"], name
                assert item.ndim == len(item.attrs.get("axes", [])), name
                is_number = item.dtype.kind == "f"
                assert not is_number or item.attrs["unit"], name

        file.visititems(is_annotated)
        for name, values in arrays.items():
            if name == "w":
                np.testing.assert_array_equal(file["weights"][:], values.transpose(0, 2, 1))
            elif name == "w_in":
                np.testing.assert_array_equal(file["input_weights"][:], values.T)
            elif name in ("v_rest", "noise_gain"):
                np.testing.assert_array_equal(file[f"neurons/{name}"][:], values)
            else:
                np.testing.assert_array_equal(file[name.replace(".", "/")][:], values)
        # The equations of the model, in another language.
        neurons, model = file["neurons"], {key: file[f"model/{key}"][()] for key in file["model"]}
        kinds = np.array(texts(neurons["cell_type"]))
        decay = np.exp(-model["dt_ms"] / neurons["tau_ms"][:])
        distance = neurons["threshold"][:] - neurons["v_rest"][:]
        np.testing.assert_allclose(neurons["psp_per_weight"][:], (1 - decay) * model["current_scale"] / distance, rtol=1e-5)
        noise = neurons["noise_gain"][:] * distance * model["sigma"] * np.sqrt(model["dt_ms"])
        np.testing.assert_allclose(neurons["noise_std"][:], noise, rtol=1e-5)
        # Dale's law: columns of excitatory neurons are at least 0, those of inhibitory ones at most 0.
        weights = file["weights"][:]
        assert (weights[:, :, kinds == "excitatory"] >= 0).all() and (weights[:, :, kinds == "inhibitory"] <= 0).all()
        assert np.array_equal(neurons["hidden"][:], np.array(texts(neurons["unit"])) == "")
        assert file["config"].asstr()[()] == Path(config).read_text()
        print(len(seen), "arrays,", len(arrays), "parameters")


def present(path):
    """Synapses of a network, and the effect of a spike through each."""
    with h5py.File(path) as file:
        weights, delays = file["weights"][:], file["delays_ms"][:]
        d, to, source = np.nonzero(np.abs(weights) > DORMANT)
        psp = weights[d, to, source] * file["neurons/psp_per_weight"][:][to]
        table = {key: np.array(texts(file["neurons"][key])) for key in ("session", "unit", "area", "cell_type")}
        inputs = file["input_weights"][:] if "input_weights" in file else None
        tau = file["neurons/tau_ms"][:]
        return dict(pre=source, post=to, delay_ms=delays[d], weight=weights[d, to, source], psp=psp), table, inputs, tau


def by_place(table, keys):
    return np.lexsort([np.asarray(table[key]) for key in keys])


def check_csv(parameters, folder):
    import pandas

    synapses, neurons, inputs, tau = present(parameters)
    raw = Path(folder, "synapses.csv").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n") == len(synapses["pre"]) + 1
    with open(Path(folder, "synapses.csv"), newline="") as file:
        widths = {len(row) for row in csv.reader(file, strict=True)}
    assert len(widths) == 1
    table = pandas.read_csv(Path(folder, "synapses.csv"), keep_default_na=False, dtype={"pre_unit": str, "post_unit": str})
    found, expected = by_place(table, ["delay_ms", "post", "pre"]), by_place(synapses, ["delay_ms", "post", "pre"])
    for key, values in synapses.items():
        column = table[key].to_numpy()[found]
        np.testing.assert_array_equal(column.astype(values.dtype), values[expected], err_msg=key)
    for side in ("pre", "post"):
        for key, values in neurons.items():
            assert list(table[f"{side}_{key}"]) == list(values[table[side]]), key
    rows = pandas.read_csv(Path(folder, "neurons.csv"), keep_default_na=False, dtype={"unit": str})
    for key, values in neurons.items():
        assert list(rows[key]) == list(values), key
    np.testing.assert_array_equal(rows["tau_ms"].astype("f4"), tau)
    assert list(rows["hidden"]) == list(neurons["unit"] == "")
    if inputs is not None:
        table = pandas.read_csv(Path(folder, "input_synapses.csv"))
        matrix = np.zeros_like(inputs)
        matrix[table["post"], table["input"]] = table["weight"].astype("f4")
        np.testing.assert_array_equal(matrix, np.where(np.abs(inputs) > DORMANT, inputs, 0))
    print(len(synapses["pre"]), "synapses")


def check_population(group, n_from, n_to):
    """An edge population by the SONATA developer guide: all datasets, and indices that find each node's edges."""
    source, target = group["source_node_id"][:], group["target_node_id"][:]
    n = len(source)
    for name in ("target_node_id", "edge_type_id", "edge_group_id", "edge_group_index"):
        assert group[name].shape == (n,), name
    assert (group["edge_group_id"][:] == 0).all() and (group["edge_group_index"][:] == np.arange(n)).all()
    for name, nodes, n_nodes in [("source_to_target", source, n_from), ("target_to_source", target, n_to)]:
        index = group["indices"][name]
        ranges, edges = index["node_id_to_ranges"][:], index["range_to_edge_id"][:]
        assert ranges.shape == (n_nodes, 2) and ranges.dtype == edges.dtype == np.int64
        for node in range(n_nodes):
            found = [np.arange(*edges[row]) for row in range(*ranges[node])]
            found = np.concatenate(found) if found else np.array([], int)
            np.testing.assert_array_equal(found, np.flatnonzero(nodes == node))
    return source, target


def check_sonata(parameters, folder):
    synapses, neurons, inputs, tau = present(parameters)
    n = len(neurons["unit"])
    with h5py.File(Path(folder, "nodes.h5")) as nodes, h5py.File(Path(folder, "edges.h5")) as edges:
        for file in (nodes, edges):
            assert file.attrs["magic"] == 0x0A7A and list(file.attrs["version"]) == [0, 1]
            assert file.attrs["magic"].dtype == np.uint32
        network = nodes["nodes/network"]
        assert list(network["node_id"][:]) == list(range(n))
        np.testing.assert_array_equal(network["0/dynamics_params/tau_ms"][:], tau)
        group = edges["edges/network_to_network"]
        source, target = check_population(group, n, n)
        for name in ("source_node_id", "target_node_id"):
            assert group[name].attrs["node_population"] == "network"
        found = dict(pre=source, post=target, delay_ms=group["0/delay"][:], weight=group["0/syn_weight"][:])
        keys = ["delay_ms", "post", "pre"]
        order, expected = by_place(found, keys), by_place(synapses, keys)
        for key, values in found.items():
            np.testing.assert_array_equal(values[order].astype(float), synapses[key][expected].astype(float), err_msg=key)
        if inputs is not None:
            population = edges["edges/input_to_network"]
            source, target = check_population(population, inputs.shape[1], n)
            assert population["source_node_id"].attrs["node_population"] == "input"
            matrix = np.zeros_like(inputs)
            matrix[target, source] = population["0/syn_weight"][:]
            np.testing.assert_array_equal(matrix, np.where(np.abs(inputs) > DORMANT, inputs, 0))
        # Types: blanks separate, quotes keep blanks together.
        lines = Path(folder, "node_types.csv").read_text().splitlines()
        rows = [[field.strip('"') for field in re.findall(r'"[^"]*"|\S+', line)] for line in lines]
        assert {len(row) for row in rows} == {len(rows[0])}
        types = {int(row[0]): row for row in rows[1:] if row[1] == "network"}
        place = [rows[0].index(name) for name in ("area", "cell_type")]
        for node, type_id in enumerate(network["node_type_id"][:]):
            assert [types[type_id][i] for i in place] == [neurons["area"][node], neurons["cell_type"][node]]
    json.loads(Path(folder, "circuit_config.json").read_text())
    check_libsonata(folder, synapses)


def check_libsonata(folder, synapses):
    import libsonata

    nodes = libsonata.NodeStorage(str(Path(folder, "nodes.h5")))
    assert "network" in nodes.population_names
    edges = libsonata.EdgeStorage(str(Path(folder, "edges.h5"))).open_population("network_to_network")
    assert (edges.source, edges.target, edges.size) == ("network", "network", len(synapses["pre"]))
    for node in range(nodes.open_population("network").size):
        selection = edges.afferent_edges([node])
        expected = synapses["weight"][synapses["post"] == node].astype(float)
        weights = edges.get_attribute("syn_weight", selection) if selection.flat_size else np.array([])
        np.testing.assert_array_equal(np.sort(weights), np.sort(expected))
        outgoing = edges.efferent_edges([node])
        assert outgoing.flat_size == (synapses["pre"] == node).sum()
    print("libsonata:", edges.size, "edges")


CHECKS = {
    "nwb": lambda recording, *paths: check_nwb(recording, paths),
    "binned": check_binned,
    "npz": lambda recording, *paths: check_npz(recording, paths),
    "parameters": check_parameters,
    "csv": check_csv,
    "sonata": check_sonata,
}

if __name__ == "__main__":
    CHECKS[sys.argv[1]](*sys.argv[2:])
