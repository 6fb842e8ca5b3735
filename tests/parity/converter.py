"""llama.cpp's converter and its gguf package, as tests/parity/setup.sh installs them (HT_CONVERTER)."""
import logging
import os
import pathlib
import sys

FOLDER = os.environ.get("HT_CONVERTER")
if FOLDER:
    sys.path.insert(0, os.path.join(FOLDER, "gguf-py"))
    sys.path.insert(0, FOLDER)
    VERSION = pathlib.Path(FOLDER, "version").read_text().strip()
else:
    VERSION = None

TYPES = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7}  # general.file_type


class Refused(Exception):
    """The converter does not take this folder."""


def convert(folder, out, outtype="F16", pre=None):
    """Converts in this process. pre: the pre-tokenizer's name, for vocabularies that the converter does not know."""
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    logging.disable(logging.CRITICAL)
    folder = pathlib.Path(folder)
    try:
        with torch.inference_mode():
            hparams = ModelBase.load_hparams(folder, False)
            model_class = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
            model = model_class(folder, gguf.LlamaFileType(TYPES[outtype]), pathlib.Path(out), eager=True)
            if pre:
                model.get_vocab_base_pre = lambda tokenizer: pre
            model.gguf_writer.write_tensors_to_file = quietly(model.gguf_writer.write_tensors_to_file)
            model.write()
    except Exception as fault:
        raise Refused(f"{type(fault).__name__}: {fault}") from fault


def quietly(write):
    return lambda progress=False: write(progress=False)
