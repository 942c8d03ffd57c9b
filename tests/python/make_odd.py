"""HDF5 files that are unusual or broken, made of a sound one: usage: make_odd.py SOUND.nwb SOUND.h5 FOLDER

Each is the sound file with one change that only h5py, or a patch of bytes, can make.
"""

import os
import shutil
import sys

import h5py
import numpy as np

nwb, native, folder = sys.argv[1:4]


def target(name):
    return os.path.join(folder, name)


def edited(name, edit, source=nwb):
    shutil.copy(source, target(name))
    with h5py.File(target(name), "r+") as file:
        edit(file)


def replaced(file, path, **options):
    del file[path]
    return file.create_dataset(path, **options)


def patched(name, before, after, edit, source=nwb):
    """Bytes that occur once, replaced by as many."""
    edited(name, edit, source)
    with open(target(name), "rb") as file:
        content = file.read()
    assert content.count(before) == 1 and len(before) == len(after), (name, content.count(before))
    with open(target(name), "wb") as file:
        file.write(content.replace(before, after))


def copied(file, source):
    with h5py.File(source, "r") as sound:
        for key in sound:
            sound.copy(key, file, expand_refs=True)
        for key, value in sound.attrs.items():
            file.attrs[key] = value


# A block of something else before the file, whose addresses count from its own start.
for name, source in [("userblock.nwb", nwb), ("userblock.h5", native)]:
    with open(source, "rb") as sound, open(target(name), "wb") as file:
        file.write((b"#!/bin/sh\nexit 1\n" * 64)[:1024] + sound.read())


def virtual(path, other):
    def edit(file):
        values = file[path][:]
        del file[path]
        layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
        layout[:] = h5py.VirtualSource(other, path, shape=values.shape)
        file.create_virtual_dataset(path, layout)

    return edit


edited("virtual.nwb", virtual("units/spike_times", os.path.basename(nwb)))
edited("virtual.h5", virtual("sessions/a/units/spike_times", os.path.basename(native)), native)


def large_chunk(path):
    def edit(file):
        values = file[path][:]
        replaced(file, path, data=values, chunks=(4096,), maxshape=(None,), compression="gzip")

    return edit


edited("large_chunk.nwb", large_chunk("units/spike_times"))
edited("large_chunk.h5", large_chunk("sessions/a/units/spike_times"), native)


def ragged(path):
    def edit(file):
        n = len(file[path])
        data = replaced(file, path, shape=(n,), dtype=h5py.vlen_dtype(np.float64))
        for place in range(n):
            data[place] = [1.0, 2.0]

    return edit


edited("ragged.nwb", ragged("units/spike_times"))
edited("ragged_column.nwb", ragged("intervals/trials/stop_time"))
edited("ragged.h5", ragged("sessions/a/units/spike_times"), native)

for rank in (0, 32):
    of_rank = np.ones([1] * rank)
    edited(f"rank{rank}.nwb", lambda file: replaced(file, "units/spike_times", data=of_rank))
    edited(f"rank{rank}_series.nwb", lambda file: replaced(file, "processing/behavior/pupil/data", data=of_rank))
    edited(f"rank{rank}.h5", lambda file: replaced(file, "sessions/a/units/spike_times", data=of_rank), native)


def twice(file):
    del file["units"].attrs["colnames"]
    for name in ("colnames", "colnamez"):
        file["units"].attrs[name] = np.array(["spike_times", "quality"], dtype="S")


# Attributes have no names twice for the library; names that no text can hold.
patched("twice.nwb", b"colnamez", b"colnames", twice)
patched("twice.h5", b"formaz\0", b"format\0", lambda file: file.attrs.__setitem__("formaz", "x"), native)
patched("name.nwb", b"zzzz\0", b"zz\xff\xfe\0", lambda file: file["intervals"].create_group("zzzz"))
patched("name_column.nwb", b"qualitz\0", b"qualit\xff\0", lambda file: file["units"].create_dataset("qualitz", data=[1.0]))
patched("name.h5", b"zzzz\0", b"zz\xff\xfe\0", lambda file: file["sessions"].create_group("zzzz"), native)
patched("name_attribute.nwb", b"zzzz\0", b"zz\xff\xfe\0", lambda file: file["units"].attrs.__setitem__("zzzz", 1.0))

# Left open by a program that writes while others read, and died.
for name, source in [("swmr.nwb", nwb), ("swmr.h5", native)]:
    if os.fork() == 0:
        file = h5py.File(target(name), "w", libver="latest")
        copied(file, source)
        file.swmr_mode = True
        file.flush()
        os._exit(0)
    os.wait()


def deep(place):
    def edit(file):
        group = file.require_group(place)
        for _ in range(10_000):
            group = group.create_group("a")

    return edit


edited("deep.nwb", deep("scratch"))
edited("deep.h5", deep("sessions/a/extra"), native)


def many(place, n):
    def edit(file):
        group = file.require_group(place)
        for i in range(n):
            group[str(i)] = h5py.SoftLink("/nowhere")

    return edit


edited("many.h5", many("sessions", 100_001), native)
