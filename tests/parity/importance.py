"""An importance matrix of ones, in the field's format: for mixes that need one."""
import converter  # noqa: F401 (its gguf is the newest)
import gguf
import numpy as np


def write_importance(path, f32):
    """Ones for every matrix of the layers."""
    w = gguf.GGUFWriter(path, "imatrix", use_temp_file=False)
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["ones"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 512)
    for t in gguf.GGUFReader(f32).tensors:
        if t.name.startswith("blk.") and len(t.shape) == 2:
            w.add_tensor(t.name + ".in_sum2", np.full((1, int(t.shape[0])), 8, np.float32))
            w.add_tensor(t.name + ".counts", np.full((1, 1), 8, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
