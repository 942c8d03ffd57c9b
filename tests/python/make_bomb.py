"""Makes the spike times of a recording 2.7 GB of zeros, of which a few MB are stored: make_bomb.py FILE PATH_OF_SPIKE_TIMES"""

import sys
import zlib

import h5py
import numpy as np

name, path = sys.argv[1:3]
n, n_chunks = 1 << 23, 40  # 64 MiB a chunk
chunk = zlib.compress(bytes(8 * n), 6)
with h5py.File(name, "r+") as file:
    del file[path]
    data = file.create_dataset(path, shape=(n_chunks * n,), dtype="f8", chunks=(n,), compression="gzip")
    for place in range(n_chunks):
        data.id.write_direct_chunk((place * n,), chunk)
    ends = file[path + "_index"][:]
    del file[path + "_index"]
    file[path + "_index"] = np.r_[np.zeros(len(ends) - 1), n_chunks * n].astype("u8")
